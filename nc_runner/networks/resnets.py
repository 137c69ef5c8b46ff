"""ResNet (He et al. 2016, arXiv 1512.03385): the ImageNet family and the CIFAR family."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from nc_runner.errors import ConfigError
from nc_runner.networks.stems import is_small, unknown_depth

# depth: blocks per stage, He et al., table 1; from depth 50 on they are bottlenecks.
_IMAGENET_FAMILY = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
}
# 6n + 2 layers, He et al., section 4.2; n = 1 is this project's addition, for CPUs.
_CIFAR_FAMILY = (8, 20, 32, 56)


def resnet(
    depth: int, stem: str = "auto", *, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    """ResNet: (B, in_channels, S, S) images to (B, num_classes) outputs, for any size S.

    Depths 18, 34, 50, 101 and 152 are torchvision's networks, with 512 features (2048 from depth 50 on).
    Depths 8, 20, 32 and 56 are the family that He et al. made for CIFAR: a 3 x 3 convolution with 16 maps,
    three stages of (depth - 2) / 6 blocks with 16, 32 and 64 maps, a global average and the classifier; 64
    features. Where a stage changes the number of maps, the shortcut is a 1 x 1 convolution (option B of the
    paper, as in torchvision; the paper's own CIFAR networks pad with zeros, option A).

    Args:
        stem: first layers of depths 18 to 152. 'small' is a 3 x 3 convolution of stride 1 without max-pool,
            made as in the neural collapse authors' notebook, with PyTorch's default initial weights;
            'imagenet' is torchvision's; 'auto' is small for images below 64 x 64 pixels.
    """
    small = is_small(stem, image_size)
    if depth in _CIFAR_FAMILY:
        if stem == "imagenet":
            raise ConfigError(
                f"net.stem=imagenet is not supported for net.depth={depth}: its first layer is always 3 x 3\n"
                f"leave net.stem out, or choose net.depth from {', '.join(map(str, _IMAGENET_FAMILY))}"
            )
        return _cifar_resnet(depth, num_classes, in_channels)
    if depth not in _IMAGENET_FAMILY:
        raise unknown_depth(depth, (*_CIFAR_FAMILY, *_IMAGENET_FAMILY))
    model = _torchvisions(depth, num_classes)
    if small:
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        _initialise(model.conv1)
    return model


def _torchvisions(depth: int, num_classes: int) -> nn.Module:
    from torchvision.models import resnet as torchvisions  # takes more than a second: not for every network

    block = torchvisions.BasicBlock if depth < 50 else torchvisions.Bottleneck
    model: nn.Module = torchvisions.ResNet(block, _IMAGENET_FAMILY[depth], num_classes=num_classes)
    return model


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: (B, ``inputs``, S, S) to (B, ``maps``, S / stride, S / stride).

    As torchvision's ``BasicBlock``, with the same names, values and order of random draws.
    """

    def __init__(self, inputs: int, maps: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, maps, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(maps, maps, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.downsample = downsample

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.relu(self.bn1(self.conv1(images)))
        maps = self.bn2(self.conv2(maps))
        maps += images if self.downsample is None else self.downsample(images)
        outputs: Tensor = self.relu(maps)
        return outputs


def _cifar_resnet(depth: int, num_classes: int, in_channels: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(in_channels, 16, kernel_size=3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(16),
        relu=nn.ReLU(inplace=True),
    )
    for stage, (inputs, maps) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
        shortcut = None
        if maps != inputs:
            shortcut = nn.Sequential(
                nn.Conv2d(inputs, maps, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(maps)
            )
        first = BasicBlock(inputs, maps, stride=maps // inputs, downsample=shortcut)
        others = [BasicBlock(maps, maps) for _ in range((depth - 2) // 6 - 1)]
        layers[f"layer{stage}"] = nn.Sequential(first, *others)
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(64, num_classes)
    model = nn.Sequential(layers)
    model.apply(_initialise)
    return model


def _initialise(module: nn.Module) -> None:
    """He et al.'s initial weights of convolutions, as torchvision draws them for ResNet."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
