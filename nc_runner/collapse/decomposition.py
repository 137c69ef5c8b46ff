"""The MSE loss split into L_NC1 + L_NC2/3 + L_perp, and the least-squares classifier that the split rests on.

With x = [h; 1], V = [W, b], pi_c = n_c/N, ridge lambda, A = Ave x x^T + lambda I and V_LS = Ave(y x^T) A^-1,

    L(V) = 1/2 Ave ‖V x - y‖^2 + lambda/2 ‖V‖^2 = L_NC1 + L_NC2/3 + L_perp

holds exactly for any class sizes (Han, Papyan & Donoho, ICLR 2022, section 2, where classes are balanced).

It holds as well with a ridge for each block, where lambda/2 ‖V‖^2 is lambda_W/2 ‖W‖^2 + lambda_b/2 ‖b‖^2 and
A = Ave x x^T + diag(lambda_W I, lambda_b); and for a layer without a bias, with x = h and V = W throughout:
V_LS is then the best classifier without a bias.

How V_LS is computed, and what keeps its digits in deep collapse: :mod:`nc_runner.collapse.least_squares`.

Where features hold nothing but rounding errors in some directions (:mod:`nc_runner.collapse.resolved`), V_LS
is the minimiser among all V that vanish there. L_NC1 and L_NC2/3 are its losses, and L_perp is still
L(V) - L(V_LS): with D = V - V_LS and G = V_LS A - Ave(y x^T), the gradient of L at V_LS, which is 0 on all
other directions,

    L_perp = 1/2 Tr(D A D^T) + Tr(D G^T).

The second term is what V gains or loses by fitting rounding errors. For a V that vanishes there too, it is 0,
and L_perp >= 0. For any V, L_LS + L_perp is the loss measured on the samples as they are.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_classifier, check_features, check_labels
from nc_runner.collapse.least_squares import LeastSquares, solve
from nc_runner.collapse.problem import Between
from nc_runner.collapse.resolved import Resolved
from nc_runner.collapse.ridges import Ridge, Ridges
from nc_runner.collapse.statistics import ClassStatistics, float64_blocks

ROUNDING = 1e-9  # a share of the loss: what fitting rounding errors changes below it is left to the residual


@overload
def least_squares_classifier(
    stats: ClassStatistics, ridge: Ridge, *, bias: Literal[True] = True
) -> tuple[Tensor, Tensor]: ...


@overload
def least_squares_classifier(
    stats: ClassStatistics, ridge: Ridge, *, bias: bool
) -> tuple[Tensor, Tensor | None]: ...


def least_squares_classifier(
    stats: ClassStatistics, ridge: Ridge, *, bias: bool = True
) -> tuple[Tensor, Tensor | None]:
    """The classifier V_LS = [W, b] that minimises 1/2 Ave ‖W h + b - y‖^2 + ridge/2 (‖W‖^2 + ‖b‖^2).

    Args:
        stats: of C classes with P features, with at least one sample.
        ridge: lambda >= 0, or (of W, of b). With 0 the bias is free, and of several minimisers the one of
            least norm is given. Directions in which features vary by rounding errors alone are left out
            (``stats.resolution``).
        bias: False: of the classifiers without a bias.

    Returns:
        W (C, P) and b (C,), float64, on the statistics' device; None for b without a bias. The row of a class
        without samples is 0.

    Raises:
        ValueError: the ridge is negative or not finite, or there are no samples.
    """
    solution = solve(stats, Ridges.of(ridge, bias=bias))
    return solution.weight, solution.bias if bias else None


def mse_decomposition(
    stats: ClassStatistics, weight: Tensor, bias: Tensor | None, ridge: Ridge
) -> dict[str, float]:
    """Split the ridge MSE loss of a classifier on features with these statistics.

    - ``mse_total`` = L(V) = 1/2 Ave ‖W h + b - y‖^2 + ridge/2 ‖V‖^2
    - ``mse_ls`` = L(V_LS) = mse_nc1 + mse_nc23
    - ``mse_nc1`` = 1/2 Tr(W_LS Sigma_W W_LS^T) + ridge/2 ‖V_LS‖^2
    - ``mse_nc23`` = 1/2 sum_c pi_c ‖W_LS mu_c + b_LS - e_c‖^2
    - ``mse_perp`` = 1/2 Tr((V - V_LS) A (V - V_LS)^T), 0 on the central path; for rounding errors see above
    - ``perp_share`` = mse_perp / mse_total, 0 on the central path; NaN where the whole loss is 0
    - ``path_distance`` = ‖V - V_LS‖_F / ‖V_LS‖_F, the distance to the central path; where the ridge is 0 and
      V_LS is not unique, to the one of least norm; NaN where V_LS = 0

    Args:
        stats: of C classes with P features, with at least one sample.
        weight: (C, P), of the last linear layer.
        bias: (C,), or None for a layer without one: V_LS then has none either.
        ridge: lambda >= 0, or (of W, of b): ridge/2 ‖V‖^2 is then the sum of both penalties.

    Returns:
        The terms under their column names; classes without samples take no part.

    Raises:
        ValueError: a shape does not fit, the ridge is negative or not finite, or there are no samples.

    Source: Han, Papyan & Donoho (ICLR 2022), theorem 1; for unequal classes and a penalised bias see the
    module's text.
    """
    check_classifier(weight, bias, stats.num_classes, stats.dim)
    ridges = Ridges.of(ridge, bias=bias is not None)
    weight = weight.detach().to(stats.device).to(torch.float64)
    bias = torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().to(weight)
    ls = solve(stats, ridges)

    def loss(weight: Tensor, bias: Tensor, between: Tensor) -> Tensor:
        within = ((weight @ stats.within_covariance) * weight).sum()
        return (within + between + ridges.penalty(weight, bias)) / 2

    apart = weight - ls.weight, bias - ls.bias
    if ls.residual is None:
        expansion = Between.of(stats)
        errors, differences = expansion.errors(weight, bias), expansion.squares(*apart)
    else:
        present = (stats.counts > 0).nonzero()[:, 0]
        shares = stats.counts[present] / stats.counts.sum()
        residual = weight @ stats.means[present].T + bias[:, None]
        residual[present, torch.arange(len(present), device=stats.device)] -= 1
        errors = (residual.square() * shares).sum()
        differences = ((residual - ls.residual).square() * shares).sum()
    total, perp = loss(weight, bias, errors), loss(*apart, differences)
    if ls.resolved is not None:
        gained = _on_rounding_errors(stats, ls.resolved, ls, apart[0], ridges)
        perp = perp + gained.where(gained.abs() > ROUNDING * total, 0.0)
    terms = {"mse_total": total, "mse_ls": ls.nc1 + ls.nc23, "mse_nc1": ls.nc1, "mse_nc23": ls.nc23}
    terms["mse_perp"] = perp
    terms["perp_share"] = perp / total
    squared_norms = [W.square().sum() + b.square().sum() for W, b in (apart, (ls.weight, ls.bias))]
    terms["path_distance"] = (squared_norms[0] / squared_norms[1]).sqrt()
    return {name: float(term) for name, term in terms.items()}


def _on_rounding_errors(
    stats: ClassStatistics, resolved: Resolved, ls: LeastSquares, apart: Tensor, ridges: Ridges
) -> Tensor:
    """Tr(D G^T) on the directions cut, with D = W - W_LS (C, P) and G the gradient of L at V_LS.

    G = Ave (V_LS x - y) h^T + lambda_W W_LS is 0 on the kept directions. The mean error, of which
    Ave (V_LS x - y) centre^T is made, is -lambda_b b_LS, as V_LS is best in its bias; without a bias it is
    formed as it stands.
    """
    between = Between.of(stats)
    gradient = ls.weight @ (stats.within_covariance + between.covariance)
    gradient[between.present] -= between.shares[:, None] * between.means
    if ridges.has_bias:
        gradient -= ridges.bias * torch.outer(ls.bias, between.centre)
    else:
        surplus = ls.weight @ between.centre
        surplus[between.present] -= between.shares
        gradient += torch.outer(surplus, between.centre)
    apart = apart * resolved.scale
    apart = apart - (apart @ resolved.basis) @ resolved.basis.T
    product: Tensor = (apart * (gradient / resolved.scale)).sum()
    return product


def mse_loss(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, ridge: Ridge) -> float:
    """L(V) = 1/2 Ave ‖W h + b - y‖^2 + ridge/2 ‖V‖^2 measured on the samples themselves, in float64.

    Args:
        features: (N, P); labels: (N,) integers in 0..C-1; weight: (C, P); bias: (C,) or None.
        ridge: lambda >= 0, or (of W, of b).

    Returns:
        The loss; NaN without samples.

    Raises:
        ValueError: a shape does not fit, a label or the ridge is out of range, or a feature is not finite.

    Used to check the decomposition, which sees the samples only through their statistics.
    """
    ridges = Ridges.of(ridge, bias=bias is not None)
    check_features(features)
    check_classifier(weight, bias, len(weight), features.shape[1])
    check_labels(labels, len(features), len(weight))
    device = torch.device("cpu") if weight.device.type == "mps" else weight.device
    weight = weight.detach().to(device).to(torch.float64)
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().to(weight)
    total = weight.new_zeros(())
    labels = labels.to(device)
    done = 0
    for h in float64_blocks(features, len(weight), device):
        error = torch.addmm(bias, h, weight.T)
        of_labels = labels[done : done + len(h), None]
        error.scatter_add_(1, of_labels, error.new_full((1, 1), -1.0).expand(of_labels.shape))
        total += error.square().sum()
        done += len(h)
    penalty = ridges.penalty(weight, bias)
    return float((total / len(features) + penalty) / 2)
