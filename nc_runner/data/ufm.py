"""The data of unconstrained features: samples without images, each known by its number. Imports no torch."""

from __future__ import annotations

import numpy as np

from nc_runner.data.raw import RawDataset, RawSplit
from nc_runner.errors import ConfigError

MOST_SAMPLES = 2**24  # what three bytes can number


def ufm(classes: int, samples_per_class: int) -> RawDataset:
    """``samples_per_class`` samples of each class, class after class, and no test set.

    The "image" of sample i is one pixel whose three bytes are i, the lowest first: the network ``ufm`` looks
    up the features of that number. So order, subsets and batches are those of any data set.

    Raises ConfigError for more samples than three bytes can number.
    """
    count = classes * samples_per_class
    if count > MOST_SAMPLES:
        raise ConfigError(
            f"data.options: {classes} classes of {samples_per_class} samples are {count} samples\n"
            f"unconstrained features are at most {MOST_SAMPLES}"
        )
    numbers = np.arange(count)
    pixels = np.stack([numbers, numbers >> 8, numbers >> 16], axis=1).astype(np.uint8)
    labels = np.repeat(np.arange(classes, dtype=np.int64), samples_per_class)
    return RawDataset(RawSplit(pixels[:, None, None, :], labels), None, classes)
