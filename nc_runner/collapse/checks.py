"""Checks of arguments: shapes that would broadcast to wrong numbers, labels, ridges, non-finite features.

Each function raises ValueError for a wrong argument and returns nothing otherwise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_FEATURE = 1e150  # the square of a larger one overflows float64


def check_features(features: Tensor, dim: int | None = None) -> None:
    """``features`` must be finite floating-point numbers (N, P), with P = ``dim`` where that is given.

    One pass over the features; waits for their device.
    """
    if features.ndim != 2 or features.shape[1] != (features.shape[1] if dim is None else dim):
        wanted = f"(N, {'P' if dim is None else dim})"
        raise ValueError(f"features {wanted} are needed, not {tuple(features.shape)}")
    if not features.is_floating_point():
        raise ValueError(f"features must be floating-point numbers, not {features.dtype}")
    if not features.numel():
        return
    low, high = torch.stack(torch.aminmax(features.detach())).tolist()  # NaN where any feature is NaN
    if not -LARGEST_FEATURE <= low <= high <= LARGEST_FEATURE:
        sizes = features.detach().cpu().to(torch.float64).abs()
        sample = int((~(sizes <= LARGEST_FEATURE)).any(dim=1).int().argmax())
        raise ValueError(
            f"features must be finite, and at most {LARGEST_FEATURE:g} in size: "
            f"those of sample {sample} are not"
        )


def check_labels(labels: Tensor, count: int, num_classes: int, name: str = "labels") -> None:
    """``labels`` (or predictions: ``name``) must be ``count`` integers (N,) in 0..C-1."""
    if tuple(labels.shape) != (count,):
        raise ValueError(f"{name} ({count},) are needed, one for each sample, not {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"{name} must be integers, not {labels.dtype}")
    if not count:
        return
    low, high = torch.stack(torch.aminmax(labels.detach().to(torch.int64))).tolist()
    if not 0 <= low <= high < num_classes:
        raise ValueError(f"{name} must be in 0..{num_classes - 1}; found {low if low < 0 else high}")


def check_classifier(weight: Tensor, bias: Tensor | None, num_classes: int, dim: int) -> None:
    """The classifier must have ``weight`` (C, P), and ``bias`` (C,) or None."""
    if tuple(weight.shape) != (num_classes, dim):
        raise ValueError(f"weight must be ({num_classes}, {dim}), not {tuple(weight.shape)}")
    if bias is not None and tuple(bias.shape) != (num_classes,):
        raise ValueError(f"bias must be ({num_classes},) or None, not {tuple(bias.shape)}")


def check_means(means: Tensor, dim: int | None = None) -> None:
    """Class means must be (C, P): finite rows, or a row of NaN for a class without samples."""
    if means.ndim != 2 or means.shape[1] != (means.shape[1] if dim is None else dim):
        wanted = f"(C, {'P' if dim is None else dim})"
        raise ValueError(f"class means {wanted} are needed, not {tuple(means.shape)}")
    valid = means.isfinite().all(dim=1) | means.isnan().all(dim=1)
    if not bool(valid.all()):
        row = int((~valid).int().argmax())
        raise ValueError(
            f"the mean of class {row} is not finite; only a class without samples has no mean, a row of NaN"
        )


def check_ridge(ridge: float) -> None:
    """The ridge must be a number from 0 on."""
    if not 0 <= ridge < math.inf:
        raise ValueError(f"the ridge must be a finite number from 0 on, not {ridge}")
