"""Features to measure: random ones, collapsed ones, and the statistics of either."""

import numpy as np
import torch

from nc_runner.collapse import ClassStatistics

SIZES = {
    "balanced": [12] * 5,
    "unequal": [3, 40, 9, 1, 17],
    "two classes": [30, 20],
    "more classes than features": [15] * 9,
}


def random_features(sizes, dim, spread=0.3, seed=0):
    """Features (N, P), labels (N,), a weight (C, P) and a bias (C,), in float64."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = 3 + rng.normal(size=(len(sizes), dim))
    features = means[labels] + spread * rng.normal(size=(len(labels), dim))
    return features, labels, rng.normal(size=(len(sizes), dim)), rng.normal(size=len(sizes))


def statistics_of(features, labels, num_classes, batches=1):
    stats = ClassStatistics(num_classes, features.shape[1])
    for part in np.array_split(np.arange(len(labels)), batches):
        stats.update(torch.from_numpy(features[part]), torch.from_numpy(labels[part]))
    return stats


def simplex_etf(num_classes, dim, seed=0):
    """(C, P): unit vectors with all cosines -1/(C-1), in a random subspace of R^P."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(dim, num_classes)))[0]
    etf = (np.eye(num_classes) - 1 / num_classes) * np.sqrt(num_classes / (num_classes - 1))
    return etf @ basis.T


def low_rank_features(samples, num_classes, rank, dim, spread, dtype, seed=0):
    """Outputs (N, P) of a linear layer without activation in ``dtype``, and labels (N,), as tensors.

    The inputs are ``rank`` numbers each: class means of size 1 with a within-class deviation of ``spread``.
    """
    generator = torch.Generator().manual_seed(seed)
    means, labels = torch.randn(num_classes, rank, generator=generator), torch.arange(samples) % num_classes
    inputs = means[labels] + spread * torch.randn(samples, rank, generator=generator)
    weight = torch.randn(dim, rank, generator=generator) / rank**0.5
    bias = torch.randn(dim, generator=generator) / rank**0.5
    computed = torch.promote_types(dtype, torch.float32)  # half precision is rounded from float32 sums
    outputs = inputs.to(computed) @ weight.to(computed).T + bias.to(computed)
    return outputs.to(dtype), labels
