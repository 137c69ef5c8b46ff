"""Building networks: one pass for outputs and features, seeded weights, no trace of the checks."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import build

from nc_runner.networks import resnet


def test_features_cost_no_second_pass_and_leave_no_hook() -> None:
    network = build("resnet", 8, channels=1, size=8)
    passes: list[int] = []
    handle = network.model.register_forward_pre_hook(lambda *_: passes.append(1))
    network.forward_with_features(torch.zeros(2, 1, 8, 8))
    handle.remove()
    assert len(passes) == 1
    assert not network.classifier._forward_hooks


def test_hook_is_removed_when_the_pass_fails() -> None:
    network = build("resnet", 8, channels=1, size=8)
    with pytest.raises(RuntimeError):
        network.forward_with_features(torch.zeros(2, 5, 8, 8))
    assert not network.classifier._forward_hooks


@pytest.mark.parametrize(("family", "depth"), [("vgg", 6), ("resnet", 8), ("resnet", 18), ("densenet", 10)])
def test_the_seed_decides_the_weights(family: str, depth: int) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build(family, depth, size=8).model.state_dict())
    same, again, other = states
    assert all(torch.equal(same[name], again[name]) for name in same)
    convolution = next(name for name, weight in same.items() if weight.ndim == 4)
    assert not torch.equal(same[convolution], other[convolution])


def test_checking_a_network_leaves_generator_statistics_and_modes_alone() -> None:
    torch.manual_seed(1)
    plain = resnet(8, num_classes=10, in_channels=3, image_size=32)
    state_after_plain = torch.get_rng_state()
    torch.manual_seed(1)
    built = build("resnet", 8).model
    assert torch.equal(torch.get_rng_state(), state_after_plain)
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), built.buffers(), strict=True))
    assert all(module.training for module in built.modules())
