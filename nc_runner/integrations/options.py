"""What all callbacks are asked: when to measure, and with which options of nc_runner.measure."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError, MeasurementError
from nc_runner.measurement.features import FeaturesPlan, chosen_columns
from nc_runner.measurement.measure import check_batchnorm, loss_of, measure

_GIVEN_ELSEWHERE = ("model", "batches", "test", "ood")


@dataclass(frozen=True)
class Schedule:
    """Which epochs are measured: every n-th, or those of a set; 0 is before the first step."""

    every: int | frozenset[int]
    at_start: bool = False

    @classmethod
    def of(cls, every: int | Iterable[int], at_start: bool) -> Schedule:
        """Raises ConfigError for numbers that are no epochs."""
        single = isinstance(every, int)
        numbers = [every] if isinstance(every, int) else list(every)
        smallest = 1 if single else 0
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or number < smallest:
                raise ConfigError(
                    f"every={every} must be a whole number from 1 on, or a list of epochs from 0 on"
                )
        return cls(numbers[0] if single else frozenset(numbers), at_start)

    def __contains__(self, number: int) -> bool:
        if number == 0 and self.at_start:
            return True
        if isinstance(self.every, int):
            return number > 0 and number % self.every == 0
        return number in self.every


@dataclass(frozen=True)
class Options:
    """Keyword arguments of :func:`nc_runner.measure`, checked before training starts.

    Raises ConfigError for one that it does not take, and MeasurementError for a value that it does not take.
    """

    given: Mapping[str, Any]

    def __post_init__(self) -> None:
        possible = [name for name in inspect.signature(measure).parameters if name not in _GIVEN_ELSEWHERE]
        for name in self.given:
            if name not in possible:
                raise ConfigError(
                    f"there is no option {name}{nearest(name, possible)}\n"
                    f"those of nc_runner.measure are possible: {', '.join(possible)}"
                )
        weight_decay, min_samples = self.given.get("weight_decay", 0.0), self.given.get("min_samples")
        FeaturesPlan((), self.custom, self.ridge, weight_decay, min_samples)
        loss_of(self.given.get("loss", "ce"))
        check_batchnorm(self.given.get("batchnorm", "running"))

    @property
    def ridge(self) -> str | float:
        ridge: str | float = self.given.get("ridge", "objective")
        return ridge

    @property
    def custom(self) -> Mapping[str, Any]:
        return dict(self.given.get("custom") or {})

    @property
    def loss_name(self) -> str:
        loss = self.given.get("loss", "ce")
        return loss if isinstance(loss, str) else str(getattr(loss, "__name__", type(loss).__name__))

    def further_columns(self, *, test: bool, ood: bool) -> tuple[str, ...]:
        """The columns beyond those of every run, with such data."""
        chosen = chosen_columns(self.given.get("metrics", "core"), test=test, ood=ood)
        return (*chosen, *self.custom)


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The part of a model that is measured; the model itself for an empty name."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        children = ", ".join(child for child, _ in model.named_children()) or "none"
        raise MeasurementError(
            f"model={name}: {type(model).__name__} has no such module\nits parts are: {children}"
        ) from None
