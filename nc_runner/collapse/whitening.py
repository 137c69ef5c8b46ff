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


def whiten(covariance: Tensor, rows: Tensor, rank: float) -> Whitened:
    """Whiten ``rows`` (K, P) by a symmetric positive semi-definite ``covariance`` (P, P), in float64.

    Each feature is first scaled to unit variance: features of very different size, as in a network with
    nearly dead units, then cost no digits. A Cholesky factor is used where it is safe, else eigenvectors;
    for a ``rank`` known to be far below P, those of its range alone (Halko, Martinsson & Tropp 2011).
    """
    scale = covariance.diagonal().clamp(min=0).sqrt()
    alive = scale > 0
    dead_part = rows[:, ~alive]
    scale, rows = scale[alive], rows[:, alive]
    scaled = rows / scale
    correlation = covariance[alive][:, alive] / scale / scale[:, None]
    dim = len(scale)
    tolerance = dim * torch.finfo(torch.float64).eps
    if rank >= dim > 0:
        factor, failed = torch.linalg.cholesky_ex(correlation)
        if int(failed) == 0 and float(factor.diagonal().min()) ** 2 > tolerance:
            inside = torch.linalg.solve_triangular(factor, scaled.T, upper=False)
            solved = None
            if bool(alive.all()):
                solved = torch.linalg.solve_triangular(factor.T, inside, upper=True).T / scale
            return Whitened(inside.T, _present(dead_part, rows), solved)
    frame = _range(correlation, int(rank)) if rank < dim / 3 else None
    if frame is not None:
        correlation = frame.T @ correlation @ frame
        scaled_inside = scaled @ frame
        rest = scaled - scaled_inside @ frame.T
    else:
        scaled_inside, rest = scaled, scaled[:, :0]
    values, vectors = torch.linalg.eigh(correlation)
    kept = values > tolerance * values[-1:].clamp(min=0)
    inside = scaled_inside @ vectors[:, kept] / values[kept].sqrt()
    outside = torch.cat([scaled_inside @ vectors[:, ~kept], rest], dim=1)
    outside = torch.cat([_present(outside, scaled), _present(dead_part, rows)], dim=1)
    return Whitened(inside, outside, None)


def _range(matrix: Tensor, rank: int) -> Tensor:
    """An orthonormal basis (P, R) of the range of a symmetric matrix of at most this rank."""
    generator = torch.Generator().manual_seed(0)
    count = min(len(matrix), rank + 8)
    probes = torch.randn(len(matrix), count, dtype=matrix.dtype, generator=generator)
    basis: Tensor = torch.linalg.qr(matrix @ probes.to(matrix.device)).Q
    return basis


def _present(part: Tensor, whole: Tensor) -> Tensor:
    """The columns of ``part`` that are more than rounding errors of ``whole``."""
    return part[:, part.norm(dim=0) > OUTSIDE_TOLERANCE * whole.norm()]
