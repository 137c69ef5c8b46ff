"""A data set as training uses it: one uint8 tensor per split, resident on the device, and its normalisation.

There is no DataLoader: a batch is one indexing operation on the resident tensor, one conversion to float.
What does not fit into memory is streamed, with the same images in the same order: see streaming.py.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nc_runner.config.data_schema import Data
from nc_runner.config.plugins import callable_name
from nc_runner.data.augment import Augmentation, augmentation_of
from nc_runner.data.loaders import load_raw
from nc_runner.data.ood import load_ood
from nc_runner.data.raw import RawSplit
from nc_runner.data.streaming import BLOCK, StreamedSplit, channel_moments, fits, worker_count
from nc_runner.data.subset import measured_test, measured_train
from nc_runner.data.train_set import LabelNoise, train_rows, with_noise
from nc_runner.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, C, H, W) as uint8, contiguous, and labels (N,) as int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return tuple(self.images.shape)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))

    def part(self, rows: slice | Tensor) -> Split:
        """Some of the images: neighbours, or those of the indices (M,)."""
        return Split(self.images[rows], self.labels[rows])

    def batches(self, indices: Tensor | Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each row of ``indices`` (steps, B), or each of several: images (B, C, H, W), labels (B,)."""
        for index in indices:
            yield self.images[index], self.labels[index]

    def blocks(self, size: int) -> Iterator[Tensor]:
        """All images in order, ``size`` at a time."""
        yield from torch.split(self.images, size)


AnySplit = Split | StreamedSplit


@dataclass(frozen=True, eq=False)
class Dataset:
    """Both splits, resident or streamed, and the per-channel mean and std of pixels scaled to [0, 1].

    ``fingerprint`` is the SHA-256 of shapes, images and labels of both splits as they are here, subset and
    padded: runs with equal fingerprints had the same images and labels, in the same order. ``label_noise``:
    how many train labels were replaced. ``augment``: what :meth:`training_batches` does to images.
    """

    train: AnySplit
    test: AnySplit
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    fingerprint: str
    ood: Tensor | None = None  # (M, C, H, W) uint8: out-of-distribution images, for the measurement alone
    label_noise: LabelNoise | None = None
    augment: Augmentation | None = None
    _scale: Tensor = field(init=False, repr=False)  # (C, 1, 1) float32 on the splits' device
    _shift: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        device = self.train.device
        mean, std = np.array(self.mean), np.array(self.std)
        for key, value in (("_scale", 1 / (255 * std)), ("_shift", -mean / std)):
            tensor = torch.tensor(value, dtype=torch.float32, device=device).view(-1, 1, 1)
            object.__setattr__(self, key, tensor)

    @property
    def in_channels(self) -> int:
        return self.train.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width of an image, padding included: images are square (``data.raw.check``)."""
        return self.train.shape[2]

    @property
    def device(self) -> torch.device:
        return self.train.device

    def to(self, device: torch.device | str) -> Dataset:
        ood = None if self.ood is None else self.ood.to(device)
        return replace(self, train=self.train.to(device), test=self.test.to(device), ood=ood)

    @property
    def class_counts(self) -> list[int]:
        """Train images of each class, by the labels that training sees."""
        return torch.bincount(self.train.labels, minlength=self.num_classes).tolist()

    def training_batches(
        self, order: Tensor, epoch: int, first: int, share: slice
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, counted from 0, from its step ``first`` on: images (b, C, H, W) uint8,
        augmented, and labels (b,).

        Args:
            order: (steps, B) indices of the images of all steps.
            share: which b of the B images of each batch are wanted.
        """
        batches = self.train.batches(order[first:, share])
        if self.augment is None:
            yield from batches
            return
        draws = self.augment.draws(epoch, *order.shape)[first:, share].to(self.device)
        for draw, (images, labels) in zip(draws, batches, strict=True):
            yield self.augment.apply(images, draw), labels

    def normalise(self, images: Tensor, channels_last: bool) -> Tensor:
        """(B, C, H, W) uint8 on the data set's device -> (pixel/255 - mean) / std, float32, same shape.

        Computed as pixel * scale + shift with both factors rounded to float32 once.
        """
        layout = torch.channels_last if channels_last else torch.contiguous_format
        floats = images.to(torch.float32, memory_format=layout)
        return floats.mul_(self._scale).add_(self._shift)


def load_dataset(
    data: Data, seed: int, ood: str | None = None, device: torch.device | str = "cpu"
) -> Dataset:
    """From the ``data`` settings to a data set on the CPU.

    A ``mean`` or ``std`` that is not given is computed of the whole train set's pixels, before a subset is
    taken and before padding.

    Args:
        seed: decides which images ``samples_per_class`` and ``imbalance`` take, which labels ``label_noise``
            replaces, and what ``augment`` does.
        ood: the name of a standard data set, whose test images come along, made to fit: see
            :mod:`nc_runner.data.ood`.
        device: the one that the data set is meant for: what does not fit there is streamed.

    Raises:
        ConfigError: the settings do not fit this data set.
        DataError: its files are missing, damaged, or not what their name says.
    """
    raw = load_raw(data)
    mean, std = _moments(data, raw.train)
    augment = augmentation_of(data, seed, raw.train.images.shape[1])
    rows = train_rows(raw.train.labels, raw.num_classes, data, seed)
    given, noise = _noisy(_streamed(raw.train, rows, data.pad, data), data.label_noise, seed)
    parts = [given, _streamed(raw.test_split, None, data.pad, data)]
    resident = fits(data.resident, sum(math.prod(part.shape) for part in parts), torch.device(device))
    train, test = (_resident(part) if resident else part for part in parts)
    return Dataset(
        train=train,
        test=test,
        num_classes=int(raw.num_classes),
        mean=mean,
        std=std,
        name=data.name or callable_name(data.target),
        fingerprint=_fingerprint(train, test),
        ood=None if ood is None else load_ood(ood, data, train.shape[1:]),
        label_noise=noise,
        augment=augment,
    )


def analysed_part(dataset: Dataset, samples: int | None, seed: int) -> Dataset:
    """What a measurement sees of a data set: ``samples`` of its train images, at most as many test images.

    Class-balanced, drawn with ``seed`` alone, in the data set's order: the same at every epoch and in every
    process. None: all. Of out-of-distribution images, which have no classes, at most ``samples`` are drawn.

    Raises ConfigError where the train set does not have so many, or a class would have fewer than 2.
    """
    if samples is None:
        return dataset
    train, test = (split.labels.cpu().numpy() for split in (dataset.train, dataset.test))
    classes, ood = dataset.num_classes, dataset.ood
    if ood is not None:
        drawn = torch.randperm(len(ood), generator=torch.Generator().manual_seed(seed))[:samples]
        ood = ood[drawn.sort().values.to(ood.device)]
    return replace(
        dataset,
        train=dataset.train.part(torch.from_numpy(measured_train(train, classes, samples, seed))),
        test=dataset.test.part(torch.from_numpy(measured_test(test, classes, samples, seed))),
        ood=ood,
    )


def attacked_images(dataset: Dataset, count: int, seed: int) -> AnySplit | None:
    """The ``count`` test images whose robustness is measured, drawn as :func:`analysed_part` draws them.

    The same at every epoch and in every process; None for a count of 0.

    Raises ConfigError where the test set does not have so many.
    """
    if not count:
        return None
    labels = dataset.test.labels.cpu().numpy()
    if count > len(labels):
        least = f"give analysis.robustness={len(labels)} or less" if len(labels) else "leave it out"
        raise ConfigError(f"analysis.robustness={count}, but the test set has {len(labels)} images\n{least}")
    return dataset.test.part(torch.from_numpy(measured_test(labels, dataset.num_classes, count, seed)))


def _per_channel(numbers: tuple[float, ...], key: str, channels: int) -> tuple[float, ...]:
    """One number for each channel; a single one counts for all."""
    if len(numbers) == 1:
        return numbers * channels
    if len(numbers) != channels:
        raise ConfigError(
            f"data.{key} has {len(numbers)} numbers, but the images have {channels} channel(s)\n"
            f"give data.{key} one number per channel, or a single one for all"
        )
    return numbers


def _streamed(split: RawSplit, rows: NDArray[np.int64] | None, pad: int, data: Data) -> StreamedSplit:
    """The chosen ``rows`` of a raw split, with ``pad`` zero pixels on each side: black, as in the paper."""
    rows = np.arange(len(split.labels)) if rows is None else rows
    workers = worker_count(data.workers, split.images)
    return StreamedSplit(split.images, rows, torch.from_numpy(split.labels[rows]), pad, workers)


def _noisy(train: StreamedSplit, share: float, seed: int) -> tuple[StreamedSplit, LabelNoise | None]:
    labels, noise = with_noise(train.labels.numpy(), share, seed)
    return (train, None) if noise is None else (replace(train, labels=torch.from_numpy(labels)), noise)


def _resident(split: StreamedSplit) -> Split:
    images = torch.empty(split.shape, dtype=torch.uint8)
    start = 0
    for block in split.blocks(BLOCK):
        images[start : start + len(block)] = block
        start += len(block)
    return Split(images, split.labels)


def _moments(data: Data, train: RawSplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``data.mean`` and ``data.std`` for each channel; what is not given is computed of the train set."""
    mean, std = data.mean, data.std
    if mean is None or std is None:
        computed_mean, computed_std = channel_moments(_streamed(train, None, 0, data))
        if std is None and not min(computed_std) > 0:
            raise ConfigError(
                "data.std cannot be computed: all pixels of a channel are equal\ngive it as data.std=[NUMBER]"
            )
        mean = computed_mean if mean is None else mean
        std = computed_std if std is None else std
    channels = train.images.shape[3]
    return _per_channel(mean, "mean", channels), _per_channel(std, "std", channels)


def _fingerprint(*splits: AnySplit) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(repr(tuple(split.shape)).encode())
        for images in split.blocks(BLOCK):
            digest.update(images.numpy().data)
        digest.update(split.labels.numpy().astype("<i8").data)
    return digest.hexdigest()
