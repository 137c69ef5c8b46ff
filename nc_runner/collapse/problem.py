"""The least-squares problem of class statistics: in the features, or in coordinates of kept directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse.resolved import Resolved, resolved_directions
from nc_runner.collapse.ridges import Ridges
from nc_runner.collapse.statistics import ClassStatistics
from nc_runner.collapse.whitening import whiten

NO_RIDGE = 1e-12  # a ridge below this share of the total covariance everywhere is added to the loss alone


class Between(NamedTuple):
    """sum_c pi_c ‖V m_c - e_c‖^2 without a table of V m_c: by its expansion, centred on the sample mean."""

    present: Tensor  # (C,) which classes have samples
    shares: Tensor  # (C',) pi_c
    centre: Tensor  # (P,) sum_c pi_c mu_c
    means: Tensor  # (C', P) mu_c - centre

    @classmethod
    def of(cls, stats: ClassStatistics) -> Between:
        present = stats.counts > 0
        return cls.around(present, stats.counts[present] / stats.counts.sum(), stats.means[present])

    @classmethod
    def around(cls, present: Tensor, shares: Tensor, means: Tensor) -> Between:
        """Of the class means (C', P) as they are, not centred."""
        centre = shares @ means
        return cls(present, shares, centre, means - centre)

    @property
    def covariance(self) -> Tensor:
        """(P, P) sum_c pi_c (mu_c - centre)(mu_c - centre)^T."""
        return (self.means * self.shares[:, None]).T @ self.means

    def squares(self, weight: Tensor, bias: Tensor) -> Tensor:
        """sum_c pi_c ‖V m_c‖^2 for weight (C, P) and bias (C,).

        By a square root of the covariance: weights are large where the means hardly differ, and must cancel.
        """
        root = torch.linalg.qr(self.means * self.shares.sqrt()[:, None], mode="r").R
        outputs, offset = weight @ root.T, bias + weight @ self.centre
        total: Tensor = outputs.square().sum() + offset.square().sum()
        return total

    def errors(self, weight: Tensor, bias: Tensor) -> Tensor:
        """sum_c pi_c ‖V m_c - e_c‖^2."""
        own = (weight[self.present] * self.means).sum(dim=1)
        own = own + bias[self.present] + weight[self.present] @ self.centre
        return self.squares(weight, bias) - 2 * (self.shares @ own) + 1


@dataclass(frozen=True, eq=False)
class Problem:
    """What V_LS is computed from: in the features (R = P), or in coordinates of the kept directions.

    ``present`` (C,) says which C' classes have samples, ``shares`` (C',) are their pi_c and ``means`` (C', R)
    their means; ``within`` and ``penalty`` (R, R) are Sigma_W and lambda_W I there, and ``ridge`` is the
    bias's, infinite for a layer without one. ``left_out``: ridges too small to be in either.
    ``mean`` (P,) is the samples' mean. ``outside`` (P,) is its part where features do not vary at all: a
    weight along it acts as the bias does, and in V_LS, the solution of least norm, both share the work:
    see :func:`_shared`. It is taken as 0 where there are rounding errors among the directions cut, and
    without a bias.
    """

    ridge: float
    present: Tensor
    shares: Tensor
    means: Tensor
    within: Tensor
    penalty: Tensor
    mean: Tensor
    outside: Tensor
    resolved: Resolved | None
    left_out: tuple[float, float] = (0.0, 0.0)
    shared: tuple[float, float] = (1.0, math.inf)

    @classmethod
    def of(cls, stats: ClassStatistics, ridges: Ridges) -> Problem:
        """Raises ValueError without samples."""
        if not stats.total:
            raise ValueError("there are no samples")
        present = stats.counts > 0
        shares, means = stats.counts[present] / stats.counts.sum(), stats.means[present]
        within, mean = stats.within_covariance, shares @ means
        outside = torch.zeros_like(mean)
        resolved = resolved_directions(stats, ridges.weight, centred=ridges.has_bias)
        ridge, of_weight = ridges.bias, ridges.weight
        if resolved is None:
            penalty = of_weight * torch.eye(stats.dim, dtype=torch.float64, device=stats.device)
            return cls(ridge, present, shares, means, within, penalty, mean, outside, None)
        basis, frame = resolved.basis, resolved.frame
        sizes, noise = frame.square().sum(dim=0), resolved.noise.diagonal()
        if of_weight * float(1 + sizes.sum()) < NO_RIDGE or bool((of_weight * sizes <= noise).all()):
            of_weight = 0.0
            ridge = 0.0 if ridges.has_bias and ridges.alike else ridge
        if ridge < NO_RIDGE and not ridges.alike:
            ridge = 0.0
        left_out = ridges.weight if of_weight == 0 else 0.0, ridges.bias if ridge == 0 else 0.0
        if not resolved.rounded and ridges.has_bias:
            outside = mean / resolved.scale
            outside = outside - basis @ (basis.T @ outside)
        shared = _shared(ridges, float(outside.square().sum()))
        ridge = ridge / shared[0]
        # Without a ridge the origin is free, and around the mean no digits are lost.
        means = (means if ridge > 0 else means - mean) @ frame
        within, penalty = frame.T @ within @ frame, of_weight * (frame.T @ frame)
        return cls(ridge, present, shares, means, within, penalty, mean, outside, resolved, left_out, shared)

    @cached_property
    def between(self) -> Between:
        """Of the classes that have samples, in the same coordinates."""
        return Between.around(self.present, self.shares, self.means)

    @property
    def noise(self) -> Tensor | None:
        """(R, R) what rounding errors of ``within`` may be; None in the features as they are."""
        return None if self.resolved is None else self.resolved.noise

    def minimiser(self) -> tuple[Tensor, Tensor]:
        """The solution: weight (C', R) = diag(pi) (mu_c - m + r m) Q^-1 with m the sample mean and
        r = ridge / (1 + ridge), 1 without a bias; then the bias (C',) from its own equation."""
        centre, shares = self.between.centre, self.shares
        system, rows = self._system(), self.between.means + self._share_of_centre * centre
        solved = whiten(system, rows).solved
        weight = shares[:, None] * (rows @ inverse(system) if solved is None else solved)
        return weight, (shares - weight @ centre) / (1 + self.ridge)

    @property
    def _share_of_centre(self) -> float:
        """r = ridge / (1 + ridge)."""
        return 1.0 if math.isinf(self.ridge) else self.ridge / (1 + self.ridge)

    def _system(self) -> Tensor:
        """Q = Sigma_W + sum_c pi_c (mu_c - m)(mu_c - m)^T + lambda I + r m m^T, (R, R)."""
        centre = self.between.centre
        covariance = self.within + self.between.covariance + self.penalty
        return covariance + self._share_of_centre * torch.outer(centre, centre)

    def refined(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """weight (C', R) and bias (C',) after a step of Newton's method, which takes rounding errors away."""
        centre, shares = self.between.centre, self.shares
        surplus = weight @ centre + bias - shares  # mean outputs less mean targets
        slope = surplus if math.isinf(self.ridge) else surplus + self.ridge * bias
        gradient = weight @ (self.within + self.between.covariance + self.penalty)
        gradient = gradient - shares[:, None] * self.between.means + torch.outer(surplus, centre)
        step = (gradient - torch.outer(slope, centre) / (1 + self.ridge)) @ inverse(self._system())
        return weight - step, bias - (slope - step @ centre) / (1 + self.ridge)

    def in_features(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """W (C, P) and b (C,) of the classifier that is weight (C', R) and bias (C',) here."""
        if self.resolved is not None:
            weight, bias = self.refined(weight, bias)
            weight = weight @ self.resolved.frame.T
            if self.ridge == 0:
                bias = bias - weight @ self.mean
            of_bias, of_outside = self.shared
            weight = weight + torch.outer(bias / of_outside, self.outside / self.resolved.scale)
            bias = bias / of_bias
        return self.of_all_classes(weight), self.of_all_classes(bias)

    def of_all_classes(self, part: Tensor) -> Tensor:
        """Rows of the classes with samples, put among rows of zeros for those without."""
        if bool(self.present.all()):
            return part
        full = part.new_zeros(len(self.present), *part.shape[1:])
        full[self.present] = part
        return full


def _shared(ridges: Ridges, outside: float) -> tuple[float, float]:
    """How the bias b and a weight w along a vector o, whose square ``outside`` is, share a constant output t.

    b = t / first and w = t o / second minimise lambda_W ‖w‖^2 + lambda_b b^2 among all with b + w.o = t.
    """
    if ridges.alike:
        return 1 + outside, 1 + outside
    of_weight, of_bias = ridges
    total = of_weight + of_bias * outside
    if total == 0:
        return 1.0, math.inf
    return (total / of_weight if of_weight else math.inf), (total / of_bias if of_bias else math.inf)


def inverse(system: Tensor) -> Tensor:
    """The inverse of a positive definite matrix; scaled to a unit diagonal first: graded ones are safe."""
    unit = system.diagonal().sqrt()
    factor = torch.linalg.cholesky(system / unit / unit[:, None])
    return torch.cholesky_inverse(factor) / unit / unit[:, None]
