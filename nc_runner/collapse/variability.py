"""NC1 in the other measures of the literature: how much features vary within their classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_features, check_labels
from nc_runner.collapse.dynamics import snr_spectrum
from nc_runner.collapse.metrics import ZERO_TOLERANCE, distinct_means
from nc_runner.collapse.pairs import distances, row_blocks
from nc_runner.collapse.statistics import ROWS, ClassStatistics


def nc1_trace_ratio(stats: ClassStatistics) -> float:
    """Tr Sigma_W / Tr Sigma_B, with Sigma_B = M^T M / C; 0 at collapse.

    NaN when a class has no samples, and when all class means coincide (Sigma_B = 0).

    Source: Tirer et al. (2023).

    >>> stats = ClassStatistics(num_classes=2, dim=1)
    >>> stats.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
    >>> nc1_trace_ratio(stats)  # 1 / 25
    0.04
    """
    between = float(distinct_means(stats).square().sum()) / stats.num_classes
    return float(stats.within_covariance.trace()) / between if between else math.nan


def nc1_cdnv(stats: ClassStatistics) -> float:
    """Class-distance normalised variance: mean over c < c' of (V_c + V_c') / (2 ‖mu_c - mu_c'‖^2).

    0 at collapse. V_c = Ave_{i in c} ‖h_i - mu_c‖^2: classes count equally, whatever their sizes.
    NaN when a class has no samples, and when any two class means coincide (their term does not exist).

    Source: Galanti et al. (2021).

    >>> stats = ClassStatistics(num_classes=2, dim=1)
    >>> stats.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
    >>> nc1_cdnv(stats)  # (1 + 1) / (2 * 100)
    0.01
    """
    if not stats.complete:
        return math.nan
    means, spreads, C = stats.means, stats.within_traces, stats.num_classes
    same = ZERO_TOLERANCE * float(means.norm(dim=1).max())
    distance = distances(means - means.mean(dim=0))
    total = 0.0
    for rows in row_blocks(C):
        table = distance(rows, slice(rows.start, C))
        upper = torch.ones_like(table, dtype=torch.bool).triu(1)
        if bool((table[upper] <= same).any()):
            return math.nan
        terms = (spreads[rows, None] + spreads[rows.start :]) / (2 * table.square())
        total += float(terms[upper].sum())
    return total / (C * (C - 1) / 2)


def nc1_vci(stats: ClassStatistics) -> float:
    """Variability collapse index 1 - Tr(Sigma_T^+ Sigma_B) / r, Sigma_T = Sigma_W + Sigma_B, r = min(P, C-1).

    0 at collapse, 1 where the class means coincide in all directions. Computed as the mean over j <= r of
    C / (C + omega_j^2), with omega the SNR spectrum: the same number, with all its digits where it is tiny.
    NaN when a class has no samples, and when no feature varies at all (Sigma_T = 0).

    Source: Xu & Liu (2023).

    >>> stats = ClassStatistics(num_classes=2, dim=1)
    >>> stats.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
    >>> round(nc1_vci(stats), 12)  # 1 - 25 / 26
    0.038461538462
    """
    if not float(stats.within_covariance.trace()) and not bool(distinct_means(stats).any()):
        return math.nan
    C = stats.num_classes
    spectrum = snr_spectrum(stats)[: min(stats.dim, C - 1)]
    return float((C / (C + spectrum.square())).mean())


def nc1_numerical_rank(features: Tensor, labels: Tensor, num_classes: int) -> float:
    """mean over c of (‖H_c‖_* / ‖H_c‖_F)^2, H_c the uncentred features of class c; 1 at collapse.

    Args:
        features: (N, P); labels: (N,) integers in 0..C-1.
        num_classes: C.

    Raises:
        ValueError: a shape does not fit, a label is out of range, or a feature is not finite.

    NaN when a class has no samples, or nothing but zero features. One class is held in float64 at a time,
    and of a class with many samples only the triangular factor of blocks of rows, whose singular values are
    the same: squared ones, of a Gram matrix, would lose all below 1e-8 of the largest, and at collapse
    that is all but one.

    Source: Markou, Ajanthan & Gould, Guiding Neural Collapse (2024).

    >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])  # of ranks 2 and 1
    >>> round(nc1_numerical_rank(features, torch.tensor([0, 0, 1]), 2), 12)
    1.5
    """
    check_features(features)
    check_labels(labels, len(features), num_classes)
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    order = labels.argsort(stable=True).to(features.device)
    total = 0.0
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    for members in torch.split(order, counts):
        factor = torch.zeros(0, features.shape[1], dtype=torch.float64, device=device)
        for part in torch.split(members, ROWS):
            rows = torch.cat([factor, features.detach()[part].to(device).to(torch.float64)])
            factor = torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
        s = torch.linalg.svdvals(factor) if len(members) else factor.new_zeros(1)
        total += float((s.sum() / s.norm()).square())
    return total / num_classes
