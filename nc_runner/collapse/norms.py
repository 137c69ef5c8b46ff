"""Sizes of the class means and the classifier, and the rank of the class means."""

from __future__ import annotations

import math

from torch import Tensor

from nc_runner.collapse.metrics import principal_directions
from nc_runner.collapse.statistics import ClassStatistics


def weight_norm(weight: Tensor) -> float:
    """‖W‖_F of the classifier's weight (C, P)."""
    return float(weight.norm())


def means_norm(means: Tensor) -> float:
    """‖M‖_F of the centred class means (C, P); NaN when a class has no samples."""
    return float(means.norm())


def global_mean_norm(stats: ClassStatistics) -> float:
    """‖mu_G‖ of the mean of the class means; NaN when a class has no samples."""
    return float(stats.global_mean.norm())


def bias_norm(bias: Tensor | None) -> float:
    """‖b‖ of the classifier's bias (C,); 0 for a classifier without one."""
    return 0.0 if bias is None else float(bias.norm())


def rank(stats: ClassStatistics, means: Tensor) -> float:
    """The number of directions of the centred class means (C, P) that ``nc1`` counts: at most C - 1.

    NaN when a class has no samples.
    """
    return len(principal_directions(means)[0]) if stats.complete else math.nan
