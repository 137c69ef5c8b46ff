"""Whitening by a covariance that may be badly scaled or singular."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

OUTSIDE_TOLERANCE = 1e-8  # components outside the covariance's range below this share are rounding errors


class Whitened(NamedTuple):
    """Rows x_i seen through a covariance S.

    ``inside`` (K, R): inside @ inside.T = x_i S^+ x_j for the parts in the range of S.
    ``outside`` (K, Z): the parts where S has no variance at all, in some coordinates; Z may be 0.
    ``solved`` (K, P): S^-1 x_i, or None where S is singular.
    """

    inside: Tensor
    outside: Tensor
    solved: Tensor | None


def whiten(covariance: Tensor, rows: Tensor, noise: Tensor | None = None) -> Whitened:
    """Whiten ``rows`` (K, P) by a symmetric positive semi-definite ``covariance`` (P, P), in float64.

    Each feature is first scaled to unit variance: features of very different size, as in a network with
    nearly dead units, then cost no digits. A Cholesky factor is used where it is safe, else eigenvectors.

    Variance that is no larger than that of ``noise`` (P, P), the rounding errors of the covariance, counts as
    none; by default, variance below P times float64's precision of the strongest.
    """
    least = torch.zeros_like(covariance.diagonal()) if noise is None else noise.diagonal()
    scale = covariance.diagonal().maximum(least).sqrt()
    alive = scale > 0
    dead_part = rows[:, ~alive]
    scale, rows = scale[alive], rows[:, alive]
    scaled = rows / scale
    correlation = covariance[alive][:, alive] / scale / scale[:, None]
    tolerance = len(scale) * torch.finfo(torch.float64).eps
    factor, failed = torch.linalg.cholesky_ex(correlation)
    if noise is not None:
        noise = noise[alive][:, alive] / scale / scale[:, None]
        failed = failed.maximum(torch.linalg.cholesky_ex(correlation - noise).info)
    if len(scale) and int(failed) == 0 and float(factor.diagonal().min()) ** 2 > tolerance:
        inside = torch.linalg.solve_triangular(factor, scaled.T, upper=False)
        solved = None
        if bool(alive.all()):
            solved = torch.linalg.solve_triangular(factor.T, inside, upper=True).T / scale
        return Whitened(inside.T, _present(dead_part, rows), solved)
    values, vectors = torch.linalg.eigh(correlation)
    least = tolerance * values[-1:] if noise is None else ((vectors.T @ noise) * vectors.T).sum(dim=1)
    kept = values > least.clamp(min=0)
    inside = scaled @ vectors[:, kept] / values[kept].sqrt()
    outside = _present(scaled @ vectors[:, ~kept], scaled)
    return Whitened(inside, torch.cat([outside, _present(dead_part, rows)], dim=1), None)


def _present(part: Tensor, whole: Tensor) -> Tensor:
    """The columns of ``part`` that are more than rounding errors of ``whole``."""
    return part[:, part.norm(dim=0) > OUTSIDE_TOLERANCE * whole.norm()]
