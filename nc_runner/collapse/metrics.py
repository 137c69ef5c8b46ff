"""The measures of Neural Collapse, NC1 to NC4, in the definitions of Han, Papyan & Donoho (2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_classifier, check_features, check_labels, check_means
from nc_runner.collapse.pairs import Moments, pairs
from nc_runner.collapse.statistics import ClassStatistics, float64_blocks

RANK_TOLERANCE = 1e-10  # directions of the class means below this share of the strongest do not count
ZERO_TOLERANCE = 1e-13  # centred means below this share of the means' norm are rounding errors


def collapse_metrics(stats: ClassStatistics, weight: Tensor) -> dict[str, float]:
    """NC1 to NC3 of features with these statistics and a classifier with this weight, each 0 at collapse.

    With mu_c the class means, mu_G their mean, M = [mu_c - mu_G], w_c the classifier's rows:

    - ``nc1`` = Tr(Sigma_W Sigma_B^+) / C, with Sigma_B = M M^T / C
    - ``nc2_equinorm_means``, ``nc2_equinorm_classifier``: standard deviation (unbiased) / mean, over c, of
      the norms of mu_c - mu_G and of w_c (rows are not centred)
    - ``nc2_equiangular_*``: standard deviation (population) of the cosines of all pairs c != c'
    - ``nc2_maxangle_*``: mean over pairs c != c' of abs(cos + 1/(C-1))
    - ``nc3_self_duality`` = ‖W/‖W‖_F - M^T/‖M‖_F‖_F^2

    Args:
        stats: of C classes with P features.
        weight: (C, P), of the last linear layer.

    Returns:
        The measures under their column names. Those of the means are NaN when a class has no samples, and
        when all class means coincide; an angle is NaN when a row that it needs is zero.

    Raises:
        ValueError: the weight's shape is not (C, P).

    Source: Papyan, Han & Donoho (PNAS 2020) and Han, Papyan & Donoho (ICLR 2022, arXiv 2106.02073).
    """
    check_classifier(weight, None, stats.num_classes, stats.dim)
    weight = weight.detach().to(stats.device).to(torch.float64)
    means = distinct_means(stats)
    metrics = {"nc1": _nc1(stats.within_covariance, means) if stats.complete else math.nan}
    for name, rows in (("means", means), ("classifier", weight)):
        equiangular, maxangle = _angles(rows)
        metrics[f"nc2_equinorm_{name}"] = _equinorm(rows)
        metrics[f"nc2_equiangular_{name}"] = equiangular
        metrics[f"nc2_maxangle_{name}"] = maxangle
    metrics["nc3_self_duality"] = float((weight / weight.norm() - means / means.norm()).square().sum())
    return metrics


def distinct_means(stats: ClassStatistics) -> Tensor:
    """(C, P) mu_c - mu_G, exactly zero where all class means coincide but for rounding."""
    means = stats.centred_means
    return torch.zeros_like(means) if means.norm() <= ZERO_TOLERANCE * stats.means.norm() else means


def principal_directions(means: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values (r,) and right singular vectors (r, P) of M (C, P): of at most C - 1 directions, those
    above RANK_TOLERANCE of the strongest. r is 0 when all class means coincide."""
    _, s, directions = torch.linalg.svd(means, full_matrices=False)
    s = s[: means.shape[0] - 1]
    rank = int((s > RANK_TOLERANCE * s[0]).sum())
    return s[:rank], directions[:rank]


def _nc1(within_covariance: Tensor, means: Tensor) -> float:
    """Tr(Sigma_W Sigma_B^+) / C = sum_j b_j^T Sigma_W b_j / s_j^2 over the singular pairs of M.

    A P x P pseudo-inverse of Sigma_B would divide by its own rounding errors.
    """
    s, directions = principal_directions(means)
    if not len(s):
        return math.nan
    spread = ((directions @ within_covariance) * directions).sum(dim=1)
    return float((spread / s.square()).sum())


def _equinorm(rows: Tensor) -> float:
    norms = rows.norm(dim=1)
    return float(norms.std() / norms.mean())


def _angles(rows: Tensor) -> tuple[float, float]:
    """Standard deviation of the cosines of all pairs of rows, and the mean of abs(cos + 1/(C-1))."""
    C = len(rows)
    unit = rows / rows.norm(dim=1, keepdim=True)
    cosine, distance = Moments(), Moments()
    for cosines in pairs(lambda a, b: unit[a] @ unit[b].T, C):
        cosine.add(cosines)
        distance.add((cosines + 1 / (C - 1)).abs_())
    return math.sqrt(cosine.variance), distance.mean


def nearest_class_mean(features: Tensor, means: Tensor) -> Tensor:
    """argmin_c ‖h - mu_c‖ for each of ``features`` (N, P), with ``means`` (C, P); (N,) of int64.

    Classes without samples (means NaN) are never the nearest. Distances are compared in float64 after
    centring, where argmax of h.mu - ‖mu‖^2/2 has no large terms to cancel.

    Raises ValueError for wrong shapes, features that are not finite, and means that are neither finite nor
    all NaN.
    """
    check_means(means)
    check_features(features, means.shape[1])
    means, device = means.detach().to(torch.float64), means.device
    present = ~means.isnan().all(dim=1)
    centre = means[present].mean(dim=0)
    centred = (means - centre).where(present[:, None], 0.0)
    offset = (centred.square().sum(dim=1) / 2).where(present, torch.inf)
    nearest = torch.zeros(len(features), dtype=torch.int64, device=device)
    table, done = centred.new_empty(0), 0
    for h in float64_blocks(features, len(means), device):
        # One table for all blocks: new ones fragment the memory, which then grows with the samples.
        table = table if len(table) == len(h) else centred.new_empty(len(h), len(means))
        torch.addmm(-offset, h.sub_(centre), centred.T, out=table)
        torch.argmax(table, dim=1, out=nearest[done : done + len(h)])
        done += len(h)
    return nearest


def ncc_mismatch(features: Tensor, predicted: Tensor, means: Tensor) -> float:
    """NC4: the share of samples whose nearest class mean is not the class that the network predicts.

    Args:
        features: (N, P), of the train or the test set.
        predicted: (N,) integers in 0..C-1, argmax_c of the network's outputs w_c.h + b_c, bias included.
        means: (C, P), the class means of the train set; a row of NaN for a class without samples.

    Returns:
        A share in [0, 1], 0 at collapse; NaN without samples or without any class mean.

    Raises:
        ValueError: a shape does not fit, a prediction is no class, or a feature is not finite.

    >>> means = torch.tensor([[0.0], [2.0]])
    >>> ncc_mismatch(torch.tensor([[0.5], [0.9], [1.1]]), torch.tensor([0, 1, 1]), means)
    0.3333333333333333
    """
    nearest = nearest_class_mean(features, means)
    check_labels(predicted, len(nearest), len(means), "predictions")
    return _share(nearest != predicted.to(nearest.device), means)


def ncc_accuracy(features: Tensor, labels: Tensor, means: Tensor) -> float:
    """Accuracy of argmin_c ‖h - mu_c‖, the nearest of the train set's class means.

    At collapse it is the network's own accuracy on the same set. Ties go to the first class; classes without
    a mean are never the nearest; NaN without samples or without any class mean.

    Args:
        features: (N, P), of the train or the test set; labels: (N,) integers in 0..C-1.
        means: (C, P), of the train set; a row of NaN for a class without samples.

    Raises:
        ValueError: a shape does not fit, a label is no class, or a feature is not finite.

    Source: Papyan, Han & Donoho (2020), whose NC4 compares it with the network.

    >>> ncc_accuracy(torch.tensor([[0.5], [1.5]]), torch.tensor([0, 0]), torch.tensor([[0.0], [2.0]]))
    0.5
    """
    nearest = nearest_class_mean(features, means)
    check_labels(labels, len(nearest), len(means))
    return _share(nearest == labels.to(nearest.device), means)


def _share(hits: Tensor, means: Tensor) -> float:
    """The share of samples that are ``hits`` (N,); NaN without samples or without any class mean."""
    return math.nan if not len(hits) or bool(means.isnan().all()) else int(hits.sum()) / len(hits)
