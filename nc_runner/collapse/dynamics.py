"""The signal-to-noise spectrum of the features, and the laws of its motion on the central path.

With C balanced classes of n samples, no ridge and a free bias, L_LS = 1/2 sum_j 1/(C + omega_j^2). Its
gradient flow on the features, continually renormalised to Sigma_W = I, leaves the singular vectors of the
class means alone and moves each omega_j by itself:

    n Phi(omega_j(t)) = n Phi(omega_j(0)) + t,
    ``projected``:  Phi(omega) = C^2 log omega + C omega^2 + omega^4/4,  omega ~ (4 t/n)^(1/4)
    ``raw``:        Phi(omega) = C^2 log omega + (C/2) omega^2,          omega ~ (2 t/(n C))^(1/2)

``projected`` takes the gradient's part tangent to {Sigma_W = I}: the flow of Han, Papyan & Donoho (2022).
``raw`` takes whole gradient steps and whitens the features after each. docs/dynamics.md derives both;
:mod:`nc_runner.collapse.flow` simulates them.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nc_runner.collapse.resolved import resolved_directions
from nc_runner.collapse.statistics import ClassStatistics
from nc_runner.collapse.whitening import whiten

Law = Literal["projected", "raw"]
LAWS: tuple[Law, ...] = ("projected", "raw")
_MOST_STEPS = 200


def snr_spectrum(stats: ClassStatistics) -> Tensor:
    """omega_1 >= ... >= omega_{C-1}: singular values of Sigma_W^{-1/2} [mu_c - mu_G].

    Returns:
        (C-1,) float64, on the statistics' device. Infinite for directions in which the class means differ
        but no sample varies; 0 beyond the rank P; all NaN when a class has no samples. Directions in which
        features vary by no more than their rounding (``ClassStatistics.resolution``) take no part.

    Source: Han, Papyan & Donoho (ICLR 2022), the SNR matrix.

    >>> stats = ClassStatistics(num_classes=2, dim=1)
    >>> stats.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
    >>> snr_spectrum(stats)  # within-class deviation 1, class means at -5 and 5 from their mean
    tensor([7.0711], dtype=torch.float64)
    """
    means = stats.centred_means
    count = stats.num_classes - 1
    if not stats.complete:
        return means.new_full((count,), torch.nan)
    within, noise = stats.within_covariance, None
    resolved = resolved_directions(stats, ridge=0)
    if resolved is not None:
        frame, noise = resolved.frame, resolved.noise
        within, means = frame.T @ within @ frame, means @ frame
    inside, outside, _ = whiten(within, means, noise)
    spectrum = means.new_zeros(count)
    infinite = 0
    if outside.shape[1]:
        # The mixtures of class means with a part outside are infinitely strong; the others are left.
        u, s, _ = torch.linalg.svd(outside, full_matrices=False)
        infinite = min(count, int((s > 1e-8 * s[0]).sum()))
        u = u[:, :infinite]
        for _ in range(2):  # once more against the rounding errors of the first time
            inside = inside - u @ (u.T @ inside)
        spectrum[:infinite] = torch.inf
    finite = torch.linalg.svdvals(inside)[: count - infinite]
    spectrum[infinite : infinite + len(finite)] = finite
    return spectrum


def phi(omega: Tensor, num_classes: int, law: Law = "projected") -> Tensor:
    """Phi(omega): on the central path n Phi(omega_j) grows as fast as time does, for every j.

    Args:
        omega: of any shape, >= 0; converted to float64.
        num_classes: C.
        law: ``projected`` or ``raw``, see the module's text.

    Returns:
        Phi, of omega's shape; -inf for 0, inf for inf, NaN for NaN.

    Raises:
        ValueError: an omega is negative, there are fewer than 2 classes, or there is no such law.

    >>> phi(torch.tensor([1.0, 2.0]), num_classes=3)
    tensor([ 3.2500, 22.2383], dtype=torch.float64)
    """
    if num_classes < 2 or bool((omega < 0).any()):
        raise ValueError("omega from 0 on and at least 2 classes are needed")
    return _phi(omega.to(torch.float64).log(), num_classes, law)


def central_path(
    omega0: Tensor, times: Tensor, num_classes: int, samples_per_class: int, law: Law = "projected"
) -> Tensor:
    """omega_j(t) in closed form: the root of n Phi(omega) = n Phi(omega_j(0)) + t, to machine precision.

    Args:
        omega0: (J,) the spectrum at time 0, >= 0 and finite. 0 stays 0: it is a fixed point.
        times: (T,) >= 0, in any order.
        num_classes: C.
        samples_per_class: n.
        law: ``projected`` or ``raw``.

    Returns:
        (T, J) float64.

    Raises:
        ValueError: a value is out of range.

    Newton's method in x = log omega, where Phi is convex and increasing, from an upper bound of the root;
    a step that leaves the bracket is replaced by bisection.

    >>> central_path(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1e9]), num_classes=3, samples_per_class=10)
    tensor([[  1.0000,   2.0000],
            [141.4001, 141.4001]], dtype=torch.float64)
    """
    _check_law(law)
    omega0 = omega0.detach().to(torch.float64)
    times = times.detach().to(omega0)
    if omega0.ndim != 1 or not bool((omega0.isfinite() & (omega0 >= 0)).all()):
        raise ValueError("omega0 must be a vector of finite numbers from 0 on")
    if times.ndim != 1 or not bool((times.isfinite() & (times >= 0)).all()):
        raise ValueError("times must be a vector of finite numbers from 0 on")
    if num_classes < 2 or samples_per_class < 1:
        raise ValueError("at least 2 classes and 1 sample of each are needed")
    alive = omega0 > 0
    start = omega0[alive].log()
    advance = times[:, None] / samples_per_class  # (T, 1)
    target = _phi(start, num_classes, law) + advance  # (T, J)
    # log omega never grows faster than at rate 1/(n C^2); and for omega > 1 Phi exceeds its last term alone.
    power, factor = (4, 0.25) if law == "projected" else (2, num_classes / 2)
    high = (start + advance / num_classes**2).minimum((target / factor).clamp(min=1).log() / power)
    high = high.maximum(start)
    low = start.expand_as(high)
    x = high
    for _ in range(_MOST_STEPS):
        excess = _phi(x, num_classes, law) - target
        low, high = low.where(excess > 0, x), high.where(excess < 0, x)
        step = x - excess / _slope(x, num_classes, law)
        inside = (step >= low) & (step <= high)
        step = step.where(inside, (low + high) / 2)
        done = bool(((step - x).abs() <= 2 * math.ulp(1.0) * x.abs().clamp(min=1)).all())
        x = step
        if done:
            break
    omega = omega0.new_zeros(len(times), len(omega0))
    omega[:, alive] = x.exp()
    return omega


def _phi(x: Tensor, num_classes: int, law: Law) -> Tensor:
    """Phi as a function of x = log omega."""
    _check_law(law)
    C, square = num_classes, (2 * x).exp()
    if law == "raw":
        return C**2 * x + (C / 2) * square
    return C**2 * x + C * square + square.square() / 4


def _slope(x: Tensor, num_classes: int, law: Law) -> Tensor:
    """d Phi / d log omega: n times this is the time that omega takes to grow by a factor e."""
    total = num_classes + (2 * x).exp()
    return num_classes * total if law == "raw" else total.square()


def _check_law(law: str) -> None:
    if law not in LAWS:
        raise ValueError(f"the law must be one of {', '.join(LAWS)}, not {law!r}")
