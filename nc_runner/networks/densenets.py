"""DenseNet (Huang et al. 2017, arXiv 1608.06993): plain, or with bottlenecks and compression."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from nc_runner.errors import ConfigError
from nc_runner.networks.stems import is_small, unknown_depth

# depth: (layers of the blocks, growth rate, whether with bottleneck and compression).
# 40, 100 and 250: table 2 of the paper, with the growth rates that it pairs with these depths. 121 and 201:
# torchvision's. 10, the plain network with two layers in each block, is this project's addition, for CPUs.
_CONFIGURATIONS = {
    10: ((2, 2, 2), 12, False),
    40: ((12, 12, 12), 12, False),
    100: ((16, 16, 16), 12, True),
    121: ((6, 12, 24, 16), 32, True),
    201: ((6, 12, 48, 32), 32, True),
    250: ((41, 41, 41), 24, True),
}


def densenet(
    depth: int,
    growth_rate: int | None = None,
    stem: str = "auto",
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
) -> nn.Module:
    """DenseNet: (B, in_channels, S, S) images to (B, num_classes) outputs; no dropout.

    Depths 10 and 40 are plain: layers of [batch norm, ReLU, 3 x 3 convolution], no bottleneck, and 1 x 1
    convolutions between the blocks that keep the number of maps. The others are torchvision's DenseNet, with
    bottlenecks and compression 0.5. The first convolution has twice as many maps as the growth rate, as in
    the paper's public code (its text gives the plain networks 16).
    Features at the published growth rates: 96, 456, 342, 1024, 1920, 1734 for 10, 40, 100, 121, 201, 250.

    Args:
        growth_rate: maps that each layer adds; None takes 12 (10, 40, 100), 24 (250) or 32 (121, 201).
        stem: 'small' is a 3 x 3 convolution of stride 1 and nothing else, the paper's for CIFAR;
            'imagenet' is torchvision's 7 x 7 of stride 2, batch norm, ReLU and max-pool; 'auto' is small for
            images below 64 x 64 pixels. That larger images, such as STL10's, get the ImageNet stem at every
            depth is this project's choice: the small one costs 16 times as much.
    """
    if depth not in _CONFIGURATIONS:
        raise unknown_depth(depth, _CONFIGURATIONS)
    blocks, published_growth_rate, bottleneck = _CONFIGURATIONS[depth]
    growth_rate = growth_rate or published_growth_rate
    small = is_small(stem, image_size)
    smallest = 2 ** (len(blocks) - 1)  # each transition halves the maps
    if (image_size if small else -(-image_size // 4)) < smallest:
        raise ConfigError(
            f"densenet{depth} with net.stem={stem} does not support {image_size} x {image_size} images\n"
            + ("they are too small" if small else "set net.stem=small")
        )
    if not bottleneck:
        return _plain_densenet(blocks, growth_rate, _stem(small, in_channels, 2 * growth_rate), num_classes)
    from torchvision.models import densenet as torchvisions  # takes more than a second: not for every network

    model: nn.Module = torchvisions.DenseNet(
        growth_rate, blocks, num_init_features=2 * growth_rate, num_classes=num_classes
    )
    if small or in_channels != 3:
        stem_layers = _stem(small, in_channels, 2 * growth_rate)
        _initialise(stem_layers["conv0"])
        for name in ("conv0", "norm0", "relu0", "pool0"):
            # An identity where the small stem has nothing keeps torchvision's names in their order.
            setattr(model.features, name, stem_layers.get(name, nn.Identity()))
    return model


def _stem(small: bool, in_channels: int, maps: int) -> OrderedDict[str, nn.Module]:
    if small:
        return OrderedDict(conv0=nn.Conv2d(in_channels, maps, kernel_size=3, padding=1, bias=False))
    return OrderedDict(
        conv0=nn.Conv2d(in_channels, maps, kernel_size=7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(maps),
        relu0=nn.ReLU(inplace=True),
        pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )


class _PlainLayer(nn.Module):
    """(B, M, S, S) maps to (B, M + growth_rate, S, S): the layer's input, and what it adds to that."""

    def __init__(self, maps: int, growth_rate: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(maps, growth_rate, kernel_size=3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.conv(self.relu(self.norm(maps)))], dim=1)


def _plain_densenet(
    blocks: tuple[int, ...], growth_rate: int, stem: OrderedDict[str, nn.Module], num_classes: int
) -> nn.Module:
    layers = OrderedDict(stem)
    maps = 2 * growth_rate
    for number, size in enumerate(blocks, start=1):
        layers[f"denseblock{number}"] = nn.Sequential(
            *(_PlainLayer(maps + position * growth_rate, growth_rate) for position in range(size))
        )
        maps += size * growth_rate
        if number < len(blocks):
            layers[f"transition{number}"] = nn.Sequential(
                nn.BatchNorm2d(maps),
                nn.ReLU(inplace=True),
                nn.Conv2d(maps, maps, kernel_size=1, bias=False),
                nn.AvgPool2d(2),
            )
    layers["norm"] = nn.BatchNorm2d(maps)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(maps, num_classes)
    model = nn.Sequential(layers)
    model.apply(_initialise)
    return model


def _initialise(module: nn.Module) -> None:
    """Initial weights as torchvision draws them for DenseNet."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
