"""Which images of a data set training takes, and with which labels: subset, imbalance, label noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nc_runner.config.data_schema import Data
from nc_runner.data.draws import generator_of
from nc_runner.data.subset import Indices, balanced_subset, class_sizes, sized_subset


@dataclass(frozen=True)
class LabelNoise:
    """``replaced``: how many train images got the label of a random one among them; ``changed``: how many of
    those labels differ from what they were."""

    replaced: int
    changed: int


def train_rows(labels: Indices, num_classes: int, data: Data, seed: int) -> Indices | None:
    """Indices of the train images that ``samples_per_class`` and ``imbalance`` take, in order; None: all.

    The largest class of an imbalance has ``samples_per_class`` images, or as many as the data set's smallest
    class. What is drawn for one ratio is part of what is drawn for a smaller one.

    Raises ConfigError where a class does not have so many images, or would have none.
    """
    largest, kind = data.samples_per_class, data.imbalance.kind
    if kind == "none":
        return None if largest is None else balanced_subset(labels, num_classes, largest, seed)
    if largest is None:
        largest = int(np.bincount(labels, minlength=num_classes).min())
    sizes = class_sizes(data.imbalance, num_classes, largest)
    return sized_subset(labels, sizes, seed)


def with_noise(labels: Indices, share: float, seed: int) -> tuple[Indices, LabelNoise | None]:
    """The labels (N,) with a ``share`` of them replaced, and how many that are: None without noise.

    round(share N) images, drawn with ``seed``, exchange their labels in a random order. So class sizes stay
    exactly as they are, and a replaced label may be the true one, as it must be if labels are to say nothing
    about the images at ``share`` 1 (Zhang et al. 2017).
    """
    if not share:
        return labels, None
    generator = generator_of("label_noise", seed)
    count = round(share * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count].numpy()
    noisy = labels.copy()
    noisy[chosen] = labels[chosen[torch.randperm(count, generator=generator).numpy()]]
    return noisy, LabelNoise(count, int((noisy != labels).sum()))
