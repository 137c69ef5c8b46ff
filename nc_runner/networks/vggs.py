"""VGG with batch norm (Simonyan & Zisserman 2015), and a small relative for CPUs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from nc_runner.networks.stems import unknown_depth

# depth: (widths of the 3 x 3 convolutions, "M" a max-pool; default width of the head).
# 11 to 19 are torchvision's, columns A, B, D and E of the paper's table 1; 6 is this project's own.
_CONFIGURATIONS = {
    6: ([16, "M", 32, "M", 64, "M"], 64),
    11: (cfgs["A"], 4096),
    13: (cfgs["B"], 4096),
    16: (cfgs["D"], 4096),
    19: (cfgs["E"], 4096),
}


def vgg(
    depth: int, head_width: int | None = None, *, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    """VGG: (B, in_channels, S, S) images to (B, num_classes) outputs, for any size S.

    The convolutions and the initial weights are torchvision's (``vgg11_bn`` to ``vgg19_bn``). Three things
    differ. The head is two layers of [linear, batch norm, ReLU] and the classifier: batch norm takes the
    place of dropout, as in the neural collapse papers. A global average of the last maps takes the place of
    the 7 x 7 maps that ImageNet leaves. Max-pools round up, so that images below 32 x 32 keep at least one
    pixel; for sizes that the pools divide evenly, such as 32, 64 and 96, that changes nothing.

    Args:
        depth: 11, 13, 16 or 19; or 6, three convolutions of 16, 32 and 64 maps, each followed by a max-pool.
        head_width: units of both hidden layers of the head, and so the number of features;
            None takes 4096 (torchvision's), or 64 for depth 6.
        image_size: not used; every size will do.
    """
    if depth not in _CONFIGURATIONS:
        raise unknown_depth(depth, _CONFIGURATIONS)
    widths, default_head_width = _CONFIGURATIONS[depth]
    head_width = head_width or default_head_width
    maps = widths[-2]  # of the last convolution; a max-pool follows it
    model = nn.Sequential(
        OrderedDict(
            features=_convolutions(widths, in_channels),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Sequential(*_hidden(maps, head_width), *_hidden(head_width, head_width)),
            classifier=nn.Linear(head_width, num_classes),
        )
    )
    for module in model.modules():  # as torchvision does for VGG
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return model


def _convolutions(widths: list[Any], in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = list(make_layers(widths, batch_norm=True))
    layers[0] = nn.Conv2d(in_channels, widths[0], kernel_size=3, padding=1)
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    return nn.Sequential(*layers)


def _hidden(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
