"""One pass over batches: features, outputs and labels of the samples, caught at the classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nc_runner.config.plugins import reason
from nc_runner.errors import MeasurementError
from nc_runner.measurement.batches import IGNORED, Batch
from nc_runner.measurement.features import Split
from nc_runner.measurement.precision import HALVES, full, is_finite
from nc_runner.measurement.samples import FitMeter, LossFunction, Samples
from nc_runner.measurement.tables import GrowingRows


@dataclass(eq=False)
class Capture:
    """A model whose classifier's input and output are caught in each pass.

    ``shift``: labels are token ids of the same sequence as the inputs; each position's label is the next
    token. ``device``: where batches go.
    """

    model: nn.Module
    classifier: nn.Linear
    device: torch.device
    shift: bool = False
    _caught: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Inside, passes are caught."""

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            # copies: what comes after the layer may work in place, on its input too
            features = args[0] if args else kwargs["input"]
            self._caught.append((features.detach().clone(), output.detach().clone()))

        handle = self.classifier.register_forward_hook(keep, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
            self._caught.clear()

    def respond(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features (n, P), outputs (n, C) and labels (n,) of a batch, one row for each sample or token.

        Samples whose label is -100 are left out. Raises MeasurementError where shapes do not fit together.
        """
        self._caught.clear()
        batch.to(self.device).call(self.model)
        if len(self._caught) != 1:
            raise MeasurementError(f"the classifier is called {len(self._caught)} times in a pass, not once")
        features, outputs = self._caught.pop()
        if batch.labels is None:
            return features.flatten(0, -2), outputs.flatten(0, -2), None
        labels = batch.labels.to(features.device)
        if self.shift:
            if labels.ndim < 2:
                raise MeasurementError("shift needs labels (B, T), one for each token")
            features, outputs, labels = features[:, :-1], outputs[:, :-1], labels[:, 1:]
        if features.shape[:-1] != labels.shape:
            raise MeasurementError(
                f"the classifier sees features of shape {tuple(features.shape)}, but the labels have shape "
                f"{tuple(labels.shape)}\none label is needed for each feature vector"
            )
        labels = labels.flatten().to(torch.int64)
        features, outputs = features.flatten(0, -2), outputs.flatten(0, -2)
        if bool((counted := labels != IGNORED).all()):
            return features, outputs, labels
        return features[counted], outputs[counted], labels[counted]


class SplitCollector:
    """Collects what a measurement needs of one split, batch by batch."""

    def __init__(self, capture: Capture, name: str, loss_function: LossFunction | None) -> None:
        self.capture = capture
        self.name = name
        self.batches = 0
        self.meter = None if loss_function is None else FitMeter(loss_function)
        self.dtype = torch.float32  # of the features
        self._features = GrowingRows()
        self._labels: list[Tensor] = []

    def collect(self, batches: Iterable[object]) -> None:
        """Pass all batches through the model, once. Raises MeasurementError, which names the batch."""
        with self.capture.listen():
            for raw in batches:
                self.batches += 1
                try:
                    self._add(Batch.of(raw, labelled=self.meter is not None))
                except MeasurementError as error:
                    raise MeasurementError(f"{self.name} batch {self.batches}: {error}") from None
                except Exception as error:  # a model may raise anything
                    raise MeasurementError(
                        f"the model fails on {self.name} batch {self.batches}: {reason(error)}"
                    ) from error
        if not self._features.count:
            raise MeasurementError(
                f"there are no {self.name} samples\n"
                "give the batches as a list or DataLoader; an iterator that was used before is empty"
            )

    def _add(self, batch: Batch) -> None:
        features, outputs, labels = self.capture.respond(batch)
        if not (is_finite(features) and is_finite(outputs)):
            raise MeasurementError("the model's features or outputs are not finite")
        if labels is not None and self.meter is not None and len(labels):
            low, high = torch.stack(torch.aminmax(labels)).tolist()
            classes = outputs.shape[1]
            if not 0 <= low <= high < classes:
                raise MeasurementError(
                    f"a label is {low if low < 0 else high}, but the model has {classes} outputs\n"
                    f"labels must be in 0..{classes - 1}, or {IGNORED} for samples to leave out"
                )
            self.meter.add(full(outputs), labels)
            self._labels.append(labels)
        self.dtype = features.dtype
        self._features.append(full(features))

    @property
    def features(self) -> Tensor:
        """(N, P), of all samples."""
        return self._features.table

    def split(self) -> Split:
        """All samples with their labels, and how the outputs fit them."""
        fit = None if self.meter is None else self.meter.fit()
        return Split(Samples(self.features, torch.cat(self._labels)), fit)

    @property
    def resolution(self) -> float | None:
        """How coarse the features are, where they were kept in a finer dtype."""
        return torch.finfo(self.dtype).eps if self.dtype in HALVES else None
