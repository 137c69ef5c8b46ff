"""Minority classes: their angles and norms against those of the majority, where classes are of unequal size.

Which classes are the minority is read from the class counts: those with fewer samples than the geometric mean
of the largest and the smallest count. Of a step imbalance these are exactly the small classes, of an
exponential one the smaller half. Where all classes are equally large there are none, and all numbers here
are NaN; so they are where a class has no samples.

Under strong imbalance the classifier's rows of all minority classes become parallel: minority collapse (Fang,
He, Long & Su 2021).
"""

from __future__ import annotations

import math

from torch import Tensor

from nc_runner.collapse.statistics import ClassStatistics


def minority_classes(stats: ClassStatistics) -> Tensor:
    """(C,) bool: whether a class is of the minority; no class where counts are equal, or one is 0."""
    counts = stats.counts
    least, most = float(counts.min()), float(counts.max())
    few = counts < math.sqrt(least * most)
    return few if least else few & False


def minority_angle(means: Tensor, minority: Tensor) -> float:
    """Mean cosine over pairs of minority classes of mu_c - mu_G (C, P); -1/(C-1) at collapse.

    NaN for fewer than two minority classes, and where a class mean lies on mu_G.

    Source: Fang et al. (2021).
    """
    return _mean_cosine(means[minority])


def majority_angle(means: Tensor, minority: Tensor) -> float:
    """The same over pairs of majority classes; NaN for fewer than two, and without a minority."""
    return _mean_cosine(means[_majority(minority)])


def minority_angle_classifier(weight: Tensor, minority: Tensor) -> float:
    """Mean cosine over pairs of minority classes of the classifier's rows w_c (C, P), not centred.

    -1/(C-1) at collapse, 1 at minority collapse. NaN for fewer than two minority classes, and where a row of
    W is 0.

    Source: Fang et al. (2021).
    """
    return _mean_cosine(weight[minority])


def majority_angle_classifier(weight: Tensor, minority: Tensor) -> float:
    """The same over pairs of majority classes; NaN for fewer than two, and without a minority."""
    return _mean_cosine(weight[_majority(minority)])


def minority_ratio(weight: Tensor, minority: Tensor) -> float:
    """Mean of ‖w_c‖ over the minority classes over that of the majority classes; 1 at collapse.

    NaN without a minority, and where the majority's rows are 0.

    Source: Fang et al. (2021).
    """
    norms = weight.norm(dim=1)
    majority = float(norms[_majority(minority)].mean())
    return float(norms[minority].mean()) / majority if majority else math.nan


def _majority(minority: Tensor) -> Tensor:
    return ~minority & minority.any()


def _mean_cosine(rows: Tensor) -> float:
    """Over the pairs of K rows (K, P): of unit vectors, (‖sum‖^2 - K) / (K (K - 1))."""
    K = len(rows)
    if K < 2:
        return math.nan
    unit = rows / rows.norm(dim=1, keepdim=True)
    return (float(unit.sum(dim=0).square().sum()) - K) / (K * (K - 1))
