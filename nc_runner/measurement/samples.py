"""What the numbers of a row are computed from: features with their labels, and how well outputs fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (outputs (B, C), labels (B,)) -> mean loss

OUTPUTS_AT_A_TIME = 2**26  # numbers that a loss sees at once: 256 MiB


@dataclass(frozen=True, eq=False)
class Samples:
    """``features`` (N, P) and ``labels`` (N,) of a split, or of one rank's part of it."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Fit:
    """How outputs fit labels: mean loss and accuracy over all ranks; ``predicted`` (N,) of this rank."""

    loss: float
    accuracy: float
    predicted: Tensor


class FitMeter:
    """Collects a :class:`Fit` from outputs that come in batches, without keeping them all.

    The loss function sees up to OUTPUTS_AT_A_TIME outputs at once: for fewer, the number is that of one call.
    """

    def __init__(self, loss_function: LossFunction) -> None:
        self.loss_function = loss_function
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._predicted: list[Tensor] = []
        self._loss = 0.0
        self._correct = 0
        self._count = 0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Outputs (B, C) and labels (B,), on one device."""
        predicted = outputs.argmax(dim=1)
        self._correct += int((predicted == labels).sum())
        self._predicted.append(predicted)
        self._waiting.append((outputs, labels))
        if sum(waiting.numel() for waiting, _ in self._waiting) >= OUTPUTS_AT_A_TIME:
            self._evaluate()

    def fit(self) -> Fit:
        """Of all that was added, which must be something."""
        self._evaluate()
        return Fit(self._loss / self._count, self._correct / self._count, torch.cat(self._predicted))

    def _evaluate(self) -> None:
        if not self._waiting:
            return
        outputs, labels = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        self._loss += float(self.loss_function(outputs, labels)) * len(labels)
        self._count += len(labels)


def linear_outputs(
    features: Tensor, weight: Tensor, bias: Tensor | None, size: int = 512
) -> Iterator[Tensor]:
    """``size`` rows of features (N, P) at a time: outputs (B, C) of a classifier, as the layer computes them.

    In the weight's dtype on its device.
    """
    for block in torch.split(features, size):
        yield torch.nn.functional.linear(block.to(weight), weight, bias)
