"""The directions in which features vary by more than their rounding.

Features of low rank, as those of a wide linear layer without activation, vary in all other directions too: by
their rounding errors, about 1e-7 of their size in float32. These hold no information, but a least-squares
classifier without a ridge would divide by them. So they are cut, by three rules:

1. A direction is cut where the *total* covariance (plus the ridge) lies below the rounding of the features,
   or below what a covariance in float64 resolves. The within-class covariance alone does not decide: in deep
   collapse it lies below the rounding where the class means differ, and such directions are kept.
2. Class means and scatter are both projected on the kept directions, around the mean of the samples.
3. How coarse the features are is a property of the statistics: ``ClassStatistics.resolution``.

"Below" is relative to the size of each feature, its root mean square.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse.statistics import EPS64, ClassStatistics

# The largest standard deviation of rounding errors that is allowed for, in units of the resolution. Features
# in half precision are float32 sums rounded once: 0.2 was measured. In float32 and float64 the sums are
# rounded themselves: 0.4 to 2 were measured for linear layers of 8 to 2,048 inputs, and up to 6 where a large
# mean cancels.
SUMS, ROUNDED_ONCE = 8.0, 1.0
FINEST = 1000 * EPS64  # a covariance surely resolves this share of its largest eigenvalue, or P * EPS64
NOISE = 16 * EPS64  # rounding errors of a covariance, as a share of its largest eigenvalue
CONDITION = 1e-9  # the least eigenvalue of a covariance that is solved as it is, as a share of its trace
# A feature below this share of the largest is scaled up: it would drown in the errors of the directions.
SMALL, SMALL_BESIDE_ROUNDING = 1e-10, 1e-4
EXACT = 1e-12  # a share of the features' size: where nothing varies, float64 leaves less


class Resolved(NamedTuple):
    """Coordinates of the kept directions, R of them.

    ``scale`` (P,): 1, but for features that are much smaller than others.
    ``basis`` (P, R): orthonormal, of the kept directions of h / scale.
    ``frame`` (P, R): h @ frame has the total covariance I, the ridge counted in; these weights span what a
    classifier may use.
    ``noise`` (R, R): what float64 rounding errors of the within-class covariance (plus ridge) may be there.
    ``rounded``: whether the directions cut hold rounding errors, or no variation at all.
    """

    scale: Tensor
    basis: Tensor
    frame: Tensor
    noise: Tensor
    rounded: bool


def rounding(stats: ClassStatistics) -> float:
    """The largest standard deviation, as a share of the features' size, that rounding errors may have.

    Errors are independent: of P features in N samples the strongest direction has 1 + sqrt(P/N) times the
    standard deviation of each.
    """
    factor = SUMS if stats.resolution <= torch.finfo(torch.float32).eps else ROUNDED_ONCE
    return float(factor * stats.resolution * (1 + (stats.dim / stats.total) ** 0.5))


def resolved_directions(stats: ClassStatistics, ridge: float, *, centred: bool = True) -> Resolved | None:
    """The directions that are kept, or None where all are and the problem can be solved as it stands.

    ``centred``: whether the classifier has a bias. Without one the features' mean counts as their variation
    does: in place of the total covariance are second moments about 0. The statistics must hold a sample.
    """
    present = stats.counts > 0
    shares, means = stats.counts[present] / stats.counts.sum(), stats.means[present]
    covariance = stats.within_covariance
    size = (covariance.diagonal() + shares @ means.square()).sqrt()
    size = size.where(size > 0, 1.0)
    unit = torch.eye(stats.dim, dtype=torch.float64, device=stats.device)
    if ridge > 0:
        covariance = covariance + ridge * unit
    # A ridge above the variance of the rounding errors makes them harmless.
    harmless = ridge >= (stats.resolution * float(size.max())) ** 2 and ridge > 0
    finest = max(FINEST, stats.dim * EPS64)
    if harmless and len(means) <= stats.dim + 1:  # scaled with the ridge: features may be nearly dead
        deviation = covariance.diagonal().sqrt()
        if _exceeds(covariance / deviation / deviation[:, None], finest * stats.dim):
            return None
    scaled = covariance / size / size[:, None]
    signal = (means - shares @ means if centred else means) * shares.sqrt()[:, None] / size
    least = 0.0 if harmless else rounding(stats) ** 2
    enough = float(finest * scaled.trace())
    exceeds_both = _exceeds(scaled, max(enough, least))
    safe = exceeds_both or _exceeds(scaled, enough)
    if safe and len(means) > stats.dim + 1:  # the primal route, which solves by the total covariance
        total = scaled + signal.T @ signal
        safe = _exceeds(total, float(CONDITION * total.trace()))
    if safe and exceeds_both:
        return None
    samples = int(
        (stats.counts - 1).clamp(min=0).sum()
    )  # beyond the first of each class: a bound on the rank
    values, vectors = _eigenpairs(scaled, samples if ridge == 0 else stats.dim)
    floor = (finest * values[-1]).clamp(min=0)
    values = values.where(values > floor, 0.0)
    # The singular values of a square root of the total covariance have twice the digits. Its rows without any
    # strength are left out: of few samples with many features that is nearly all of them.
    strong = values > 0
    root = torch.cat([(vectors[:, strong] * values[strong].sqrt()).T, signal])
    _, s, directions = torch.linalg.svd(root, full_matrices=False)
    kept = s > floor.clamp(min=least).sqrt()
    whole = len(s) == stats.dim and bool(kept.all())
    if safe and whole:
        return None
    rounded = bool((s[~kept] > EXACT).any())
    scale = (size / size.max() / (SMALL_BESIDE_ROUNDING if rounded else SMALL)).clamp(max=1)
    if whole:
        basis, frame = unit, directions.T / s / size[:, None]
    else:
        size_here = size / scale
        basis = torch.linalg.qr(size_here[:, None] * directions[kept].T).Q
        _, of_kept, turned = torch.linalg.svd((root * size_here) @ basis, full_matrices=False)
        frame = basis @ (turned.T / of_kept) / scale[:, None]
    errors = frame * size[:, None]
    noise = NOISE * values[-1] * (errors.T @ errors)
    return Resolved(scale, basis, frame, noise, rounded)


def _eigenpairs(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors (P, K) of a symmetric matrix of at most this rank.

    Where the rank is far below P those of its range alone, which random vectors find (Halko, Martinsson &
    Tropp 2011): with P = 4096 and few samples that takes a hundredth of the time.
    """
    count = rank + 8
    if 2 * count >= len(matrix):
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(len(matrix), count, dtype=matrix.dtype, generator=generator)
    span = torch.linalg.qr(matrix @ probes.to(matrix.device)).Q
    values, vectors = torch.linalg.eigh(span.T @ matrix @ span)
    return values, span @ vectors


def _exceeds(matrix: Tensor, least: float) -> bool:
    """Whether all eigenvalues of a symmetric matrix are above ``least``."""
    less = matrix.clone()
    less.diagonal().sub_(least)
    return int(torch.linalg.cholesky_ex(less).info) == 0
