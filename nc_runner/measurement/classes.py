"""A measurement of the classes that have enough samples, as of frequent tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nc_runner.errors import MeasurementError
from nc_runner.measurement.samples import Samples, linear_outputs
from nc_runner.measurement.tables import GrowingRows

BLOCK = 8192  # samples that are copied at a time


@dataclass(frozen=True, eq=False)
class Classes:
    """``kept`` (K,): the classes, of ``num_classes``, that a measurement is of, ascending."""

    kept: Tensor
    num_classes: int

    @classmethod
    def with_samples(cls, labels: Tensor, num_classes: int, min_samples: int) -> Classes:
        """Those with at least ``min_samples`` of ``labels`` (N,).

        Raises MeasurementError for fewer than two.
        """
        counts = torch.bincount(labels, minlength=num_classes)
        kept = (counts >= min_samples).nonzero()[:, 0]
        if len(kept) < 2:
            raise MeasurementError(
                f"only {len(kept)} of {num_classes} classes have {min_samples} samples or more\n"
                f"the largest has {int(counts.max())}: give a smaller min_samples, or more samples"
            )
        return cls(kept, num_classes)

    @property
    def all(self) -> bool:
        return len(self.kept) == self.num_classes

    def of(self, samples: Samples) -> Samples:
        """The samples of the kept classes, whose labels become 0..K-1."""
        place = torch.full((self.num_classes,), -1, dtype=torch.int64, device=self.kept.device)
        place[self.kept] = torch.arange(len(self.kept), device=self.kept.device)
        labels = place[samples.labels.to(place.device)]
        rows = GrowingRows()
        parts = torch.split(samples.features, BLOCK), torch.split(labels >= 0, BLOCK)
        for features, chosen in zip(*parts, strict=True):
            rows.append(features[chosen.to(features.device)])
        return Samples(rows.table, labels[labels >= 0].to(samples.labels.device))


def predictions(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The class of the largest output, (N,), of a classifier that has only some of its rows."""
    return torch.cat([outputs.argmax(dim=1) for outputs in linear_outputs(features, weight, bias)])
