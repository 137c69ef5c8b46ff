"""One measurement of a network: a forward pass over each split, then all numbers of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nc_runner.collapse import ClassStatistics, collapse_metrics, least_squares_classifier
from nc_runner.columns import OOD_COLUMN, RECOMPUTED_COLUMNS, ROBUSTNESS_COLUMN
from nc_runner.data.dataset import AnySplit, Dataset, Split
from nc_runner.distributed.group import ALONE, Group
from nc_runner.measurement.batchnorm import Recomputation
from nc_runner.measurement.custom import CustomMetric, custom_metrics
from nc_runner.measurement.forward import Forward, Pause, Responses, no_pause
from nc_runner.measurement.layers import InnerLayers
from nc_runner.measurement.objective import Objective
from nc_runner.measurement.precision import float64_device, full_precision
from nc_runner.measurement.result import Measurement
from nc_runner.measurement.robustness import robustness
from nc_runner.measurement.row import Inputs, core_row, decomposition
from nc_runner.measurement.samples import LossFunction, Samples
from nc_runner.measurement.undisturbed import gpus_of, random_state_kept
from nc_runner.measurement.wider import wider_row
from nc_runner.networks import Network


@dataclass(frozen=True)
class MeasurementPlan:
    """What is measured, and how.

    ``wider``: columns of the wider set. ``ridge``: ``objective``, ``notebook`` or a number, see
    :meth:`Objective.ridge`. ``weight_decay``: of the training objective. ``objective``: of the last layer;
    None: with the same weight decay, and the target 1. ``refit``: the last layer is first
    replaced by the least-squares classifier of the train features. ``batch_size``: images per forward pass,
    at most. ``channels_last``: memory layout of the images. ``custom``: custom metrics by column.
    ``penalty``: what training adds to the loss for the network's weights, NaN where it has no such objective;
    None: weight_decay/2 times the squares of all parameters. ``robustness``: test images of which it is
    measured. ``recomputation``: of batch norm's statistics, for the row or for columns beside it; None: the
    running ones alone.
    """

    wider: tuple[str, ...] = ()
    ridge: str | float = "objective"
    weight_decay: float = 0.0
    objective: Objective | None = None
    refit: bool = False
    batch_size: int = 512
    channels_last: bool = True
    custom: Mapping[str, CustomMetric] = field(default_factory=dict)
    penalty: Callable[[], float] | None = None
    robustness: AnySplit | None = None
    recomputation: Recomputation | None = None


def ridge_value(rule: str | float, num_classes: int, weight_decay: float) -> float:
    """lambda of the decomposition.

    Training minimises (2/C) * 1/2 Ave ‖V x - y‖^2 + (wd/2) ‖V‖^2, so its own ridge is C*wd/2 (``objective``);
    the authors' notebook takes wd/2 (``notebook``). A number is taken as it is. Other objectives:
    :class:`nc_runner.measurement.objective.Objective`.
    """
    if rule == "objective":
        return num_classes * weight_decay / 2
    return weight_decay / 2 if rule == "notebook" else float(rule)


class Measurer:
    """Measures one network on one data set, as often as asked.

    Of several ranks each passes its part of both splits, and all of them return the whole row. Without test
    images the columns of the test set are NaN.
    """

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        loss_function: LossFunction,
        plan: MeasurementPlan,
        layers: InnerLayers | None = None,
        group: Group = ALONE,
    ) -> None:
        self.network = network
        self.dataset = dataset
        self.loss_function = loss_function
        self.plan = plan
        self.layers = layers or InnerLayers({})
        self.group = group
        self.forward = Forward(network, dataset, plan.batch_size, plan.channels_last, group)
        objective = plan.objective or Objective((plan.weight_decay, plan.weight_decay))
        self.ridge = objective.ridge(plan.ridge, dataset.num_classes)
        self.target = objective.target

    def measure(self, pause: Pause = no_pause, *, with_layers: bool = False) -> Measurement:
        """All numbers of a row. ``pause`` is called before each batch of a forward pass.

        Raises DivergedError, on all ranks, where a feature or an output is not finite; TrainingError where a
        custom metric fails.
        """
        layers, plan = self.layers if with_layers else InnerLayers({}), self.plan
        anew = plan.recomputation
        with full_precision(self.dataset.device):
            if anew is None:
                return self._measured(pause, layers, refit=plan.refit)
            if anew.beside:
                measurement = self._measured(pause, layers, refit=plan.refit)
                kept = random_state_kept(*gpus_of(self.dataset.device))
                with kept, anew.of(self.network.model, self.group, pause) as paused:
                    measurement.row.update(self._beside(paused))
                return measurement
            if plan.refit:  # a part of training, which no choice of the measurement changes
                self.refit(pause)
            with anew.of(self.network.model, self.group, pause) as paused:
                return self._measured(paused, layers, refit=False)

    def refit(self, pause: Pause = no_pause) -> dict[str, float]:
        """Refit the classifier, which the plan asks for, and measure nothing but the train loss.

        Raises DivergedError as :meth:`measure`.
        """
        with full_precision(self.dataset.device):
            train = self.forward.respond(self.dataset.train, pause)
            self._refit(self._statistics(train), train, None)
            loss = train.fit(self.loss_function, self.group).loss
            return {"train_loss": loss, "train_loss_regularized": loss + self._penalty()}

    def _measured(self, pause: Pause, layers: InnerLayers, *, refit: bool) -> Measurement:
        """All numbers of a row, with the statistics that batch norm has."""
        with layers.listen("train"):
            train = self.forward.respond(self.dataset.train, pause)
        with layers.listen("test"):
            test = self.forward.respond(self.dataset.test, pause) if len(self.dataset.test) else None
        stats = self._statistics(train)
        if refit:
            self._refit(stats, train, test)
        inputs = self._inputs(train, test, stats, pause)
        fit = train.fit(self.loss_function, self.group)
        test_fit = None if test is None else test.fit(self.loss_function, self.group)
        row = core_row(inputs, self.ridge, fit, test_fit)
        row["train_loss_regularized"] = row["train_loss"] + self._penalty()
        row |= wider_row(inputs, self.plan.wider)
        classifier = self.network.classifier
        row |= custom_metrics(self.plan.custom, stats, classifier.weight.detach(), classifier.bias)
        labels = train.labels, None if test is None else test.labels
        rows = layers.rows(*labels, self.dataset.num_classes, self.group)
        if self.plan.robustness is not None:
            row[ROBUSTNESS_COLUMN] = robustness(self.forward, self.plan.robustness, pause)
        return Measurement(row, rows)

    def _beside(self, pause: Pause) -> dict[str, float]:
        """The columns that show what another choice of batch norm's statistics gives."""
        train = self.forward.respond(self.dataset.train, pause)
        stats = self._statistics(train)
        inputs = self._inputs(train, None, stats, pause)
        classifier = self.network.classifier
        weight = classifier.weight.detach()
        row = decomposition(inputs, weight, classifier.bias, self.ridge)
        row["nc1"] = collapse_metrics(stats, weight)["nc1"]
        return {name: row[name.removesuffix("_recomputed")] for name in RECOMPUTED_COLUMNS}

    def _inputs(
        self, train: Responses, test: Responses | None, stats: ClassStatistics, pause: Pause
    ) -> Inputs:
        classifier = self.network.classifier
        return Inputs(
            train, test, stats, classifier.weight.detach(), classifier.bias,
            ood_features=lambda: self._ood_features(pause), group=self.group, target=self.target,
        )  # fmt: skip

    def _penalty(self) -> float:
        if self.plan.penalty is not None:
            return self.plan.penalty()
        return self.plan.weight_decay / 2 * sum_of_squares(self.network.model.parameters())

    def _statistics(self, train: Samples) -> ClassStatistics:
        classifier = self.network.classifier
        device = float64_device(classifier.weight.device)
        stats = ClassStatistics(self.dataset.num_classes, classifier.in_features, device)
        stats.update(train.features, train.labels)
        return self.group.merge(stats)

    def _ood_features(self, pause: Pause) -> Tensor:
        ood = self.dataset.ood
        if ood is None:
            raise ValueError(f"{OOD_COLUMN} needs a data set with out-of-distribution images")
        return self.forward.respond(Split(ood, torch.zeros(len(ood), dtype=torch.int64)), pause).features

    @torch.no_grad()
    def _refit(self, stats: ClassStatistics, train: Responses, test: Responses | None) -> None:
        """Give the last layer the least-squares weights, and the samples the outputs that it then has."""
        classifier = self.network.classifier
        if self.ridge is None:
            raise ValueError("without a ridge there is no least-squares classifier")
        weight, bias = least_squares_classifier(stats, self.ridge, bias=classifier.bias is not None)
        classifier.weight.copy_(self.target * weight)
        if bias is not None:
            classifier.bias.copy_(self.target * bias)
        self.group.align(classifier.parameters())
        size = self.plan.batch_size
        with torch.inference_mode():
            for samples in filter(None, (train, test)):
                parts = torch.split(samples.features, size), torch.split(samples.outputs, size)
                for features, outputs in zip(*parts, strict=True):
                    outputs.copy_(classifier(features.to(classifier.weight.device)))


def sum_of_squares(parameters: Iterable[Tensor]) -> float:
    """Of all numbers of all parameters, in float64; waits for the device once."""
    there = [p.detach().to(float64_device(p.device)) for p in parameters]
    there = [torch.view_as_real(p) if p.is_complex() else p for p in there]
    there = [p if p.is_floating_point() else p.double() for p in there]  # quantised ones are whole numbers
    norms = [torch.linalg.vector_norm(p, dtype=torch.float64) for p in there]
    return float(torch.stack([norm.to(norms[0].device) for norm in norms]).square().sum())
