"""The wider metric set under its column names: what class statistics and a classifier give, as asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

from nc_runner.collapse import geometry, variability
from nc_runner.collapse.metrics import distinct_means, nearest_class_mean, principal_directions
from nc_runner.collapse.statistics import ClassStatistics


class _Measured:
    """What several measures share, computed once and only where it is needed."""

    def __init__(self, stats: ClassStatistics, weight: Tensor, bias: Tensor | None) -> None:
        self.stats = stats
        self.weight = weight.detach().to(stats.device).to(torch.float64)
        self.bias = None if bias is None else bias.detach().to(self.weight)

    @cached_property
    def means(self) -> Tensor:
        return distinct_means(self.stats)

    @cached_property
    def uniformity(self) -> tuple[float, float]:
        return geometry.nc2_uniformity(self.means)

    @property
    def rank(self) -> float:
        finite = bool(self.means.isfinite().all())
        return len(principal_directions(self.means)[0]) if finite else float("nan")


MEASURES: dict[str, Callable[[_Measured], float]] = {
    "nc1_trace_ratio": lambda m: variability.nc1_trace_ratio(m.stats),
    "nc1_cdnv": lambda m: variability.nc1_cdnv(m.stats),
    "nc1_vci": lambda m: variability.nc1_vci(m.stats),
    "nc2_etf_error_means": lambda m: geometry.nc2_etf_error(m.means),
    "nc2_etf_error_classifier": lambda m: geometry.nc2_etf_error(m.weight),
    "nc2_nearest_etf_means": lambda m: geometry.nc2_nearest_etf(m.means),
    "nc2_nearest_etf_classifier": lambda m: geometry.nc2_nearest_etf(m.weight),
    "nc2_uniformity_distance": lambda m: m.uniformity[0],
    "nc2_uniformity_log": lambda m: m.uniformity[1],
    "nc2_row_sum": lambda m: geometry.nc2_row_sum(m.weight),
    "nc3_product_error": lambda m: geometry.nc3_product_error(m.weight, m.means),
    "nc3_cosine": lambda m: geometry.nc3_cosine(m.weight, m.means),
    "nc3_uniform_duality": lambda m: geometry.nc3_uniform_duality(m.weight, m.means),
    "nc3_subspace_angle": lambda m: geometry.nc3_subspace_angle(m.weight, m.means),
    "bias_collapse": lambda m: geometry.bias_collapse(m.weight, m.bias, m.stats.global_mean),
    "weight_norm": lambda m: float(m.weight.norm()),
    "means_norm": lambda m: float(m.means.norm()),
    "global_mean_norm": lambda m: float(m.stats.global_mean.norm()),
    "bias_norm": lambda m: 0.0 if m.bias is None else float(m.bias.norm()),
    "rank": lambda m: m.rank,
}


def wider_metrics(
    stats: ClassStatistics, weight: Tensor, bias: Tensor | None, names: Iterable[str] | None = None
) -> dict[str, float]:
    """The measures of the wider set that rest on class statistics and the classifier.

    Each has its formula, source and value at collapse in the function that computes it, in ``variability``
    and ``geometry``. ``weight_norm``, ``means_norm``, ``global_mean_norm`` and ``bias_norm`` are ‖W‖_F,
    ‖M‖_F, ‖mu_G‖ and ‖b‖; ``rank`` is the number of directions of the class means that ``nc1`` counts, at
    most C - 1.

    Args:
        stats: of C classes with P features.
        weight: (C, P), bias: (C,) or None, of the last linear layer.
        names: which ones; all of :data:`MEASURES` by default. Nothing else is computed.

    Returns:
        The measures under their column names; NaN where one does not exist, as when a class has no samples.

    Raises:
        ValueError: a name is not one of these, or the weight's shape is not (C, P).
    """
    chosen = list(MEASURES if names is None else names)
    unknown = [name for name in chosen if name not in MEASURES]
    if unknown:
        raise ValueError(f"there is no measure {unknown[0]}: choose from {', '.join(MEASURES)}")
    if tuple(weight.shape) != (stats.num_classes, stats.dim):
        raise ValueError(f"weight must be ({stats.num_classes}, {stats.dim}), not {tuple(weight.shape)}")
    measured = _Measured(stats, weight, bias)
    return {name: float(MEASURES[name](measured)) for name in chosen}


def ncc_accuracy(features: Tensor, labels: Tensor, means: Tensor) -> float:
    """Accuracy of argmin_c ‖h - mu_c‖, the nearest of the train set's class means.

    At collapse it is the network's own accuracy on the same set. Ties go to the first class; classes without
    a mean are never the nearest; NaN without samples or means.

    Args:
        features: (N, P), of the train or the test set; labels: (N,); means: (C, P), of the train set.

    Source: Papyan, Han & Donoho (2020), whose NC4 compares it with the network.

    >>> ncc_accuracy(torch.tensor([[0.5], [1.5]]), torch.tensor([0, 0]), torch.tensor([[0.0], [2.0]]))
    0.5
    """
    if not len(features) or not bool(means.isfinite().all(dim=1).any()):
        return float("nan")
    nearest = nearest_class_mean(features, means.to(torch.float64))
    return int((nearest == labels.to(nearest.device)).sum()) / len(nearest)
