"""The losses that ship: functions (outputs (B, C), labels (B,)) -> their mean over the batch, a scalar."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nc_runner.measurement.samples import LossFunction


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """``nn.MSELoss()`` against one-hot targets: the mean over the batch and over the C classes.

    That is 2/C times the paper's 1/2 Ave ‖f(x) - y‖^2.
    """
    targets = F.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    return F.mse_loss(outputs, targets)


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """``nn.CrossEntropyLoss()``: the mean over the batch."""
    return F.cross_entropy(outputs, labels)


LOSSES: dict[str, LossFunction] = {"mse": mse, "ce": cross_entropy}
