"""The wider metric set: every measure of class statistics and a classifier, found by its column's name.

A measure is a function of :mod:`variability`, :mod:`geometry`, :mod:`norms` or :mod:`minority` that has the
name of its column, returns a float, and whose parameters are fields or properties of :class:`Inputs`. To add
one, write such a function and its line in ``nc_runner.columns``. A quantity that several measures share is a
property of :class:`Inputs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from nc_runner.collapse import geometry, minority, norms, variability
from nc_runner.collapse.checks import check_classifier
from nc_runner.collapse.metrics import distinct_means
from nc_runner.collapse.statistics import ClassStatistics

MODULES = (variability, geometry, norms, minority)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a measure may take, by the names of its parameters.

    ``stats`` of the train set's features; ``weight`` (C, P) and ``bias`` (C,) or None of the classifier, in
    float64 on the statistics' device. The properties are computed once, and only where a measure takes them.
    """

    stats: ClassStatistics
    weight: Tensor
    bias: Tensor | None

    @cached_property
    def means(self) -> Tensor:
        """(C, P) mu_c - mu_G, zero where all class means coincide; NaN when a class has no samples."""
        return distinct_means(self.stats)

    @cached_property
    def uniformity(self) -> tuple[float, float]:
        """The variances of distances between the directions of the class means, and of their logarithms."""
        return geometry.uniformity(self.means)

    @cached_property
    def minority(self) -> Tensor:
        """(C,) bool: the classes with few samples; none where all are equally large."""
        return minority.minority_classes(self.stats)


INPUTS = (
    *(field.name for field in fields(Inputs)),
    *(name for name, value in vars(Inputs).items() if isinstance(value, cached_property)),
)


def find_measures() -> dict[str, Callable[..., float]]:
    """The measures by name: public functions of :data:`MODULES` that take some of :data:`INPUTS` alone."""
    found: dict[str, Callable[..., float]] = {}
    for module in MODULES:
        for name, function in vars(module).items():
            if name.startswith("_") or getattr(function, "__module__", None) != module.__name__:
                continue
            signature = inspect.signature(function)
            if signature.return_annotation in ("float", float) and set(signature.parameters) <= set(INPUTS):
                found[name] = function
    return found


def needs_classifier(name: str) -> bool:
    """Whether the measure of this name takes the classifier's weight or bias. Raises ValueError as below."""
    return not {"weight", "bias"}.isdisjoint(inspect.signature(_measures([name])[name]).parameters)


def wider_metrics(
    stats: ClassStatistics, weight: Tensor, bias: Tensor | None, names: Iterable[str] | None = None
) -> dict[str, float]:
    """The measures of the wider set that rest on class statistics and the classifier.

    Each has its formula, source and value at collapse in the function of its name in ``variability``,
    ``geometry``, ``norms`` or ``minority``.

    Args:
        stats: of C classes with P features.
        weight: (C, P), bias: (C,) or None, of the last linear layer.
        names: which ones; all by default. Nothing else is computed.

    Returns:
        The measures under their column names; NaN where one does not exist, as when a class has no samples.

    Raises:
        ValueError: a name is not that of a measure, or the shape of weight or bias does not fit.
    """
    measures = _measures(names)
    check_classifier(weight, bias, stats.num_classes, stats.dim)
    weight = weight.detach().to(stats.device, torch.float64)
    inputs = Inputs(stats, weight, None if bias is None else bias.detach().to(weight))
    row = {}
    for name in measures:
        parameters = inspect.signature(measures[name]).parameters
        row[name] = float(measures[name](**{given: getattr(inputs, given) for given in parameters}))
    return row


def _measures(names: Iterable[str] | None) -> dict[str, Callable[..., float]]:
    """The measures of these names, or all."""
    measures = find_measures()
    chosen = list(measures if names is None else names)
    for name in chosen:
        if name not in measures:
            modules = ", ".join(module.__name__ for module in MODULES)
            raise ValueError(
                f"there is no measure {name}: no function of that name in {modules} that returns a float and "
                f"takes nothing but {', '.join(INPUTS)}; choose from {', '.join(measures)}"
            )
    return {name: measures[name] for name in chosen}
