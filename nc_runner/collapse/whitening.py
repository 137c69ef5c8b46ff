"""Whitening by a covariance that may be badly scaled or singular."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

OUTSIDE_TOLERANCE = 1e-8  # components outside the covariance's range below this share are rounding errors


class Whitened(NamedTuple):
    """Rows x_i seen through a covariance S.

    ``inside`` (K, R): inside @ inside.T = x_i S^+ x_j for the parts in the range of S.
    ``outside`` (K, Z): the parts where S has no variance at all, in orthonormal coordinates; Z may be 0.
    ``solved`` (K, P): S^-1 x_i, or None where S is singular.
    """

    inside: Tensor
    outside: Tensor
    solved: Tensor | None


def whiten(covariance: Tensor, rows: Tensor) -> Whitened:
    """Whiten ``rows`` (K, P) by a symmetric positive semi-definite ``covariance`` (P, P), in float64.

    Each feature is first scaled to unit variance: features of very different size, as in a network with
    nearly dead units, then cost no digits. A Cholesky factor is used where it is safe, else eigenvectors.
    """
    dim = len(covariance)
    scale = covariance.diagonal().clamp(min=0).sqrt()
    alive = scale > 0
    unit = scale.where(alive, 1.0)
    correlation = covariance / unit / unit[:, None]
    scaled = rows / unit
    tolerance = dim * torch.finfo(torch.float64).eps
    if bool(alive.all()):
        factor, failed = torch.linalg.cholesky_ex(correlation)
        if int(failed) == 0 and float(factor.diagonal().min()) ** 2 > tolerance:
            inside = torch.linalg.solve_triangular(factor, scaled.T, upper=False)
            solved = torch.linalg.solve_triangular(factor.T, inside, upper=True).T / unit
            return Whitened(inside.T, rows.new_zeros(len(rows), 0), solved)
    values, vectors = torch.linalg.eigh(correlation)
    kept = values > tolerance * values[-1].clamp(min=0)
    inside = scaled @ vectors[:, kept] / values[kept].sqrt()
    outside = scaled @ vectors[:, ~kept]
    size = outside.norm(dim=0)
    outside = outside[:, size > OUTSIDE_TOLERANCE * scaled.norm()]
    return Whitened(inside, outside, None)
