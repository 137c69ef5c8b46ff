"""Raw data sets: what a loader returns, and the checks that it must pass. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nc_runner.data.sources import ImageSource, MapDataset
from nc_runner.errors import DataError


@dataclass(frozen=True, eq=False)
class RawSplit:
    """Images (N, H, W, C) as uint8, in an array or decoded as they are indexed; labels (N,) int64, from 0."""

    images: NDArray[np.uint8] | ImageSource
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RawDataset:
    """What a loader returns; ``test``: None where there is no test set."""

    train: RawSplit
    test: RawSplit | None
    num_classes: int

    @property
    def test_split(self) -> RawSplit:
        """The test set, or one without images."""
        shape = (0, *self.train.images.shape[1:])
        return self.test or RawSplit(np.empty(shape, np.uint8), np.empty(0, np.int64))


def from_maps(train: MapDataset, test: MapDataset, name: str, size: int | None = None) -> RawDataset:
    """Two map data sets of (image, label) as one data set; only a few images are decoded.

    ``size`` resizes and crops all images to a square. Raises DataError: see :class:`ImageSource`.
    """
    sources = [ImageSource(items, name, size) for items in (train, test)]
    splits = [RawSplit(source, source.labels()) for source in sources]
    count = 1 + max(int(split.labels.max(initial=0)) for split in splits)
    return RawDataset(splits[0], splits[1], count)


def check(raw: RawDataset, name: str) -> None:
    """Check shapes, types and labels of a data set from any loader; :class:`DataError` says what is wrong."""

    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise DataError(f"data set {name}: {problem}\nfix its loader or its files")

    count = raw.num_classes
    require(isinstance(count, (int, np.integer)) and count >= 2, f"num_classes is {count}, not 2 or more")
    for split, part in (("train", raw.train), ("test", raw.test)):
        if part is None:
            continue
        images, labels = part.images, part.labels
        arrays = isinstance(images, (np.ndarray, ImageSource)) and isinstance(labels, np.ndarray)
        require(arrays, f"{split} images and labels must be NumPy arrays")
        require(images.dtype == np.uint8, f"{split} images are {images.dtype}, not uint8 from 0 to 255")
        layout = images.ndim == 4 and images.shape[3] in (1, 3)
        require(layout, f"{split} images have shape {images.shape}, not (N, height, width, 1 or 3)")
        require(images.shape[1] == images.shape[2], f"{split} images are not square: {images.shape[1:3]}")
        require(len(images) > 0, f"the {split} set is empty")
        require(labels.dtype == np.int64, f"{split} labels are {labels.dtype}, not int64")
        same = labels.shape == (len(images),)
        require(same, f"{split} has {len(images)} images, but labels of shape {labels.shape}")
        low, high = int(labels.min()), int(labels.max())
        inside = low >= 0 and high < count
        require(inside, f"{split} labels go from {low} to {high}, not within 0 to {count - 1}")
    shape, test = raw.train.images.shape[1:], raw.test
    same = test is None or test.images.shape[1:] == shape
    require(same, f"train images are {shape}, test images {test and test.images.shape[1:]}")
    absent = np.flatnonzero(np.bincount(raw.train.labels, minlength=count) == 0)
    require(not len(absent), f"no train image of class {', '.join(map(str, absent[:10]))}")
