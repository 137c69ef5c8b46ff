"""Seeded subsets of a split: which images ``data.samples_per_class``, ``data.imbalance`` and
``analysis.samples`` take."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from nc_runner.config.data_schema import Imbalance
from nc_runner.errors import ConfigError

Indices = NDArray[np.int64]


def balanced_subset(labels: Indices, num_classes: int, per_class: int, seed: int) -> Indices:
    """Indices of ``per_class`` images of every class, drawn with ``seed``, in the order of the file."""
    return sized_subset(labels, np.full(num_classes, per_class), seed)


def sized_subset(labels: Indices, sizes: Indices, seed: int) -> Indices:
    """Indices of ``sizes`` (C,) images of the classes, drawn with ``seed``, in the order of the file.

    Of a class, what is drawn for a smaller size is part of what is drawn for a larger one.

    Raises ConfigError where a class has fewer images than the largest size.
    """
    counts, largest = np.bincount(labels, minlength=len(sizes)), int(sizes.max())
    smallest = int(counts.argmin())
    if largest > counts[smallest]:
        raise ConfigError(
            f"data.samples_per_class={largest}, but class {smallest} has {counts[smallest]} images\n"
            f"give data.samples_per_class={counts[smallest]} or less, or null for all images"
        )
    return _drawn(labels, sizes, torch.Generator().manual_seed(seed))


def class_sizes(imbalance: Imbalance, num_classes: int, largest: int) -> Indices:
    """(C,) images of each class, of which the first has ``largest``, n; R is ``imbalance.ratio``.

    ``step``: n for the first classes, n / R for the last ``minority_classes``. ``exponential``:
    n R^(-c/(C-1)) for class c = 0 ... C-1. Rounded to the nearest whole number, halves up.

    Raises ConfigError for a ratio that leaves less than one image of the smallest class, and where all
    classes would be small.
    """
    ratio, small = imbalance.ratio or 1.0, imbalance.minority_classes or 0
    if small >= num_classes:
        raise ConfigError(
            f"data.imbalance.minority_classes={small}, but there are only {num_classes} classes\n"
            f"give data.imbalance.minority_classes={num_classes - 1} or less"
        )
    if ratio > largest:
        raise ConfigError(
            f"data.imbalance.ratio={ratio:g} empties the smallest class: the largest has {largest} images\n"
            f"give data.imbalance.ratio={largest} or less"
        )
    place = np.arange(num_classes)
    exponent = place / (num_classes - 1) if imbalance.kind == "exponential" else place >= num_classes - small
    sizes: Indices = np.floor(largest / ratio**exponent + 0.5).astype(np.int64)
    return sizes


def measured_train(labels: Indices, num_classes: int, samples: int, seed: int) -> Indices:
    """Indices of the ``samples`` train images that are measured, in order: equally many of every class.

    Where ``samples`` is no multiple of C, some classes, which ``seed`` draws too, have one more.

    Raises ConfigError where that leaves a class with fewer than 2, or the train set has too few.
    """
    have = np.bincount(labels, minlength=num_classes)
    if samples < 2 * num_classes:
        raise ConfigError(
            f"analysis.samples={samples} is too few: the variability within {num_classes} classes needs 2 "
            f"images of each\ngive analysis.samples={2 * num_classes} or more, or null for all images"
        )
    least = int(have.min())
    most = num_classes * least + int((have > least).sum())
    if samples > most:
        limit = "" if most == len(labels) else f", of class {int(have.argmin())} only {least}"
        raise ConfigError(
            f"analysis.samples={samples}, but the train set has {len(labels)} images{limit}\n"
            f"give analysis.samples={most} or less, or null for all images"
        )
    return _shared_out(labels, have, samples, seed)


def measured_test(labels: Indices, num_classes: int, samples: int, seed: int) -> Indices:
    """Indices of at most ``samples`` test images, in order: all of them, or equally many of every class.

    A class that has fewer gives all that it has.
    """
    if len(labels) <= samples:
        return np.arange(len(labels))
    return _shared_out(labels, np.bincount(labels, minlength=num_classes), samples, seed)


def _shared_out(labels: Indices, have: Indices, samples: int, seed: int) -> Indices:
    generator = torch.Generator().manual_seed(seed)
    share, rest = divmod(samples, len(have))
    wanted = np.full(len(have), share)
    roomy = np.flatnonzero(have > share)
    wanted[roomy[torch.randperm(len(roomy), generator=generator)[:rest].numpy()]] += 1
    return _drawn(labels, np.minimum(wanted, have), generator)


def _drawn(labels: Indices, counts: Indices, generator: torch.Generator) -> Indices:
    """Indices of ``counts`` (C,) images of the classes, in order."""
    taken = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        taken.append(members[torch.randperm(len(members), generator=generator)[:count].numpy()])
    return np.sort(np.concatenate(taken))
