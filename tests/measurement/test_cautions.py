"""The bias of NC1 for few samples: its estimate against simulations."""

import pytest
import torch

from nc_runner.collapse import ClassStatistics, collapse_metrics
from nc_runner.measurement.cautions import cautions, nc1_bias

C = 10


def simulated(dim, per_class, nc1, repetitions=15):
    """Measured over true NC1, and its estimate, of a simplex ETF with noise: means of repetitions."""
    generator = torch.Generator().manual_seed(0)
    means = (torch.eye(C) - 1 / C).double() @ torch.eye(dim)[:C].double()  # singular values 1
    noise = (nc1 / (C - 1)) ** 0.5
    labels = torch.arange(C).repeat_interleave(per_class)
    measured, estimated = [], []
    for _ in range(repetitions):
        stats = ClassStatistics(C, dim)
        h = means[labels] + noise * torch.randn(len(labels), dim, dtype=torch.float64, generator=generator)
        stats.update(h, labels)
        measured.append(collapse_metrics(stats, means)["nc1"] / nc1)
        estimated.append(1 - nc1_bias(stats))
    return sum(measured) / repetitions, sum(estimated) / repetitions


@pytest.mark.parametrize("dim", [32, 256])
@pytest.mark.parametrize("per_class", [5, 20, 100])
@pytest.mark.parametrize("nc1", [1e-3, 0.1, 1.0])
def test_the_estimate_follows_the_simulation(dim, per_class, nc1):
    measured, estimated = simulated(dim, per_class, nc1, 5 if per_class == 100 else 15)
    if measured > 0.5:
        assert estimated == pytest.approx(measured, abs=0.12)
    else:
        assert measured - 0.05 < estimated < 0.6


def test_many_samples_are_no_reason_for_caution():
    stats = ClassStatistics(C, 8)
    labels = torch.arange(C).repeat_interleave(200)
    stats.update(torch.eye(C, 8)[labels] + 0.1 * torch.randn(len(labels), 8), labels)
    assert cautions(stats) == []
