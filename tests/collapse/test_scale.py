"""Many classes: two routes to the decomposition agree, and nothing of size C x C or N x P is held."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.samples import random_features, statistics_of

from nc_runner.collapse import decomposition, least_squares, mse_decomposition, snr_spectrum

SIZES = {"balanced": [6] * 40, "unequal": [1 + 3 * (c % 5) for c in range(40)]}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("ridge", [0.0, 1e-9, 2.5e-3, 1.0])
@pytest.mark.parametrize("spread", [0.3, 1e-4])
def test_the_primal_and_the_dual_route_agree(sizes, ridge, spread, monkeypatch):
    features, labels, weight, bias = random_features(sizes, dim=12, spread=spread)
    stats = statistics_of(features, labels, 40)
    primal, dual = least_squares.primal(stats, ridge), least_squares.dual(stats, ridge)
    assert torch.allclose(primal.weight, dual.weight, rtol=1e-9, atol=1e-10)
    assert torch.allclose(primal.bias, dual.bias, rtol=1e-9, atol=1e-10)
    classifier = torch.from_numpy(weight), torch.from_numpy(bias)
    by_primal = mse_decomposition(stats, *classifier, ridge)
    monkeypatch.setattr(decomposition, "solve", least_squares.dual)
    assert by_primal == pytest.approx(mse_decomposition(stats, *classifier, ridge), rel=1e-9)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_the_primal_route_takes_dead_features_and_classes_without_samples(ridge):
    features, labels, weight, bias = random_features([5] * 20, dim=6)
    features[:, 2:4] = 0
    stats = statistics_of(features, 2 * labels, 40)  # classes 1, 3, ... have no samples
    primal, dual = least_squares.primal(stats, ridge), least_squares.dual(stats, ridge)
    assert torch.allclose(primal.weight, dual.weight, rtol=1e-8, atol=1e-10)
    assert not primal.weight[1::2].any()
    assert float(primal.nc1) == pytest.approx(float(dual.nc1), rel=1e-9)
    assert float(primal.nc23) == pytest.approx(float(dual.nc23), rel=1e-9)
    weight, bias = np.tile(weight, (2, 1)), np.tile(bias, 2)
    terms = mse_decomposition(stats, torch.from_numpy(weight), torch.from_numpy(bias), ridge)
    sampled = decomposition.mse_loss(*map(torch.from_numpy, (features, 2 * labels, weight, bias)), ridge)
    assert terms["mse_ls"] + terms["mse_perp"] == pytest.approx(sampled, rel=1e-9)


def test_the_primal_route_is_taken_beyond_p_plus_1_classes(monkeypatch):
    def refuse(*_):
        raise AssertionError("the dual route holds a C x C matrix")

    monkeypatch.setattr(least_squares, "dual", refuse)
    features, labels, _, _ = random_features([3] * 8, dim=6)
    least_squares.solve(statistics_of(features, labels, 8), 0.1)
    with pytest.raises(AssertionError):
        least_squares.solve(statistics_of(features[:, :3], labels % 4, 4), 0.1)


def test_classes_that_vary_nowhere_in_some_directions_have_the_spectrum_of_the_rest():
    """Forty classes of which one is set apart by a feature without variance: one infinite value."""
    features, labels, _, _ = random_features([6] * 40, dim=5)
    separating = np.hstack([features, (labels == 3).astype(float)[:, None]])
    spectrum = snr_spectrum(statistics_of(separating, labels, 40))
    assert torch.isinf(spectrum).tolist() == [True] + [False] * 38
    assert spectrum[1:6].min() > 0.1
    assert spectrum[6:].max() < 1e-10


MEMORY = """
import resource, torch
from nc_runner.collapse import *
C, P, N = 12_000, 24, 30_000
torch.manual_seed(0)
means, labels = torch.randn(C, P), torch.arange(N) % C
stats = ClassStatistics(C, P)
features = means[:50][labels[:50]]
stats.update(features, labels[:50])  # torch's own buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for y in labels.split(1000):
    stats.update(means[y] + 0.3 * torch.randn(len(y), P), y)
weight, bias = torch.randn(C, P), torch.randn(C)
collapse_metrics(stats, weight)
for ridge in (0.0, 1e-3):
    mse_decomposition(stats, weight, bias, ridge)
snr_spectrum(stats)
mse_loss(means[:5000], torch.arange(5000), weight, bias, 0.0)
ncc_mismatch(means[:5000], torch.arange(5000), stats.means)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_many_classes_need_no_table_of_classes_by_classes():
    """For 12,000 classes one float64 table has 1,099 MiB."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200
