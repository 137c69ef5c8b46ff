"""Custom metrics: functions of the train set's class statistics and the classifier, a column each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import SupportsFloat

import torch
from torch import Tensor

from nc_runner.collapse import ClassStatistics
from nc_runner.config.plugins import locate, reason
from nc_runner.errors import ConfigError, TrainingError

CustomMetric = Callable[[ClassStatistics, Tensor, Tensor | None], SupportsFloat]


def find_custom_metrics(
    custom: Mapping[str, str], setting: str = "analysis.custom."
) -> dict[str, CustomMetric]:
    """The callables by column, from their paths by column.

    Args:
        setting: what the messages put before a column's name.

    Raises ConfigError where a path leads nowhere, or a callable does not take (stats, weight, bias).
    """
    found: dict[str, CustomMetric] = {}
    for column, path in custom.items():
        with torch.random.fork_rng(devices=[]):  # what an import draws must not move the generator
            found[column] = locate(path, f"{setting}{column}")
        if not _takes_three(found[column]):
            raise ConfigError(
                f"{setting}{column}={path} does not take three arguments\n"
                "a custom metric gets (stats, weight, bias) and returns a number"
            )
    return found


@torch.no_grad()
def custom_metrics(
    metrics: Mapping[str, CustomMetric], stats: ClassStatistics, weight: Tensor, bias: Tensor | None
) -> dict[str, float]:
    """The values of custom metrics, by column.

    Args:
        stats: of the train set's last-layer features: C classes, P features, float64.
        weight: (C, P), bias: (C,) or None, of the last layer, float32.

    Raises TrainingError where one fails or returns no number; the run can be resumed when it is fixed.
    """
    row = {}
    for column, metric in metrics.items():
        try:
            row[column] = float(metric(stats, weight, bias))
        except Exception as error:  # a custom function may raise anything
            name = getattr(metric, "__qualname__", None) or type(metric).__qualname__
            raise TrainingError(
                f"the custom metric {column} ({name}) failed with {reason(error)}\n"
                "it gets (stats, weight, bias) and returns a number; fix it, then give the command again"
            ) from error
    return row


def _takes_three(metric: CustomMetric) -> bool:
    """Whether it can be called with three arguments; what is written in C without a signature passes."""
    try:
        inspect.signature(metric).bind(None, None, None)
    except ValueError:
        return True
    except TypeError:
        return False
    return True
