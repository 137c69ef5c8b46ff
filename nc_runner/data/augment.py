"""Random crops and flips of training batches, on the device, without a state that would have to be saved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nc_runner.config.data_schema import Data
from nc_runner.data.draws import generator_of
from nc_runner.errors import ConfigError

PAD = 4  # as of He et al. (2016) for CIFAR, and of most papers since
DIGITS = ("digits", "mnist", "svhn")  # a mirrored digit is another one, or none


@dataclass(frozen=True)
class Augmentation:
    """Each image is padded with black, cut to its size at a random place and, with ``flip``, mirrored or not.

    What happens to the image at place i of step s of an epoch depends on (seed, epoch, s, i) alone. So a run
    that resumes needs no state, and ranks that share a batch out see what one process sees.
    """

    seed: int
    pad: int = PAD
    flip: bool = True

    def draws(self, epoch: int, steps: int, batch_size: int) -> Tensor:
        """For an epoch, counted from 0, and whole batches: how far down and right each crop begins, from 0 to
        twice ``pad``, and whether it is mirrored; (steps, batch_size, 3) uint8 on the CPU."""
        generator = generator_of("augment", self.seed, epoch)
        shape = steps, batch_size
        corners = torch.randint(2 * self.pad + 1, (*shape, 2), dtype=torch.uint8, generator=generator)
        mirrored = torch.randint(2, (*shape, 1), dtype=torch.uint8, generator=generator)
        return torch.cat([corners, mirrored if self.flip else torch.zeros_like(mirrored)], dim=2)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Images (B, C, H, W) uint8, as ``draws`` (B, 3) on the same device says."""
        height, width = images.shape[2:]
        padded = F.pad(images, (self.pad,) * 4)
        crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, 2 pad + 1, 2 pad + 1, H, W)
        down, right, mirrored = draws.long().unbind(dim=1)
        cut = crops[torch.arange(len(images), device=images.device), :, down, right]
        return torch.where(mirrored.bool().view(-1, 1, 1, 1), cut.flip(3), cut) if self.flip else cut


def augmentation_of(data: Data, seed: int, image_size: int) -> Augmentation | None:
    """What ``data.augment`` asks for; None for none.

    ``standard`` does not mirror the data sets of digits (:data:`DIGITS`), where it is the same as ``crop``.

    Raises ConfigError for images so small that a crop may miss them.

    Args:
        image_size: height and width without ``data.pad``.
    """
    if data.augment == "none":
        return None
    if image_size <= PAD:
        raise ConfigError(
            f"data.augment={data.augment} moves images by up to {PAD} pixels, but these have only "
            f"{image_size} x {image_size}: crops would be empty\ngive data.augment=none"
        )
    return Augmentation(seed, flip=data.augment == "standard" and data.target not in DIGITS)
