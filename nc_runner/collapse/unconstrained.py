"""Unconstrained features: the known minimisers of the model whose features are parameters.

Features H = [h_1 ... h_N] (P, N) and the classifier W (C, P) minimise

    loss(W H + b 1^T) + lambda_W/2 ‖W‖^2 + lambda_H/2 ‖H‖^2 (+ lambda_b/2 ‖b‖^2).

Over all W, H with one product Z = W H, the penalties are least at sqrt(lambda_W lambda_H) ‖Z‖_*, the nuclear
norm, if P is at least the rank of Z. So with lambda = sqrt(lambda_W lambda_H) the problem is convex in Z:

    loss(Z + b 1^T) + lambda ‖Z‖_*,

and W and H have the square roots of Z's singular values, times (lambda_H/lambda_W)^(1/4) and its inverse.
docs/ufm.md derives what follows. Sources: Zhu et al. (2021), Tirer & Bruna (2022), Zhou et al. (2022), Fang
et al. (2021); for class sizes that differ and bias without decay, the derivation there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Minimum(NamedTuple):
    """``singular_values`` of Z = W H, descending, (C,) float64; ``objective``, penalties included."""

    singular_values: Tensor
    objective: float


def mse_minimum(counts: Tensor, decay: float, *, bias: bool = False, bias_decay: float = 0.0) -> Minimum:
    """The minimum of ``nn.MSELoss`` on one-hot targets, the mean over samples and classes.

    Without a bias the singular value of class c is max(0, sqrt(n_c) - decay N C / 2): classes with
    sqrt(n_c) <= decay N C / 2 die, their features and outputs are 0. With a bias that has no decay, sqrt(n_c)
    is replaced by the square roots of the eigenvalues of diag(n) - n n^T / N: for classes of equal size n,
    C - 1 times sqrt(n), a simplex ETF. A bias with decay is solved for classes of equal size: the direction
    (1, ..., 1) then has the singular value max(0, sqrt(n) - decay N C / (2 r)) with
    r = bias_decay C / (2 + bias_decay C).

    Args:
        counts: (C,) samples n_c of each class.
        decay: sqrt(lambda_W lambda_H), above 0.
        bias: whether the model has one.
        bias_decay: lambda_b.

    Raises:
        ValueError: a number is out of range, or the classes differ in size and the bias has a decay.
    """
    counts = _counts(counts, decay, bias_decay)
    C, N = len(counts), float(counts.sum())
    if not bias:
        return _thresholded(counts.sqrt(), decay, N * C, torch.ones_like(counts))
    if bias_decay == 0:
        gram = torch.diag(counts) - torch.outer(counts, counts) / N
        strengths = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
        strengths[0] = 0.0  # (1, ..., 1) is in the null space: the bias does its work
        return _thresholded(strengths, decay, N * C, torch.ones_like(counts))
    if bool((counts != counts[0]).any()):
        raise ValueError("with a bias that has a decay only classes of equal size are solved")
    shares = torch.ones_like(counts)
    shares[0] = bias_decay * C / (2 + bias_decay * C)
    return _thresholded(counts.sqrt(), decay, N * C, shares)


def _thresholded(strengths: Tensor, decay: float, scale: float, shares: Tensor) -> Minimum:
    """min over s >= 0 of sum_j r_j/scale (s_j - t_j)^2 + decay s_j; t are ``strengths``, r ``shares``."""
    values = (strengths - decay * scale / (2 * shares)).clamp(min=0)
    objective = shares / scale * (values - strengths).square() + decay * values
    return Minimum(values.sort(descending=True).values, float(objective.sum()))


def cross_entropy_minimum(num_classes: int, per_class: int, decay: float) -> Minimum:
    """The minimum of ``nn.CrossEntropyLoss``, the mean over samples, for classes of equal size n.

    Z is s (I - 11^T/C) for the classes: outputs differ by s, where
    s = log(1 / (decay sqrt(n)) - (C - 1)), or 0 where decay sqrt(n) >= 1/C. Its singular values are
    s sqrt(n), C - 1 times. By symmetry a bias, with decay or without, changes nothing.

    Raises ValueError where a number is out of range.
    """
    counts = _counts(torch.full((num_classes,), float(per_class), dtype=torch.float64), decay, 0.0)
    C, root = num_classes, math.sqrt(per_class)
    s = math.log(1 / (decay * root) - (C - 1)) if decay * root * C < 1 else 0.0
    values = torch.full_like(counts, s * root)
    values[-1] = 0.0
    objective = math.log1p((C - 1) * math.exp(-s)) + decay * (C - 1) * root * s
    return Minimum(values, objective)


def _counts(counts: Tensor, decay: float, bias_decay: float) -> Tensor:
    counts = torch.as_tensor(counts, dtype=torch.float64)
    if counts.ndim != 1 or len(counts) < 2 or not bool((counts >= 1).all()):
        raise ValueError("counts (C,) of at least two classes are needed, each from 1 on")
    if not 0 < decay < math.inf or not 0 <= bias_decay < math.inf:
        raise ValueError(f"decays must be finite, and decay above 0: {decay}, {bias_decay}")
    return counts
