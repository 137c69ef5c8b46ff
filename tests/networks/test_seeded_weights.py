"""Layers written here draw the weights that torchvision's draw from the same seed, and compute the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models import resnet as torchvisions_resnet
from torchvision.models import vgg as torchvisions_vgg

from nc_runner.networks import resnet, resnets, vgg, vggs


def weights_and_generator(build) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    return build().state_dict(), torch.get_rng_state()


def assert_same(ours, theirs) -> None:
    assert list(ours[0]) == list(theirs[0])
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
    assert torch.equal(ours[1], theirs[1])  # what is drawn next is the same, too


@pytest.mark.parametrize("depth", [8, 20, 32, 56])
@pytest.mark.parametrize("channels", [1, 3])
def test_resnets_for_cifar_are_those_of_torchvisions_blocks(
    depth: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> nn.Module:
        return resnet(depth, num_classes=10, in_channels=channels, image_size=8)

    ours = weights_and_generator(build)
    monkeypatch.setattr(resnets, "BasicBlock", torchvisions_resnet.BasicBlock)
    theirs = weights_and_generator(build)
    assert_same(ours, theirs)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_basic_block_computes_what_torchvisions_does(stride: int) -> None:
    """Outputs, gradients and batch-norm statistics, to the last bit."""
    results = []
    for block in (resnets.BasicBlock, torchvisions_resnet.BasicBlock):
        torch.manual_seed(0)
        shortcut = None
        if stride == 2:
            shortcut = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
        made = block(4, 4 * stride, stride=stride, downsample=shortcut)
        images = torch.randn(3, 4, 6, 6, requires_grad=True)
        outputs = made(images)
        outputs.square().sum().backward()
        gradients = [parameter.grad for parameter in made.parameters()]
        results.append([outputs, images.grad, *gradients, *made.buffers()])
    ours, theirs = results
    assert ours[0].abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("depth", "column"), [(11, "A"), (13, "B"), (16, "D"), (19, "E")])
def test_the_convolutions_of_vgg_are_torchvisions(
    depth: int, column: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first layer replaced after all others were drawn."""

    def build() -> nn.Module:
        return vgg(depth, head_width=8, num_classes=10, in_channels=channels, image_size=8)

    def torchvisions(stages: object, in_channels: int) -> nn.Sequential:
        layers = torchvisions_vgg.make_layers(torchvisions_vgg.cfgs[column], batch_norm=True)
        layers[0] = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1)
        return layers

    ours = weights_and_generator(build)
    monkeypatch.setattr(vggs, "_convolutions", torchvisions)
    assert_same(ours, weights_and_generator(build))


def test_small_networks_are_built_without_torchvision() -> None:
    """Its import takes longer than a short run."""
    code = """
import sys
from nc_runner.networks import densenet, resnet, vgg
shape = {"num_classes": 10, "in_channels": 1, "image_size": 32}
for family, depths in ((resnet, (8, 20, 32, 56)), (vgg, (6, 11)), (densenet, (10, 40))):
    for depth in depths:
        family(depth, **({"head_width": 8} if family is vgg else {}), **shape)
print([name for name in ("torchvision", "scipy", "PIL", "sklearn") if name in sys.modules])
resnet(18, **shape)
print("torchvision" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\nTrue\n", done.stderr
