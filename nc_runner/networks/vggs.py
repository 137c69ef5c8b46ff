"""VGG with batch norm (Simonyan & Zisserman 2015), and a small relative for CPUs."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from nc_runner.networks.stems import unknown_depth

# depth: (widths of the 3 x 3 convolutions between one max-pool and the next; default width of the head).
# 11 to 19 are columns A, B, D and E of the paper's table 1; 6 is this project's addition.
_CONFIGURATIONS: dict[int, tuple[tuple[tuple[int, ...], ...], int]] = {
    6: (((16,), (32,), (64,)), 64),
    11: (((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2), 4096),
    13: (((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2), 4096),
    16: (((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3), 4096),
    19: (((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4), 4096),
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
        image_size: not used; every size is supported.
    """
    if depth not in _CONFIGURATIONS:
        raise unknown_depth(depth, _CONFIGURATIONS)
    stages, default_head_width = _CONFIGURATIONS[depth]
    head_width = head_width or default_head_width
    maps = stages[-1][-1]
    model = nn.Sequential(
        OrderedDict(
            features=_convolutions(stages, in_channels),
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


def _convolutions(stages: tuple[tuple[int, ...], ...], in_channels: int) -> nn.Sequential:
    """Layers of [3 x 3 convolution, batch norm, ReLU], with a max-pool after each stage."""
    layers: list[nn.Module] = []
    inputs = 3
    for widths in stages:
        for maps in widths:
            convolution = nn.Conv2d(inputs, maps, kernel_size=3, padding=1)
            layers += [convolution, nn.BatchNorm2d(maps), nn.ReLU(inplace=True)]
            inputs = maps
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True))
    # Made last, in the place of one for 3 channels: with one made at once, a seed would give other weights
    # than it has given so far.
    layers[0] = nn.Conv2d(in_channels, stages[0][0], kernel_size=3, padding=1)
    return nn.Sequential(*layers)


def _hidden(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
