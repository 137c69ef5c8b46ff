"""A torchmetrics metric that accumulates class statistics and computes the columns of metrics.csv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nc_runner.collapse import ClassStatistics, mse_decomposition
from nc_runner.columns import describe
from nc_runner.distributed.group import ALONE
from nc_runner.errors import ConfigError
from nc_runner.measurement.custom import CustomMetric, custom_metrics
from nc_runner.measurement.features import FeaturesPlan, chosen_columns
from nc_runner.measurement.measurer import ridge_value
from nc_runner.measurement.precision import float64_device
from nc_runner.measurement.row import CLASSIFIER_COLUMNS, Inputs, core_row
from nc_runner.measurement.samples import Fit, Samples, linear_outputs
from nc_runner.measurement.wider import wider_row

Classifier = nn.Linear | Callable[[], tuple[Tensor, Tensor | None]]

_SAMPLE_COLUMNS = ("nc4_ncc_mismatch", "mse_residual")  # those that need the features themselves
_NAN = float("nan")


class NeuralCollapse(Metric):
    """Neural Collapse of features that come in batches, on any number of processes.

    The state is the class statistics in float64, O(P² + C P) numbers however many samples there are. That of
    several processes is merged exactly, as one process would have had it but for rounding.

    Features are those of one model: reset the metric after each change of the weights, as Lightning does
    after each epoch, and update it in eval mode. A batch's own value (``forward``) is seldom of use: classes
    that it lacks make it NaN.

    Args:
        num_classes: C; dim: P, the number of features.
        classifier: the last linear layer, or a function that returns its (weight, bias), asked at each
            ``compute``. It is no part of the metric: neither copied nor saved with it. Without a classifier
            its columns are left out.
        metrics: ``core``, ``all`` that the state allows, or a list of further columns (docs/metrics.md).
        custom: custom metrics, column -> function of (stats, weight, bias).
        ridge: of the decomposition, as in :func:`nc_runner.measure`.
        weight_decay: that of the training, as in :func:`nc_runner.measure`.
        keep_features: keep the features, in float64, for the columns that need them: ``nc4_ncc_mismatch``,
            ``mse_residual``, ``nc1_numerical_rank``, ``ncc_accuracy``, ``feature_norm``; left out else. NC4
            compares with the final class means, so it cannot be summed up batch by batch.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigError: ``metrics`` asks for a column that the state does not allow.

    >>> layer = nn.Linear(1, 2)
    >>> metric = NeuralCollapse(num_classes=2, dim=1, classifier=layer)
    >>> metric.update(torch.tensor([[1.0], [3.0], [9.0], [11.0]]), torch.tensor([0, 0, 1, 1]))
    >>> round(float(metric.compute()["nc1"]), 6)
    0.03125
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    statistics: Tensor
    features: list[Tensor]
    labels: list[Tensor]
    predicted: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        dim: int,
        classifier: Classifier | None = None,
        *,
        metrics: str | Sequence[str] = "core",
        custom: Mapping[str, CustomMetric] | None = None,
        ridge: str | float = "objective",
        weight_decay: float = 0.0,
        keep_features: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.dim = dim
        self.keep_features = keep_features
        self.plan = FeaturesPlan(_wider(metrics, keep_features), dict(custom or {}), ridge, weight_decay)
        self._classifier = _Reference(classifier)
        empty = _packed(ClassStatistics(num_classes, dim))
        self.add_state("statistics", empty, dist_reduce_fx=partial(_merged, num_classes, dim))
        if keep_features:
            for name in ("features", "labels", "predicted"):
                self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, features: Tensor, labels: Tensor, outputs: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            features: (B, P), of any floating dtype.
            labels: (B,), integers in 0..C-1.
            outputs: (B, C), the network's, by which NC4 knows its prediction; without them, and with
                ``keep_features``, the classifier is asked at the end. Not used without ``keep_features``.

        Raises ValueError for shapes and labels that do not fit, and for features that are not finite.
        """
        if outputs is not None and outputs.shape != (len(features), self.num_classes):
            raise ValueError(f"outputs must have shape (B, {self.num_classes}), not {tuple(outputs.shape)}")
        stats = _unpacked(self.num_classes, self.dim, self.statistics)
        stats.update(features, labels)
        self.statistics = _packed(stats)
        if self.keep_features:
            self.features.append(features.detach().to(self.statistics))
            self.labels.append(labels.detach().to(self.statistics.device, torch.int64))
            predicted = labels.new_full(labels.shape, -1) if outputs is None else outputs.detach().argmax(1)
            self.predicted.append(predicted.to(self.statistics.device, torch.int64))

    def compute(self) -> dict[str, Tensor]:
        """The columns, by name: float64 numbers, on the metric's device.

        NaN where a column does not exist, as docs/metrics.md says: most of them while a class has no samples.
        """
        stats = _unpacked(self.num_classes, self.dim, self.statistics)
        weight, bias = self._classifier.read()
        inputs = Inputs(self._samples(), None, stats, weight, bias, _no_ood, ALONE)
        ridge = ridge_value(self.plan.ridge, self.num_classes, self.plan.weight_decay)
        row = core_row(inputs, ridge, self._fit(inputs), None)
        if weight is not None and not self.keep_features:
            row |= mse_decomposition(stats, weight, bias, ridge)
        row |= wider_row(inputs, self.plan.wider)
        if weight is not None:
            row |= custom_metrics(self.plan.custom, stats, weight, bias)
        absent: tuple[str, ...] = () if self.keep_features else _SAMPLE_COLUMNS
        absent += CLASSIFIER_COLUMNS if weight is None else ()
        kept = {name: value for name, value in row.items() if name not in absent and not _of_split(name)}
        return {name: self.statistics.new_tensor(value) for name, value in kept.items()}

    def set_dtype(self, dst_type: str | torch.dtype) -> NeuralCollapse:
        """Nothing: the statistics stay in float64, whatever the precision of the model."""
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> NeuralCollapse:
        """Move the state to where ``fn`` moves a tensor, in its own precision."""

        def moved(tensor: Tensor) -> Tensor:
            place = fn(torch.empty(0, device=tensor.device)).device
            return tensor.to(float64_device(place))

        super()._apply(moved, exclude_state)
        return self

    def _samples(self) -> Samples:
        if not self.keep_features or not len(self.features):
            return Samples(self.statistics.new_empty(0, self.dim), self.statistics.new_empty(0).long())
        return Samples(dim_zero_cat(self.features), dim_zero_cat(self.labels))

    def _fit(self, inputs: Inputs) -> Fit | None:
        """What the network predicts: by its outputs, or where there were none, by the classifier."""
        if not self.keep_features or not len(inputs.train):
            return None
        predicted = dim_zero_cat(self.predicted)
        if (unknown := predicted < 0).any():
            if inputs.weight is None:
                return None
            outputs = linear_outputs(inputs.train.features[unknown], inputs.weight, inputs.bias)
            predicted = predicted.masked_scatter(
                unknown, torch.cat([block.argmax(1) for block in outputs]).to(predicted)
            )
        return Fit(_NAN, _NAN, predicted)

    def _sync_dist(self, *arguments: Any, **named: Any) -> None:
        """A process without samples takes part with empty tables of the others' shape."""
        if self.keep_features and not len(self.features):
            samples = self._samples()
            self.features, self.labels = [samples.features], [samples.labels]
            self.predicted = [samples.labels]
        super()._sync_dist(*arguments, **named)


class _Reference:
    """A classifier that is no part of the metric: copies of the metric ask the same one."""

    def __init__(self, classifier: Classifier | None) -> None:
        self.classifier = classifier

    def read(self) -> tuple[Tensor | None, Tensor | None]:
        """Its weight (C, P) and bias (C,) now."""
        if self.classifier is None:
            return None, None
        weight: Tensor
        bias: Tensor | None
        if isinstance(self.classifier, nn.Linear):
            weight, bias = self.classifier.weight, self.classifier.bias
        else:
            weight, bias = self.classifier()
        return weight.detach(), None if bias is None else bias.detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Reference:
        """The copy of a whole model has its own classifier; that of the metric alone has the same."""
        return _Reference(memo.get(id(self.classifier), self.classifier))


def _packed(stats: ClassStatistics) -> Tensor:
    """All that the statistics hold, as one vector (L,): one state, which is merged as a whole."""
    return torch.cat([tensor.flatten() for tensor in stats.tensors])


def _unpacked(num_classes: int, dim: int, packed: Tensor) -> ClassStatistics:
    stats = ClassStatistics(num_classes, dim, packed.device)
    start = 0
    for tensor in stats.tensors:
        tensor.copy_(packed[start : start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()
    return stats


def _merged(num_classes: int, dim: int, parts: Tensor) -> Tensor:
    """(L,): the statistics of the samples of all parts (K, L), such as those of K processes."""
    total = _unpacked(num_classes, dim, parts[0])
    for part in parts[1:]:
        total.merge(_unpacked(num_classes, dim, part))
    return _packed(total)


def _wider(metrics: str | Sequence[str], keep_features: bool) -> tuple[str, ...]:
    possible = chosen_columns("all", test=False, ood=False)
    if not keep_features:
        possible = tuple(name for name in possible if not describe(name).needs)
    if isinstance(metrics, str):
        if metrics in ("core", "all"):
            return possible if metrics == "all" else ()
        metrics = [metrics]
    names = list(metrics)
    for name in names:
        if name not in possible:
            chosen_columns(name, test=True, ood=True)  # it is a column at all
            needed = describe(name).needs
            hint = "\ngive keep_features=True" if needed == "train features" else ""
            raise ConfigError(f"metrics: {name} needs {needed}, which this metric does not have{hint}")
    return tuple(name for name in possible if name in names)


def _of_split(name: str) -> bool:
    """Whether a column is of losses and accuracies, or of a test set: other metrics' business."""
    return name.startswith(("train_", "test_"))


def _no_ood() -> Tensor:
    raise ValueError("there are no out-of-distribution features")


__all__ = ["NeuralCollapse"]
