"""NC2 and NC3 in the other measures of the literature: how near means and classifier are to a simplex ETF.

Rows of A (C, P) are either the centred class means, M = [mu_c - mu_G], or the classifier's rows w_c, which
are not centred. E* = (I - 11^T/C) / sqrt(C-1) is the Gram matrix of a simplex ETF at unit Frobenius norm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_features, check_means
from nc_runner.collapse.metrics import RANK_TOLERANCE, principal_directions
from nc_runner.collapse.pairs import Moments, distances, pairs, row_blocks
from nc_runner.collapse.statistics import ClassStatistics


def nc2_etf_error_means(means: Tensor) -> float:
    """‖ A A^T / ‖A A^T‖_F - E* ‖_F of the centred class means A (C, P); 0 at collapse. NaN where A = 0.

    Sources: Zhu et al. (2021); Kothapalli (2023).

    >>> nc2_etf_error_means(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    0.0
    """
    return _etf_error(means, means)


def nc2_etf_error_classifier(weight: Tensor) -> float:
    """The same of the classifier's rows (C, P); 0 at collapse. NaN where W = 0."""
    return _etf_error(weight, weight)


def nc3_product_error(weight: Tensor, means: Tensor) -> float:
    """‖ W M^T / ‖W M^T‖_F - E* ‖_F of W (C, P) and M (C, P); 0 at collapse. NaN where W M^T = 0.

    Source: Zhu et al. (2021).
    """
    return _etf_error(weight, means)


def _etf_error(a: Tensor, b: Tensor) -> float:
    C = len(a)
    blocks = list(row_blocks(C))
    norm = math.sqrt(sum(float((a[rows] @ b.T).square().sum()) for rows in blocks))
    if not norm:
        return math.nan
    squares = 0.0
    for rows in blocks:
        difference = (a[rows] @ b.T) / norm + 1 / (C * math.sqrt(C - 1))
        difference.diagonal(rows.start).sub_(1 / math.sqrt(C - 1))
        squares += float(difference.square().sum())
    return math.sqrt(squares)


def nc2_nearest_etf_means(means: Tensor) -> float:
    """min over orthonormal Q of ‖Y - Q E*‖_F^2 = 2 - 2 ‖Y E*‖_*, Y = A^T (P, C) at unit Frobenius norm.

    A (C, P) are the centred class means; 0 at collapse. Computed as
    ‖Y 1‖^2 / C + sum_j (s_j - 1/sqrt(C-1))^2 over the C-1 singular values s_j of Y (I - 11^T/C): the same
    number, without the difference. A Q with orthonormal columns needs P >= C - 1; below, the formula is taken
    as it stands (its least value is then above 0). NaN where A = 0.

    Source: Markou, Ajanthan & Gould, Guiding Neural Collapse (2024): the closed form of its distance to the
    nearest simplex ETF, a Procrustes problem.

    >>> round(nc2_nearest_etf_means(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), 6)  # 2 - sqrt(2)
    0.585786
    """
    return _nearest_etf(means)


def nc2_nearest_etf_classifier(weight: Tensor) -> float:
    """The same of the classifier's rows (C, P); 0 at collapse. NaN where W = 0."""
    return _nearest_etf(weight)


def _nearest_etf(rows: Tensor) -> float:
    norm = float(rows.norm())
    if not math.isfinite(norm) or not norm:
        return math.nan
    C = len(rows)
    rows = rows / norm
    mean = rows.mean(dim=0)
    s = rows.new_zeros(C - 1)
    values = torch.linalg.svdvals(rows - mean)[: C - 1]
    s[: len(values)] = values
    return float(C * mean.square().sum() + (s - (C - 1) ** -0.5).square().sum())


def nc2_uniformity_distance(uniformity: tuple[float, float]) -> float:
    """Variance (population) over pairs c < c' of d = ‖mhat_c - mhat_c'‖, mhat_c = mu_c - mu_G at unit norm.

    0 at collapse, and for two classes, which have one pair. NaN where a class mean lies on mu_G.
    ``uniformity`` is the result of :func:`uniformity`.

    Source: Liu et al. (2023).
    """
    return uniformity[0]


def nc2_uniformity_log(uniformity: tuple[float, float]) -> float:
    """Variance (population) over pairs of log(1/d), d as in :func:`nc2_uniformity_distance`; 0 at collapse.

    NaN where a class mean lies on mu_G, and where two directions coincide.

    Source: Liu et al. (2023).
    """
    return uniformity[1]


def uniformity(means: Tensor) -> tuple[float, float]:
    """Both variances, of d and of log(1/d), from one pass over the pairs of ``means`` (C, P)."""
    unit = means / means.norm(dim=1, keepdim=True)
    distance, logarithm = Moments(), Moments()
    for d in pairs(distances(unit), len(means)):
        distance.add(d)
        logarithm.add(-d.where(d > 1e-15, torch.nan).log())
    return distance.variance, logarithm.variance


def nc2_row_sum(weight: Tensor) -> float:
    """‖ sum_c w_c ‖ of W (C, P); 0 at collapse, where the classifier's rows are centred."""
    return float(weight.sum(dim=0).norm())


def nc3_cosine(weight: Tensor, means: Tensor) -> float:
    """mean over c of cos(w_c, mu_c - mu_G); 1 at collapse. NaN where one of these rows is zero."""
    return float(((weight * means).sum(dim=1) / weight.norm(dim=1) / means.norm(dim=1)).mean())


def nc3_uniform_duality(weight: Tensor, means: Tensor) -> float:
    """Variance (unbiased) over c of w_c . (mu_c - mu_G); 0 at collapse. Not invariant to scale.

    Source: Wu & Papyan (2024).
    """
    return float((weight * means).sum(dim=1).var())


def nc3_subspace_angle(weight: Tensor, means: Tensor) -> float:
    """(1/r) sum of the cosines of the principal angles between the row spaces of W and M, r = C - 1.

    1 at collapse. Directions below 1e-10 of a matrix's strongest are rounding errors and not counted. For
    P < C - 1 there are only P angles, and the sum is still divided by C - 1. NaN where W or M is zero.

    Source: Rangamani et al. (2023).
    """
    if not bool((weight.isfinite() & means.isfinite()).all()):
        return math.nan
    _, of_means = principal_directions(means)
    _, s, directions = torch.linalg.svd(weight, full_matrices=False)
    of_weight = directions[: int((s > RANK_TOLERANCE * s[0]).sum())]
    if not len(of_means) or not len(of_weight):
        return math.nan
    return float(torch.linalg.svdvals(of_weight @ of_means.T).sum() / (len(means) - 1))


def bias_collapse(weight: Tensor, bias: Tensor | None, stats: ClassStatistics) -> float:
    """‖ W mu_G + b ‖ with W (C, P), b (C,) or None for zero; 0 at collapse.

    Called NC4 by Zhu et al. (2021); not the nearest-class-mean NC4. Under MSE loss with one-hot
    targets it tends to 1/sqrt(C) instead, since W mu_G + b tends to the targets' mean.
    """
    outputs = weight @ stats.global_mean
    return float((outputs if bias is None else outputs + bias).norm())


def nc5_ood_orthogonality(means: Tensor, ood_mean: Tensor) -> float:
    """mean over c of abs(cos(mu_c, mean feature of an out-of-distribution set)), both uncentred.

    0 at collapse, where other data's mean feature is orthogonal to all class means.

    Args:
        means: (C, P) class means of the train set; ood_mean: (P,).

    NaN where a class mean or the out-of-distribution mean is zero, and where a class has no mean.

    Raises:
        ValueError: a shape does not fit, or a number is not finite.

    Source: Ammar et al. (2024).

    >>> nc5_ood_orthogonality(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.0, 3.0]))
    0.5
    """
    check_means(means)
    if ood_mean.ndim != 1:
        raise ValueError(f"the mean feature ({means.shape[1]},) is needed, not {tuple(ood_mean.shape)}")
    check_features(ood_mean[None], means.shape[1])
    means, ood_mean = means.to(torch.float64), ood_mean.to(means.device, torch.float64)
    return float((means @ ood_mean / means.norm(dim=1) / ood_mean.norm()).abs().mean())
