"""The ridge least-squares classifier V_LS = Ave(y x^T) A^-1, and its losses, by two routes that agree.

With x = [h; 1], pi_c = n_c/N, ridge lambda, A = Ave x x^T + lambda I, m_c = [mu_c; 1] and e_c the targets:

**Dual**, for C <= P + 1. Let B = diag(Sigma_W + lambda I, lambda) and K = m^T B^-1 m, which is C x C. Then
A = B + sum_c pi_c m_c m_c^T, and by the push-through identity, with T = (diag(1/pi) + K)^-1,

    V_LS = T m^T B^-1,   V_LS m_c - e_c = -T e_c / pi_c,
    L_NC1 = 1/2 Tr(T K T),   L_NC2/3 = 1/2 Tr(T diag(1/pi) T),   L_LS = 1/2 Tr T.

Nothing is subtracted, so the terms keep their digits in deep collapse, where V_LS m_c - e_c formed as a
difference would be all rounding error. T is computed in an orthonormal basis whose first vector is
(1, ..., 1)/sqrt(C): there a large global mean, and the bias (all of 1/lambda), stay apart from the rest.

**Primal**, for C > P + 1: by the P x P matrix A itself, the bias eliminated, in coordinates centred on the
sample mean. Nothing of size C x C is made, since sum_c pi_c ‖V m_c - e_c‖^2 expands into
Tr(V G V^T) - 2 sum_c pi_c (V m_c)_c + 1 with G = sum_c pi_c m_c m_c^T. That difference is harmless here: V
has at most P + 1 < C dimensions to fit C targets, so what is left is no smaller than the smallest
C - P - 1 of the pi_c together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_ridge
from nc_runner.collapse.statistics import ClassStatistics
from nc_runner.collapse.whitening import whiten


class LeastSquares(NamedTuple):
    weight: Tensor  # (C, P)
    bias: Tensor  # (C,)
    residual: (
        Tensor | None
    )  # (C, C'): V_LS m_c - e_c for the C' classes that have samples; None: primal route
    nc1: Tensor
    nc23: Tensor


def solve(stats: ClassStatistics, ridge: float) -> LeastSquares:
    """V_LS with its L_NC1 and L_NC2/3. Raises ValueError for a bad ridge, or without samples."""
    check_ridge(ridge)
    present = int((stats.counts > 0).sum())
    if present == 0:
        raise ValueError("there are no samples")
    return primal(stats, ridge) if present > stats.dim + 1 else dual(stats, ridge)


class Between(NamedTuple):
    """sum_c pi_c ‖V m_c - e_c‖^2 without a table of V m_c: by its expansion, centred on the sample mean."""

    present: Tensor
    shares: Tensor  # (C',) pi_c
    centre: Tensor  # (P,) sum_c pi_c mu_c
    means: Tensor  # (C', P) mu_c - centre
    covariance: Tensor  # (P, P) sum_c pi_c (mu_c - centre)(mu_c - centre)^T

    @classmethod
    def of(cls, stats: ClassStatistics) -> Between:
        present = stats.counts > 0
        shares = stats.counts[present] / stats.counts.sum()
        means = stats.means[present]
        centre = shares @ means
        means = means - centre
        return cls(present, shares, centre, means, (means * shares[:, None]).T @ means)

    def squares(self, weight: Tensor, bias: Tensor) -> Tensor:
        """sum_c pi_c ‖V m_c‖^2 for weight (C, P) and bias (C,)."""
        offset = bias + weight @ self.centre
        return ((weight @ self.covariance) * weight).sum() + offset.square().sum()

    def errors(self, weight: Tensor, bias: Tensor) -> Tensor:
        """sum_c pi_c ‖V m_c - e_c‖^2."""
        own = (weight[self.present] * self.means).sum(dim=1)
        own = own + bias[self.present] + weight[self.present] @ self.centre
        return self.squares(weight, bias) - 2 * (self.shares @ own) + 1


def primal(stats: ClassStatistics, ridge: float) -> LeastSquares:
    """W = diag(pi) (mu_c - m + r m) Q^-1 with m the sample mean, r = lambda / (1 + lambda) and
    Q = Sigma_W + sum_c pi_c (mu_c - m)(mu_c - m)^T + lambda I + r m m^T; then b from its own equation."""
    between = Between.of(stats)
    centre, share_of_centre = between.centre, ridge / (1 + ridge)
    system = stats.within_covariance + between.covariance
    system = system + ridge * torch.eye(stats.dim, dtype=torch.float64, device=stats.device)
    system = system + share_of_centre * torch.outer(centre, centre)
    rows = between.means + share_of_centre * centre
    solved = whiten(system, rows, stats.dim).solved
    if solved is None:
        means = between.means + centre
        weight, bias = _least_norm(stats.within_covariance, means, between.shares, ridge)
    else:
        weight = between.shares[:, None] * solved
        bias = (between.shares - weight @ centre) / (1 + ridge)
    weight, bias = (_spread(part, between.present) for part in (weight, bias))
    nc1 = ((weight @ stats.within_covariance) * weight).sum()
    nc1 = (nc1 + ridge * (weight.square().sum() + bias.square().sum())) / 2
    return LeastSquares(weight, bias, None, nc1, between.errors(weight, bias) / 2)


def dual(stats: ClassStatistics, ridge: float) -> LeastSquares:
    """By the C x C matrix T."""
    present = stats.counts > 0
    C = int(present.sum())
    shares = stats.counts[present] / stats.counts.sum()
    means = stats.means[present]
    covariance, rank = stats.within_covariance, stats.within_rank
    if ridge > 0:
        rank = stats.dim
        covariance = covariance + ridge * torch.eye(stats.dim, dtype=torch.float64, device=stats.device)
    basis = _basis(C, stats.device)
    centre = means.mean(dim=0)
    rows = basis @ (means - centre)  # (C, P): the means in the basis; row 0 is sqrt(C) times their mean
    rows[0] = centre * C**0.5
    inverse_shares = (basis / shares) @ basis
    whitened = whiten(covariance, rows, rank)
    # Mixtures of classes that can be fitted without any error are no part of T; nor is the free bias.
    free = torch.eye(C, dtype=torch.float64, device=stats.device)
    bias_strength = C / ridge if ridge > 0 else 0.0
    if ridge == 0:
        free = free[:, 1:]
    if whitened.outside.shape[1]:
        u, s, _ = torch.linalg.svd(free.T @ whitened.outside, full_matrices=True)
        free = free @ u[:, int((s > 1e-8 * s[:1]).sum()) :]
    apart = int(ridge > 0 and not whitened.outside.shape[1])  # the global mean's row, large, is not mixed in
    resolution = 8 * torch.finfo(torch.float64).eps * (1 + means.norm() / (means - centre).norm())
    free, same = _graded(free, whitened.inside, apart, float(resolution))
    inside = free.T @ whitened.inside
    inside[same] = 0
    first = free[:1].T  # the part of each mixture along (1, ..., 1)
    system = inside @ inside.T + bias_strength * (first @ first.T) + free.T @ inverse_shares @ free
    T_free = _inverse(system)
    T = free @ T_free @ free.T
    nc1 = ((T_free @ inside).square().sum() + bias_strength * (T_free @ first).square().sum()) / 2
    nc23 = ((T @ basis) / shares.sqrt()).square().sum() / 2
    T = basis @ T  # rows: classes; columns: the basis
    residual = -(T @ basis) / shares
    if whitened.solved is None:
        weight, bias = _least_norm(covariance, means, shares, ridge)
    else:
        solved = free.T @ whitened.solved
        solved[same] = 0
        weight = basis @ free @ T_free @ solved
        bias = T[:, 0] * (C**0.5 / ridge) if ridge > 0 else shares - weight @ (shares @ means)
    weight, bias, residual = (_spread(part, present) for part in (weight, bias, residual))
    return LeastSquares(weight, bias, residual, nc1, nc23)


def _basis(C: int, device: torch.device) -> Tensor:
    """A Householder reflection, symmetric and orthogonal, (C, C), whose first row is (1, ..., 1)/sqrt(C)."""
    v = torch.full((C,), -(C**-0.5), dtype=torch.float64, device=device)
    v[0] += 1
    identity = torch.eye(C, dtype=torch.float64, device=device)
    return identity if C == 1 else identity - torch.outer(v, v) * (2 / v.square().sum())


def _graded(free: Tensor, inside: Tensor, apart: int, resolution: float) -> tuple[Tensor, Tensor]:
    """Turn the mixtures of classes ``free`` (C, F), all but ``apart``, to their singular directions.

    Where the means of two classes coincide, their difference has no part in ``inside``, while others may have
    1e6 times the within-class spread: only along singular directions do the sizes stay apart. Also which
    mixtures (F,) are rounding errors of the means, below ``resolution`` of the strongest: exactly 0 in truth.
    """
    mixed = free[:, apart:].T @ inside
    same = torch.zeros(free.shape[1], dtype=torch.bool, device=free.device)
    if not mixed.numel():
        return free, same
    u, s, _ = torch.linalg.svd(mixed, full_matrices=mixed.shape[1] < mixed.shape[0])
    same[apart:] = True
    same[apart : apart + len(s)] = s <= resolution * max(mixed.shape) * s[0]
    return torch.cat([free[:, :apart], free[:, apart:] @ u], dim=1), same


def _inverse(system: Tensor) -> Tensor:
    """The inverse of a positive definite matrix; scaled to a unit diagonal first: graded ones are safe."""
    unit = system.diagonal().sqrt()
    factor = torch.linalg.cholesky(system / unit / unit[:, None])
    return torch.cholesky_inverse(factor) / unit / unit[:, None]


def _least_norm(covariance: Tensor, means: Tensor, shares: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """V_LS of least norm where Sigma_W + ridge I is singular: by the SVD of a square root R of A = R^T R.

    R stacks the roots of Sigma_W, of sum_c pi_c m_c m_c^T and of the bias's penalty. With R = U s Z^T,
    V_LS = diag(sqrt(pi)) U' s^-1 Z^T, U' the rows of U that belong to the classes.
    """
    C, P = means.shape
    values, vectors = torch.linalg.eigh(covariance)
    values = values.where(values > P * torch.finfo(torch.float64).eps * values[-1], 0.0)
    noise = torch.cat([vectors * values.sqrt(), vectors.new_zeros(1, P)]).T  # (P, P+1)
    signal = torch.cat([means, means.new_ones(C, 1)], dim=1) * shares.sqrt()[:, None]  # (C, P+1)
    offset = means.new_zeros(1, P + 1)
    offset[0, P] = ridge**0.5
    u, s, directions = torch.linalg.svd(torch.cat([noise, signal, offset]), full_matrices=False)
    kept = s > 1e-12 * s[0]
    of_classes = u[P : P + C, kept] * shares.sqrt()[:, None]
    solution = (of_classes / s[kept]) @ directions[kept]
    return solution[:, :P], solution[:, P]


def _spread(part: Tensor, present: Tensor) -> Tensor:
    """Rows of the classes with samples, put among rows of zeros for those without."""
    if bool(present.all()):
        return part
    full = part.new_zeros(len(present), *part.shape[1:])
    full[present] = part
    return full
