"""Two metrics: functions of the class statistics and the last layer, each returning a number."""

import torch
from torch import Tensor

from nc_runner.collapse import ClassStatistics


def largest_spread(stats: ClassStatistics, weight: Tensor, bias: Tensor | None) -> float:
    """Largest share of one direction in the within-class variance: 1/P for a ball, 1 for a line."""
    values = torch.linalg.eigvalsh(stats.within_covariance)
    return float(values[-1] / values.sum())


def margin_of_means(stats: ClassStatistics, weight: Tensor, bias: Tensor | None) -> float:
    """Least margin with which the network classifies a class mean as its class; below 0 it errs."""
    outputs = stats.means @ weight.double().T  # (C, C): of mean c for class k
    if bias is not None:
        outputs = outputs + bias.double()
    own_class = outputs.diagonal()
    others = outputs.masked_fill(torch.eye(len(outputs), dtype=torch.bool, device=outputs.device), -torch.inf)
    return float((own_class - others.max(dim=1).values).min())
