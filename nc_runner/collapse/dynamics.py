"""The signal-to-noise spectrum of the features, whose motion the paper's central-path dynamics describe."""

from __future__ import annotations

import torch
from torch import Tensor

from nc_runner.collapse.statistics import ClassStatistics
from nc_runner.collapse.whitening import whiten


def snr_spectrum(stats: ClassStatistics) -> Tensor:
    """omega_1 >= ... >= omega_{C-1}: singular values of Sigma_W^{-1/2} [mu_c - mu_G].

    Returns:
        (C-1,) float64, on the statistics' device. Infinite for directions in which the class means differ
        but no sample varies; 0 beyond the rank P; all NaN when a class has no samples.

    Source: Han, Papyan & Donoho (ICLR 2022), the SNR matrix.

    >>> stats = ClassStatistics(num_classes=2, dim=1)
    >>> stats.update(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
    >>> snr_spectrum(stats)  # within-class deviation 1, class means at -5 and 5 from their mean
    tensor([7.0711], dtype=torch.float64)
    """
    means = stats.centred_means
    count = stats.num_classes - 1
    if not bool(means.isfinite().all()) or not bool(stats.within_covariance.isfinite().all()):
        return means.new_full((count,), torch.nan)
    inside, outside, _ = whiten(stats.within_covariance, means, stats.within_rank)
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
