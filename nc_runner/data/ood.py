"""Out-of-distribution images: another data set's test images, made to fit the network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nc_runner.config.data_schema import Data
from nc_runner.data.loaders import STANDARD

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as Pillow converts RGB to grey
IMAGES = 1024  # resized at a time


def load_ood(name: str, data: Data, shape: tuple[int, ...]) -> Tensor:
    """The test images of the standard data set ``name``, (M, C, H, W) uint8.

    ``shape`` is the (C, H, W) that the network sees. ``data`` are the settings of the run's data set: their
    ``root`` and ``download`` hold here too. The images are later normalised as those of the run are, for the
    network knows no other normalisation.

    Raises DataError when its files are missing or damaged.
    """
    raw = STANDARD[name](root=data.root, download=data.download)
    images = torch.from_numpy(raw.test_split.images).permute(0, 3, 1, 2)
    return torch.cat([fit(part, shape) for part in torch.split(images, IMAGES)])


def fit(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images (B, c, h, w) uint8 as (B, C, H, W) of ``shape`` = (C, H, W).

    Grey becomes colour by repetition, colour grey by luma. Smaller images keep their pixels and are
    padded with zeros on all sides, as ``data.pad`` does; larger ones are resized, bilinear with antialiasing:
    the middle of a large image alone would show another thing.
    """
    channels, height, width = shape
    floats = images.to(torch.float32)
    if images.shape[1] == 3 and channels == 1:
        floats = (floats * floats.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
    size = min(images.shape[2], height), min(images.shape[3], width)
    if size != tuple(images.shape[2:]):
        floats = F.interpolate(floats, size=size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    padded = F.pad(floats, (left, width - size[1] - left, top, height - size[0] - top))
    return padded.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
