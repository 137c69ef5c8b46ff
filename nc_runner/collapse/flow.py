"""Gradient flow of L_LS on explicit features, continually renormalised to Sigma_W = I.

Features are an array H (C, n, P): C balanced classes of n samples; the classes' labels are its first index.
With the class means M = [mu_c - mu_G] (P x C), deviations E = [h_i - mu_y] (P x N), N = C n,
Sigma = E E^T / N and T = (C I + M^T Sigma^-1 M)^-1, the loss of the least-squares classifier is
L_LS = 1/2 Tr T over the mixtures of classes that sum to 0, and its gradient with respect to the features is

    G_i = -(1/n) (Sigma^-1 M T^2)_y + (1/N) Sigma^-1 M T^2 M^T Sigma^-1 (h_i - mu_y).

{Sigma_W = I} has normal vectors S E with S symmetric. With S the one for which -G + S E keeps Sigma_W,

    ``projected``:  dH/dt = -G + S E   the gradient's tangent part; S acts on the deviations alone
    ``raw``:        dH/dt = -G + S H   small gradient steps, each followed by H <- Sigma_W^-1/2 H

Neither the diagonal form of M nor the laws of :mod:`nc_runner.collapse.dynamics` are used here: that the
simulated spectra follow them is a result. docs/dynamics.md derives both laws.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_features
from nc_runner.collapse.dynamics import LAWS, Law

TOLERANCE = 1e-9  # error of one step, as a share of the features' norm
_LARGEST_GROWTH, _LARGEST_CUT, _SAFETY = 5.0, 0.2, 0.9

# The embedded pair 5(4) of Dormand & Prince (1980): rows of stages, the last being the fifth-order result,
# and its difference from the fourth-order one.
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class FlowPoint(NamedTuple):
    """The flow at one time. ``features`` (C, n, P) float64; ``steps`` taken since time 0."""

    time: float
    features: Tensor
    steps: int


def initial_features(
    spectrum: Tensor, num_classes: int, dim: int, samples_per_class: int, seed: int = 0
) -> Tensor:
    """Random features with Sigma_W = I, global mean 0, and this SNR spectrum.

    Args:
        spectrum: (J,) with J = min(C - 1, P), >= 0: the singular values of [mu_c - mu_G], in any order.
        num_classes: C >= 2.
        dim: P. Sigma_W = I needs P <= C (n - 1).
        samples_per_class: n.
        seed: of the singular vectors and the deviations.

    Returns:
        (C, n, P) float64: mu_c + deviations, with singular vectors uniform over all orthonormal frames.

    Raises:
        ValueError: there are too few samples for Sigma_W = I, or the spectrum has another length or range.
    """
    C, P, n = num_classes, dim, samples_per_class
    rank = min(C - 1, P)
    if C < 2 or P < 1 or C * (n - 1) < P:
        raise ValueError(
            f"Sigma_W = I needs 2 classes or more, and no more features than C (n - 1): "
            f"with {C} classes of {n} samples {max(0, C * (n - 1))}, not {P}"
        )
    spectrum = spectrum.detach().to(torch.float64).cpu()
    if tuple(spectrum.shape) != (rank,) or not bool((spectrum.isfinite() & (spectrum >= 0)).all()):
        raise ValueError(f"the spectrum needs min(C - 1, P) = {rank} finite numbers from 0 on")
    generator = torch.Generator().manual_seed(seed)

    def frame(rows: int, columns: int) -> Tensor:
        """Orthonormal columns; with the sign of R's diagonal fixed they are uniform (Mezzadri 2007)."""
        gauss = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
        q, r = torch.linalg.qr(gauss)
        signed: Tensor = q * r.diagonal().sign()
        return signed

    # an orthonormal basis (C, C-1) of the mixtures that sum to 0
    contrasts = torch.linalg.qr(torch.eye(C, dtype=torch.float64) - 1 / C).Q[:, : C - 1]
    right = contrasts @ frame(C - 1, rank)
    means = (right * spectrum) @ frame(P, rank).T  # (C, P)
    deviations = torch.randn(C, n, P, dtype=torch.float64, generator=generator)
    features: Tensor = renormalise(deviations - deviations.mean(dim=1, keepdim=True)) + means[:, None]
    return features


def renormalise(features: Tensor) -> Tensor:
    """Sigma_W^-1/2 H with the symmetric root: features (C, n, P) moved to the nearest with Sigma_W = I.

    Raises ValueError when Sigma_W is singular.
    """
    means = features.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(_within((features - means).flatten(0, 1)))
    if not bool(values[0] > 1e-12 * values[-1]):
        raise ValueError("Sigma_W is singular: there are too few samples, or features that do not vary")
    renormalised: Tensor = features @ ((vectors / values.sqrt()) @ vectors.T)
    return renormalised


def least_squares_gradient(features: Tensor) -> Tensor:
    """The gradient of L_LS (no ridge, free bias) with respect to features (C, n, P); of their shape."""
    C, n, _ = features.shape
    means = features.mean(dim=1)
    centred = means - means.mean(dim=0)
    deviations = features - means[:, None]
    solved = torch.cholesky_solve(centred.T, torch.linalg.cholesky(_within(deviations.flatten(0, 1))))
    system = centred @ solved + C * torch.eye(C, dtype=features.dtype, device=features.device)
    inverse = torch.linalg.inv(system)
    pull = solved @ inverse @ inverse  # (P, C)
    gradient: Tensor = -pull.T[:, None] / n + deviations @ (solved @ pull.T) / (C * n)
    return gradient


def velocity(features: Tensor, law: Law) -> Tensor:
    """dH/dt of the renormalised flow at features (C, n, P), with Sigma_W = I or near it."""
    gradient = least_squares_gradient(features)
    deviations = features - features.mean(dim=1, keepdim=True)
    flat = deviations.flatten(0, 1)
    cross = gradient.flatten(0, 1).T @ flat / len(flat)
    # S Sigma + Sigma S = (G E^T + E G^T) / N
    values, vectors = torch.linalg.eigh(_within(flat))
    right = vectors.T @ (cross + cross.T) @ vectors
    correction = vectors @ (right / (values[:, None] + values)) @ vectors.T
    flow: Tensor = (deviations if law == "projected" else features) @ correction - gradient
    return flow


def simulate_flow(
    features: Tensor, times: Tensor, law: Law = "projected", tolerance: float = TOLERANCE
) -> Iterator[FlowPoint]:
    """Follow the continually renormalised gradient flow of L_LS from ``features``, at time 0, on.

    Args:
        features: (C, n, P), renormalised first where Sigma_W is not I. Needs Sigma_W of full rank.
        times: (T,) >= 0, increasing.
        law: ``projected`` or ``raw``, see the module's text.
        tolerance: error of one step, as a share of the features' norm.

    Yields:
        a :class:`FlowPoint` for each of ``times``.

    Raises:
        ValueError: an argument is out of range.

    An adaptive Runge-Kutta method in float64, order 5 with an error estimate of order 4. Every accepted step
    ends with :func:`renormalise`: the flow itself keeps Sigma_W, so this takes away rounding errors alone.
    """
    if law not in LAWS:
        raise ValueError(f"the law must be one of {', '.join(LAWS)}, not {law!r}")
    if times.ndim != 1:
        raise ValueError(f"times (T,) are needed, not {tuple(times.shape)}")
    goals = times.detach().to(torch.float64).tolist()
    if any(not 0 <= t < float("inf") for t in goals) or sorted(goals) != goals:
        raise ValueError("times must be finite, increasing and from 0 on")
    if features.ndim != 3 or len(features) < 2 or not 0 < tolerance < 1:
        raise ValueError(
            "features (C, n, P) of at least 2 classes and a tolerance between 0 and 1 are needed"
        )
    check_features(features.flatten(0, 1))
    h = renormalise(features.detach().to(torch.float64))
    C, n, _ = h.shape
    now, steps, step = 0.0, 0, 0.01 * n * C**2  # d log omega/dt is at most 1/(n C^2)
    slope = velocity(h, law)
    for goal in goals:
        while now < goal:
            length = min(step, goal - now)
            h_next, slope_next, error = _runge_kutta(h, slope, length, law)
            growth = _SAFETY * max(error / tolerance, 1e-10) ** -0.2
            if not error <= tolerance:
                step = length * max(growth, _LARGEST_CUT)
                continue
            h, slope, steps = renormalise(h_next), slope_next, steps + 1
            grown = length * min(growth, _LARGEST_GROWTH)
            step, now = (max(step, grown), goal) if length == goal - now else (grown, now + length)
        yield FlowPoint(goal, h, steps)


def _runge_kutta(h: Tensor, slope: Tensor, length: float, law: Law) -> tuple[Tensor, Tensor, float]:
    """One step: the features after it, the velocity there, and the error as a share of their norm."""
    slopes = [slope]
    for row in _STAGES:
        stage = h + length * sum(a * k for a, k in zip(row, slopes, strict=True) if a)
        slopes.append(velocity(stage, law))
    error = sum(a * k for a, k in zip(_ERROR, slopes, strict=True) if a)
    return stage, slopes[-1], float(length * torch.linalg.vector_norm(torch.as_tensor(error)) / stage.norm())


def _within(deviations: Tensor) -> Tensor:
    """Sigma_W of deviations (N, P) from their class means."""
    return deviations.T @ deviations / len(deviations)
