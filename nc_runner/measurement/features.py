"""From features and a classifier to a row, however they were had: from a model, a file, or in steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nc_runner.collapse import ClassStatistics
from nc_runner.collapse.checks import check_ridge
from nc_runner.columns import OOD_COLUMN, WIDER_COLUMNS, describe, is_custom_name, metric_columns
from nc_runner.config.values import nearest
from nc_runner.data.streaming import free_memory
from nc_runner.distributed.group import ALONE
from nc_runner.errors import MeasurementError
from nc_runner.measurement.cautions import cautions, coarse
from nc_runner.measurement.classes import Classes, predictions
from nc_runner.measurement.custom import CustomMetric, custom_metrics
from nc_runner.measurement.objective import Objective
from nc_runner.measurement.precision import float64_device
from nc_runner.measurement.result import Measurement
from nc_runner.measurement.row import Inputs, core_row
from nc_runner.measurement.samples import Fit, Samples
from nc_runner.measurement.wider import wider_row


@dataclass(frozen=True, eq=False)
class Split:
    """Samples of a split, and how the classifier's outputs fit them; no fit where there is no classifier."""

    samples: Samples
    fit: Fit | None = None


@dataclass(frozen=True, eq=False)
class Features:
    """All that the numbers of a row are computed from.

    ``train``, ``test`` (None where there is no test set); ``weight`` (C, P), ``bias`` (C,): the classifier,
    None where there is none. ``num_classes``: C. ``ood`` (M, P): features of out-of-distribution data.
    ``resolution``: how coarse the features are, where their dtype does not tell.
    """

    train: Split
    test: Split | None
    num_classes: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    ood: Tensor | None = None
    resolution: float | None = None


@dataclass(frozen=True)
class FeaturesPlan:
    """What is computed of features; see :func:`nc_runner.measurement.measure.measure`."""

    wider: tuple[str, ...] = ()
    custom: Mapping[str, CustomMetric] = field(default_factory=dict)
    ridge: str | float = "objective"
    weight_decay: float = 0.0
    min_samples: int | None = None
    objective: Objective | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ridge, str):
            if self.ridge not in ("objective", "notebook"):
                raise MeasurementError(
                    f"ridge={self.ridge} is unknown\ngive objective, notebook, or a number"
                )
        else:
            _check_number("ridge", self.ridge)
        _check_number("weight_decay", self.weight_decay)
        least = self.min_samples
        if least is not None and (isinstance(least, bool) or not isinstance(least, int) or least < 1):
            raise MeasurementError(f"min_samples={self.min_samples} must be a whole number from 1 on")
        if not (isinstance(self.custom, Mapping) and all(map(callable, self.custom.values()))):
            raise MeasurementError("custom must be a dict: column -> function of (stats, weight, bias)")
        for name in self.custom:
            if not is_custom_name(name):
                raise MeasurementError(
                    f"custom: {name} cannot be a custom metric's column: it must be a word of letters, "
                    "digits and _ that no other column has"
                )


def chosen_columns(metrics: str | Sequence[str], *, test: bool, ood: bool) -> tuple[str, ...]:
    """The wider columns that ``core``, ``all`` or a list of columns chooses, in the order of the header.

    ``all`` are those for which there are data. Raises MeasurementError for a name that is no wider column,
    and for one that needs data that are not there.
    """
    if metrics == "core":
        return ()
    if not isinstance(metrics, Iterable):
        raise MeasurementError(f"metrics={metrics} is unknown\ngive core, all, or a list of columns")
    lacking = {"test features": not test, "out-of-distribution features": not ood}
    possible = [name for name in WIDER_COLUMNS if not lacking.get(describe(name).needs, False)]
    if metrics == "all":
        return tuple(possible)
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        if name in ("core", "all"):
            raise MeasurementError(
                f"metrics: {name} stands alone\n"
                "the core columns are always measured: name only further ones, or give all"
            )
        if name not in WIDER_COLUMNS:
            raise MeasurementError(
                f"metrics: there is no further column {name}{nearest(name, WIDER_COLUMNS)}\n"
                "give core, all, or a list of columns of docs/metrics.md"
            )
        if name not in possible:
            given = "ood=" if name == OOD_COLUMN else "test="
            raise MeasurementError(f"metrics: {name} needs {describe(name).needs}\ngive them as {given}")
    return tuple(name for name in WIDER_COLUMNS if name in names)


def measure_features(features: Features, plan: FeaturesPlan) -> Measurement:
    """The row of features: the columns of metrics.csv, NaN for those that are not known.

    Raises MeasurementError where features or labels cannot be measured; TrainingError for a custom metric
    that fails.
    """
    began = time.perf_counter()
    kept = features
    if plan.min_samples is not None:
        kept = _with_enough_samples(features, plan.min_samples)
    stats = _statistics(kept)
    if plan.custom and kept.weight is None:
        raise MeasurementError("custom metrics need the classifier's weight")
    objective = plan.objective or Objective((plan.weight_decay, plan.weight_decay))
    ridge = objective.ridge(plan.ridge, stats.num_classes)
    inputs = Inputs(
        kept.train.samples, None if kept.test is None else kept.test.samples, stats, kept.weight, kept.bias,
        ood_features=lambda: _ood(kept), group=ALONE, target=objective.target,
    )  # fmt: skip
    row = core_row(inputs, ridge, kept.train.fit, None if kept.test is None else kept.test.fit)
    # the penalty is of all parameters, and here at most the classifier's are known
    row["train_loss_regularized"] = math.nan if plan.weight_decay else row["train_loss"]
    row |= wider_row(inputs, plan.wider)
    if kept.weight is not None:
        row |= custom_metrics(plan.custom, stats, kept.weight, kept.bias)
    row["analysis_seconds"] = time.perf_counter() - began
    header = metric_columns(stats.num_classes, (*plan.wider, *plan.custom))
    found = cautions(stats) + coarse(features.train.samples.features.dtype, "the features are")
    if dropped := features.num_classes - stats.num_classes:
        share = 1 - len(kept.train.samples) / len(features.train.samples)
        found.insert(
            0,
            f"{dropped} of {features.num_classes} classes have fewer than {plan.min_samples} train samples: "
            f"they and their {share:.1%} of the samples are left out, but for losses and accuracies",
        )
    title = f"{stats.num_classes} classes, {stats.dim} features, {stats.total:,.0f} train samples"
    if kept.test is not None:
        title += f", {len(kept.test.samples):,} test samples"
    return Measurement({name: row.get(name, math.nan) for name in header}, [], tuple(found), title)


def _check_number(name: str, value: float) -> None:
    try:
        check_ridge(value)
    except (ValueError, TypeError):
        raise MeasurementError(f"{name}={value} must be a finite number from 0 on") from None


def _statistics(features: Features) -> ClassStatistics:
    train = features.train.samples
    place = train.features if features.weight is None else features.weight
    device = float64_device(place.device)
    _check_memory(features.num_classes, train.features.shape[1], device)
    try:
        stats = ClassStatistics(features.num_classes, train.features.shape[1], device, features.resolution)
        stats.update(train.features, train.labels)
    except ValueError as error:
        raise MeasurementError(str(error)) from None
    return stats


def _check_memory(num_classes: int, dim: int, device: torch.device) -> None:
    """That the class means and the covariance alone find room; the metrics take more."""
    needed = 8 * dim * (2 * num_classes + dim)
    if device.type == "cpu" and needed > (free := free_memory()):
        raise MeasurementError(
            f"{num_classes} classes of {dim} features need {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free\nmin_samples leaves out rare classes"
        )


def _ood(features: Features) -> Tensor:
    if features.ood is None:
        raise MeasurementError(f"{OOD_COLUMN} needs features of other data")
    return features.ood


def _with_enough_samples(features: Features, min_samples: int) -> Features:
    """The same of the classes with so many train samples, and of the classifier's rows for them."""
    labels = features.train.samples.labels
    classes = Classes.with_samples(labels, features.num_classes, min_samples)
    if classes.all:
        return features
    weight = bias = None
    if features.weight is not None:
        weight = features.weight[classes.kept.to(features.weight.device)]
        bias = None if features.bias is None else features.bias[classes.kept.to(features.bias.device)]

    def restricted(split: Split) -> Split:
        samples = classes.of(split.samples)
        if split.fit is None or weight is None:
            return Split(samples)
        predicted = predictions(samples.features, weight, bias)
        return Split(samples, replace(split.fit, predicted=predicted))

    train = restricted(features.train)
    test = None if features.test is None else restricted(features.test)
    return replace(features, train=train, test=test, num_classes=len(classes.kept), weight=weight, bias=bias)
