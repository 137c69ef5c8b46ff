"""Sizes of features, class means and classifier, and the ranks of features and class means."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_features
from nc_runner.collapse.metrics import distinct_means, principal_directions
from nc_runner.collapse.statistics import ClassStatistics, float64_blocks


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


def effective_rank(stats: ClassStatistics) -> float:
    """exp(-sum_j p_j log p_j) of the eigenvalues of Sigma_T = Sigma_W + Sigma_B, p_j, which sum to 1.

    Between 1 and P: how many directions the features fill. C - 1 at collapse, where they fill those of a
    simplex equally. NaN when a class has no samples, and when no feature varies (Sigma_T = 0).

    Source: Roy & Vetterli (2007), there of the singular values of a matrix.

    >>> stats = ClassStatistics(num_classes=2, dim=2)
    >>> stats.update(torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1]))
    >>> round(effective_rank(stats), 6)  # eigenvalues 1 and 2/3
    1.960132
    """
    if not stats.complete:
        return math.nan
    means = distinct_means(stats)
    total = stats.within_covariance + means.T @ means / stats.num_classes
    trace = float(total.trace())
    if not trace or not math.isfinite(trace):
        return math.nan
    eigenvalues = torch.linalg.eigvalsh(total).clamp(min=0)
    shares = eigenvalues / eigenvalues[-1]
    shares /= shares.sum()
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


def feature_norm(features: Tensor) -> float:
    """Ave ‖h‖ of features (N, P), uncentred, in float64; NaN without samples.

    Raises ValueError when the shape does not fit, or a feature is not finite.

    >>> feature_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    3.0
    """
    check_features(features)
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    if not len(features):
        return math.nan
    blocks = float64_blocks(features, 1, device)
    return sum(float(block.norm(dim=1).sum()) for block in blocks) / len(features)
