"""Normalised batches of a split, for any loop over images and labels."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from nc_runner.data.dataset import AnySplit, Dataset
from nc_runner.errors import ConfigError


class Batches:
    """All images of a split in its order, normalised as for training; may be iterated over repeatedly.

    Yields (images (B, C, H, W) float32, labels (B,) int64) on the data set's device; the last batch may be
    smaller. ``len`` is the number of batches.

    Args:
        split: ``train`` or ``test``.
        batch_size: images of a batch.
        channels_last: memory layout of the images; their values and shape are the same.

    Raises:
        ConfigError: another split, or a batch size below 1.
    """

    def __init__(self, dataset: Dataset, split: str, batch_size: int, channels_last: bool = True) -> None:
        if split not in ("train", "test"):
            raise ConfigError(f"there is no split {split}\nname train or test")
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} is not valid: batch_size must be at least 1")
        self.dataset = dataset
        self.split: AnySplit = dataset.train if split == "train" else dataset.test
        self.batch_size = batch_size
        self.channels_last = channels_last

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for block in self.split.blocks(self.batch_size):
            images = self.dataset.normalise(block, channels_last=self.channels_last)
            yield images, self.split.labels[start : start + len(block)]
            start += len(block)
