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

**Two ridges**, lambda_W of the weight and lambda_b of the bias, are B = diag(Sigma_W + lambda_W I, lambda_b)
and A = Ave x x^T + diag(lambda_W I, lambda_b): all of the above holds. A layer **without a bias** is the
limit of an infinite lambda_b: K = mu^T (Sigma_W + lambda_W I)^-1 mu, and the means count as they are.

Where the within-class covariance is singular, or near it, both work in coordinates of the directions that
the features' rounding leaves, with unit total covariance (:mod:`nc_runner.collapse.problem`). V_LS is then
the minimiser among the classifiers that vanish on the directions cut.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse.problem import Problem, inverse
from nc_runner.collapse.resolved import Resolved
from nc_runner.collapse.ridges import Ridge, Ridges
from nc_runner.collapse.statistics import EPS64, ClassStatistics
from nc_runner.collapse.whitening import Whitened, whiten


class LeastSquares(NamedTuple):
    """V_LS = [weight (C, P), bias (C,)] and its two losses; a layer without a bias has zeros.

    ``residual`` (C, C') is V_LS m_c - e_c for the C' classes that have samples; None by the primal route.
    ``resolved`` are the kept directions where rounding errors were cut; None where none were.
    """

    weight: Tensor
    bias: Tensor
    residual: Tensor | None
    nc1: Tensor
    nc23: Tensor
    resolved: Resolved | None


def solve(stats: ClassStatistics, ridge: Ridge | Ridges) -> LeastSquares:
    """V_LS with its L_NC1 and L_NC2/3. Raises ValueError for a bad ridge, or without samples."""
    problem = _problem(stats, ridge)
    classes, directions = problem.means.shape
    return (primal if classes > directions + 1 else dual)(stats, ridge, problem)


def primal(stats: ClassStatistics, ridge: Ridge | Ridges, problem: Problem | None = None) -> LeastSquares:
    """By the matrix A; ``problem`` is that of these statistics and this ridge, where it is at hand."""
    problem = problem or _problem(stats, ridge)
    weight, bias = problem.minimiser()
    nc1 = ((weight @ (problem.within + problem.penalty)) * weight).sum()
    nc1 = (nc1 if math.isinf(problem.ridge) else nc1 + problem.ridge * bias.square().sum()) / 2
    nc23 = problem.between.errors(problem.of_all_classes(weight), problem.of_all_classes(bias)) / 2
    return _in_features(problem, LeastSquares(weight, bias, None, nc1, nc23, None))


def dual(stats: ClassStatistics, ridge: Ridge | Ridges, problem: Problem | None = None) -> LeastSquares:
    """By the C x C matrix T; ``problem`` is that of these statistics and this ridge, where it is at hand."""
    problem = problem or _problem(stats, ridge)
    means, shares, C = problem.means, problem.shares, len(problem.shares)
    basis = _basis(C, stats.device)
    centre = means.mean(dim=0)
    rows = basis @ (means - centre)  # (C, R): the means in the basis; row 0 is sqrt(C) times their mean
    rows[0] = centre * C**0.5
    whitened = whiten(problem.within + problem.penalty, rows, problem.noise)
    free, same = _mixtures(problem.ridge, whitened, stats.means[problem.present])
    inside = free.T @ whitened.inside
    inside[same] = 0
    first = free[:1].T  # the part of each mixture along (1, ..., 1)
    bias_strength = C / problem.ridge if problem.ridge > 0 else 0.0
    inverse_shares = (basis / shares) @ basis
    system = inside @ inside.T + bias_strength * (first @ first.T) + free.T @ inverse_shares @ free
    T_free = inverse(system)
    T = free @ T_free @ free.T
    nc1 = ((T_free @ inside).square().sum() + bias_strength * (T_free @ first).square().sum()) / 2
    nc23 = ((T @ basis) / shares.sqrt()).square().sum() / 2
    T = basis @ T  # rows: classes; columns: the basis
    residual = problem.of_all_classes(-(T @ basis) / shares)
    if whitened.solved is None:
        weight, bias = problem.minimiser()
    else:
        solved = free.T @ whitened.solved
        solved[same] = 0
        weight = basis @ free @ T_free @ solved
        mean_output = shares - weight @ (shares @ means)
        bias = T[:, 0] * (C**0.5 / problem.ridge) if problem.ridge > 0 else mean_output
    return _in_features(problem, LeastSquares(weight, bias, residual, nc1, nc23, None))


def _problem(stats: ClassStatistics, ridge: Ridge | Ridges) -> Problem:
    return Problem.of(stats, ridge if isinstance(ridge, Ridges) else Ridges.of(ridge))


def _in_features(problem: Problem, found: LeastSquares) -> LeastSquares:
    """``found`` in the problem's coordinates, turned back to features, with the ridges that it left out."""
    weight, bias = problem.in_features(found.weight, found.bias)
    nc1 = found.nc1
    if any(problem.left_out):
        nc1 = nc1 + Ridges(*problem.left_out).penalty(weight, bias) / 2
    resolved = problem.resolved if problem.resolved is not None and problem.resolved.rounded else None
    return found._replace(weight=weight, bias=bias, nc1=nc1, resolved=resolved)


def _mixtures(ridge: float, whitened: Whitened, means: Tensor) -> tuple[Tensor, Tensor]:
    """The mixtures of classes (C', F) in the basis that T acts on, and which are rounding errors (F,).

    Mixtures that can be fitted without any error are no part of T; nor is the bias without a ridge. ``ridge``
    is the bias's; without a bias the first mixture, which holds the features' mean, is set apart just so.
    ``means`` (C', P) are the class means as they are.
    """
    free = torch.eye(len(means), dtype=torch.float64, device=means.device)
    if ridge == 0:
        free = free[:, 1:]
    if whitened.outside.shape[1]:
        u, s, _ = torch.linalg.svd(free.T @ whitened.outside, full_matrices=True)
        free = free @ u[:, int((s > 1e-8 * s[:1]).sum()) :]
        if math.isinf(ridge) and float(free[:1].norm()) < 1e-8:
            ridge = 0.0  # the mean is among what can be fitted
        if ridge > 0 and free.shape[1]:  # the bias, 1/ridge strong, goes to the first mixture alone
            turned = torch.cat([free[:1].T, torch.eye(free.shape[1]).to(free)], dim=1)
            free = free @ torch.linalg.qr(turned).Q
            free[0, 1:] = 0
    apart = min(free.shape[1], int(ridge > 0))
    spread = (means - means.mean(dim=0)).norm()
    resolution = 8 * EPS64 * (1 + means.norm() / spread)
    return _graded(free, whitened.inside, apart, float(resolution))


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
