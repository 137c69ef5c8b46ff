"""The losses that ship: functions (outputs (B, C), labels (B,)) -> their mean over the batch, a scalar.

o are a sample's outputs and y its class; p = softmax(o).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nc_runner.measurement.samples import LossFunction


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """``nn.MSELoss()`` against one-hot targets: the mean over the batch and over the C classes.

    That is 2/C times the paper's 1/2 Ave ‖f(x) - y‖^2.
    """
    targets = F.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    return F.mse_loss(outputs, targets)


def mse_rescaled(outputs: Tensor, labels: Tensor, k: float = 1.0, target: float = 1.0) -> Tensor:
    """(k (o_y - target)^2 + sum of the other o_c^2) / C; with k and target 1 it is :func:`mse`.

    Source: Hui & Belkin (ICLR 2021, arXiv 2006.07322), section 2.
    """
    is_own = F.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    squares = (outputs - target * is_own).square()
    return (squares * (1 + (k - 1) * is_own)).mean()


def cross_entropy(outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """``nn.CrossEntropyLoss()``: the mean over the batch.

    ``label_smoothing``: the share of the target that is spread evenly over all C classes.
    """
    return F.cross_entropy(outputs, labels, label_smoothing=label_smoothing)


def focal(outputs: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """-(1 - p_y)^gamma log p_y; with gamma 0 it is cross-entropy. Source: Lin et al. (ICCV 2017)."""
    log_p = F.log_softmax(outputs, dim=1).gather(1, labels[:, None])[:, 0]
    # 1 - p rounds to 0 late in training, where a power below 1 has an infinite slope; the loss is 0 there.
    doubt = (-torch.expm1(log_p)).clamp(min=torch.finfo(outputs.dtype).eps)
    return -(doubt**gamma * log_p).mean()


def squared_hinge(outputs: Tensor, labels: Tensor) -> Tensor:
    """sum_{c != y} max(0, 1 - o_y + o_c)^2 / C, as ``nn.MultiMarginLoss(p=2)`` (Weston & Watkins 1999).

    Written out, since torch has no kernel of it for every device.
    """
    own = outputs.gather(1, labels[:, None])
    violations = (1 - own + outputs).clamp(min=0).square()
    violations = violations.scatter(1, labels[:, None], 0.0)
    return violations.mean()


LOSSES: dict[str, LossFunction] = {"mse": mse, "ce": cross_entropy}  # without settings, by their names
