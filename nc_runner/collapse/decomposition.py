"""The MSE loss split into L_NC1 + L_NC2/3 + L_perp, and the least-squares classifier that the split rests on.

With x = [h; 1], V = [W, b], pi_c = n_c/N, ridge lambda, A = Ave x x^T + lambda I and V_LS = Ave(y x^T) A^-1,

    L(V) = 1/2 Ave ‖V x - y‖^2 + lambda/2 ‖V‖^2 = L_NC1 + L_NC2/3 + L_perp

holds exactly for any class sizes (Han, Papyan & Donoho, ICLR 2022, section 2, where classes are balanced).

How it is computed. Let B = diag(Sigma_W + lambda I, lambda), m_c = [mu_c; 1] and K = m^T B^-1 m, which is
C x C. Then A = B + sum_c pi_c m_c m_c^T, and by the push-through identity, with T = (diag(1/pi) + K)^-1,

    V_LS = T m^T B^-1,   V_LS m_c - e_c = -T e_c / pi_c,
    L_NC1 = 1/2 Tr(T K T),   L_NC2/3 = 1/2 Tr(T diag(1/pi) T),   L_LS = 1/2 Tr T.

Nothing is subtracted, so the terms keep their digits in deep collapse, where V_LS m_c - e_c formed as a
difference would be all rounding error. T is computed in an orthonormal basis whose first vector is
(1, ..., 1)/sqrt(C): there a large global mean, and the bias (all of 1/lambda), stay apart from the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse.statistics import ROWS, ClassStatistics
from nc_runner.collapse.whitening import whiten


class _LeastSquares(NamedTuple):
    weight: Tensor  # (C, P)
    bias: Tensor  # (C,)
    residual: Tensor  # (C, C'): V_LS m_c - e_c for the C' classes that have samples
    nc1: Tensor
    nc23: Tensor


def least_squares_classifier(stats: ClassStatistics, ridge: float) -> tuple[Tensor, Tensor]:
    """The classifier V_LS = [W, b] that minimises 1/2 Ave ‖W h + b - y‖^2 + ridge/2 (‖W‖^2 + ‖b‖^2).

    Args:
        stats: of C classes with P features, with at least one sample.
        ridge: lambda >= 0. With 0 the bias is free, and of several minimisers the one of least norm is given.

    Returns:
        W (C, P) and b (C,), float64, on the statistics' device. The row of a class without samples is 0.

    Raises:
        ValueError: the ridge is negative or not finite, or there are no samples.
    """
    solution = _least_squares(stats, ridge)
    return solution.weight, solution.bias


def mse_decomposition(
    stats: ClassStatistics, weight: Tensor, bias: Tensor | None, ridge: float
) -> dict[str, float]:
    """Split the ridge MSE loss of a classifier on features with these statistics.

    - ``mse_total`` = L(V) = 1/2 Ave ‖W h + b - y‖^2 + ridge/2 ‖V‖^2
    - ``mse_ls`` = L(V_LS) = mse_nc1 + mse_nc23
    - ``mse_nc1`` = 1/2 Tr(W_LS Sigma_W W_LS^T) + ridge/2 ‖V_LS‖^2
    - ``mse_nc23`` = 1/2 sum_c pi_c ‖W_LS mu_c + b_LS - e_c‖^2
    - ``mse_perp`` = 1/2 Tr((V - V_LS) A (V - V_LS)^T), 0 on the central path
    - ``perp_share`` = mse_perp / mse_total, 0 on the central path; NaN where the whole loss is 0
    - ``path_distance`` = ‖V - V_LS‖_F / ‖V_LS‖_F, the distance to the central path; where the ridge is 0 and
      V_LS is not unique, to the one of least norm; NaN where V_LS = 0

    Args:
        stats: of C classes with P features, with at least one sample.
        weight: (C, P), of the last linear layer.
        bias: (C,), or None for a layer without one (taken as 0; V_LS has a bias all the same).
        ridge: lambda >= 0.

    Returns:
        The terms under their column names; classes without samples take no part.

    Raises:
        ValueError: a shape does not fit, the ridge is negative or not finite, or there are no samples.

    Source: Han, Papyan & Donoho (ICLR 2022), theorem 1; for unequal classes and a penalised bias see the
    module's text.
    """
    C, P = stats.num_classes, stats.dim
    if tuple(weight.shape) != (C, P) or (bias is not None and tuple(bias.shape) != (C,)):
        raise ValueError(f"weight ({C}, {P}) and bias ({C},) are needed, not {tuple(weight.shape)} and "
                         f"{None if bias is None else tuple(bias.shape)}")  # fmt: skip
    weight = weight.detach().to(stats.device).to(torch.float64)
    bias = torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().to(weight)
    ls = _least_squares(stats, ridge)
    present = stats.counts > 0
    shares = stats.counts[present] / stats.counts.sum()
    targets = torch.eye(C, dtype=torch.float64, device=stats.device)[:, present]
    residual = weight @ stats.means[present].T + bias[:, None] - targets

    def loss(weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        within = ((weight @ stats.within_covariance) * weight).sum()
        between = (residual.square() * shares).sum()
        return (within + between + ridge * (weight.square().sum() + bias.square().sum())) / 2

    total = loss(weight, bias, residual)
    perp = loss(weight - ls.weight, bias - ls.bias, residual - ls.residual)
    terms = {"mse_total": total, "mse_ls": ls.nc1 + ls.nc23, "mse_nc1": ls.nc1, "mse_nc23": ls.nc23}
    apart = (weight - ls.weight).square().sum() + (bias - ls.bias).square().sum()
    terms["mse_perp"] = perp
    terms["perp_share"] = perp / total
    terms["path_distance"] = (apart / (ls.weight.square().sum() + ls.bias.square().sum())).sqrt()
    return {name: float(term) for name, term in terms.items()}


def mse_loss(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, ridge: float) -> float:
    """L(V) = 1/2 Ave ‖W h + b - y‖^2 + ridge/2 ‖V‖^2 measured on the samples themselves, in float64.

    Args:
        features: (N, P) with N >= 1; labels: (N,) in 0..C-1; weight: (C, P); bias: (C,) or None.
        ridge: lambda >= 0.

    Used to check the decomposition, which sees the samples only through their statistics.
    """
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    weight = weight.detach().to(device).to(torch.float64)
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().to(weight)
    total = weight.new_zeros(())
    for h, y in zip(torch.split(features.detach(), ROWS), torch.split(labels, ROWS), strict=True):
        error = torch.addmm(bias, h.to(device).to(torch.float64), weight.T)
        error[torch.arange(len(y), device=device), y.to(device)] -= 1
        total += error.square().sum()
    penalty = ridge * (weight.square().sum() + bias.square().sum())
    return float((total / len(features) + penalty) / 2)


def _least_squares(stats: ClassStatistics, ridge: float) -> _LeastSquares:
    if not 0 <= ridge < float("inf"):
        raise ValueError(f"the ridge must be a number from 0 on, not {ridge}")
    present = stats.counts > 0
    C = int(present.sum())
    if C == 0:
        raise ValueError("there are no samples")
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
    inside = free.T @ whitened.inside
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
        weight = T @ whitened.solved
        bias = T[:, 0] * (C**0.5 / ridge) if ridge > 0 else shares - weight @ (shares @ means)
    weight, bias, residual = (_spread(part, present) for part in (weight, bias, residual))
    return _LeastSquares(weight, bias, residual, nc1, nc23)


def _basis(C: int, device: torch.device) -> Tensor:
    """A Householder reflection, symmetric and orthogonal, (C, C), whose first row is (1, ..., 1)/sqrt(C)."""
    v = torch.full((C,), -(C**-0.5), dtype=torch.float64, device=device)
    v[0] += 1
    identity = torch.eye(C, dtype=torch.float64, device=device)
    return identity if C == 1 else identity - torch.outer(v, v) * (2 / v.square().sum())


def _inverse(system: Tensor) -> Tensor:
    """The inverse of a positive definite matrix; scaled to a unit diagonal first: graded ones are safe."""
    unit = system.diagonal().sqrt()
    factor = torch.linalg.cholesky(system / unit / unit[:, None])
    return torch.cholesky_inverse(factor) / unit / unit[:, None]


def _least_norm(covariance: Tensor, means: Tensor, shares: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """V_LS of least norm where Sigma_W + ridge I is singular: by the SVD of a square root of A."""
    C, P = means.shape
    values, vectors = torch.linalg.eigh(covariance)
    values = values.where(values > P * torch.finfo(torch.float64).eps * values[-1], 0.0)
    noise = torch.cat([vectors * values.sqrt(), vectors.new_zeros(1, P)]).T  # (P, P+1)
    signal = torch.cat([means, means.new_ones(C, 1)], dim=1) * shares.sqrt()[:, None]  # (C, P+1)
    offset = means.new_zeros(1, P + 1)
    offset[0, P] = ridge**0.5
    goal = torch.cat([means.new_zeros(P, C), torch.diag(shares.sqrt()), means.new_zeros(1, C)])
    root = torch.cat([noise, signal, offset])
    solution = (
        torch.linalg.lstsq(root.cpu(), goal.cpu(), rcond=1e-12, driver="gelsd").solution.to(means.device).T
    )
    return solution[:, :P], solution[:, P]


def _spread(part: Tensor, present: Tensor) -> Tensor:
    """Rows of the classes with samples, put among rows of zeros for those without."""
    if bool(present.all()):
        return part
    full = part.new_zeros(len(present), *part.shape[1:])
    full[present] = part
    return full
