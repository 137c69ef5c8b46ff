"""Users' own metrics: functions of the train set's class statistics and the classifier, each a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nc_runner.collapse import ClassStatistics
from nc_runner.config.plugins import locate, reason
from nc_runner.errors import TrainingError

OwnMetric = Callable[[ClassStatistics, Tensor, Tensor | None], Any]


def find_own_metrics(analysis: Mapping[str, Any]) -> dict[str, OwnMetric]:
    """The callables that ``analysis.own`` names, by column. Raises ConfigError where a path leads nowhere."""
    return {name: locate(path, f"analysis.own.{name}") for name, path in analysis["own"].items()}


@torch.no_grad()
def own_metrics(
    analysis: Mapping[str, Any], stats: ClassStatistics, weight: Tensor, bias: Tensor | None
) -> dict[str, float]:
    """Their values, by column.

    Args:
        stats: of the train set's last-layer features: C classes, P features, float64.
        weight: (C, P), bias: (C,) or None, of the last layer, float32.

    Raises TrainingError where one fails or returns what is no number; the run can go on when it is mended.
    """
    row = {}
    for name, metric in find_own_metrics(analysis).items():
        try:
            row[name] = float(metric(stats, weight, bias))
        except Exception as error:  # an own function may raise anything
            raise TrainingError(
                f"analysis.own.{name}={analysis['own'][name]} failed with {reason(error)}\n"
                "it gets (stats, weight, bias) and returns a number; mend it, then give the command again"
            ) from error
    return row
