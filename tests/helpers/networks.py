"""Networks for tests: every family and depth, built from settings or without memory for weights."""

from typing import Any, get_args

import torch
from torch import Tensor, nn

from helpers.settings import settings_of
from nc_runner.config import schema
from nc_runner.networks import Network, build_network, densenet, resnet, vgg

FAMILIES = {"resnet": resnet, "vgg": vgg, "densenet": densenet}
DEPTHS: dict[str, tuple[int, ...]] = {
    family: get_args(settings.model_fields["depth"].annotation)
    for family, settings in schema.NETWORKS.items()
    if family in FAMILIES
}
ALL_NETWORKS = [(family, depth) for family, depths in DEPTHS.items() for depth in depths]
_SETTINGS = {family: settings_of(f"net={family}").net for family in FAMILIES}


def build(
    family: str, depth: int, channels: int = 3, size: int = 32, classes: int = 10, **settings: Any
) -> Network:
    """From settings that differ from those of conf/ in these."""
    net = _SETTINGS[family].model_copy(update={"depth": depth, **settings})
    return build_network(net, num_classes=classes, in_channels=channels, image_size=size)


def custom(path: str, **settings: Any) -> schema.CustomNetwork:
    """The settings of a custom network."""
    return schema.CustomNetwork.model_validate(
        {"_target_": path, "name": "custom", "weights": None, **settings}
    )


def on_meta(family: str, depth: int, classes: int = 10, size: int = 32, **settings: Any) -> nn.Module:
    """The model without memory for its weights: enough to count them."""
    with torch.device("meta"):
        return FAMILIES[family](depth, num_classes=classes, in_channels=3, image_size=size, **settings)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def last_linear(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def assert_outputs_belong_to_features(network: Network, images: Tensor, classes: int) -> None:
    outputs, features = network.forward_with_features(images)
    weight, bias = network.classifier.weight, network.classifier.bias
    assert outputs.shape == (len(images), classes)
    assert features.shape == (len(images), network.classifier.in_features)
    torch.testing.assert_close(outputs, features @ weight.T + bias)
    assert not torch.allclose(features[0], features[1])  # the images differ, so do their features
