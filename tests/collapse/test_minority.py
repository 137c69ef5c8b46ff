"""Which classes are the minority, and the values that minority collapse and an exact simplex ETF have."""

import math

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.samples import random_features, simplex_etf, statistics_of

from nc_runner.collapse import ClassStatistics, wider_metrics
from nc_runner.collapse.minority import minority_classes
from nc_runner.config.data_schema import Imbalance
from nc_runner.data.subset import class_sizes

NAMES = ("minority_angle", "majority_angle", "minority_angle_classifier", "majority_angle_classifier",
         "minority_ratio")  # fmt: skip


def counted(counts):
    stats = ClassStatistics(len(counts), 1)
    labels = np.repeat(np.arange(len(counts)), counts)
    stats.update(torch.zeros(len(labels), 1), torch.from_numpy(labels))
    return stats


@pytest.mark.parametrize(
    ("counts", "few"),
    [
        ([100, 100, 10, 10], [2, 3]),
        ([100, 1, 100, 100], [1]),
        ([10, 100, 10, 10], [0, 2, 3]),
        ([1000, 464, 215, 100], [2, 3]),  # an exponential imbalance: the smaller half
        ([1000, 317, 100], [2]),
        ([7, 7, 7], []),
        ([5, 0, 50], []),
        ([100, 99], [1]),
    ],
)
def test_the_minority_has_fewer_samples_than_the_geometric_mean_of_both_ends(counts, few):
    assert minority_classes(counted(counts)).nonzero()[:, 0].tolist() == few


@pytest.mark.parametrize("ratio", [1.5, 10, 100])
@pytest.mark.parametrize("small", [1, 4, 9])
def test_the_small_classes_of_a_step_are_the_minority(ratio, small):
    sizes = class_sizes(Imbalance(kind="step", ratio=ratio, minority_classes=small), 10, 100)
    found = minority_classes(counted(sizes.tolist()))
    assert found.nonzero()[:, 0].tolist() == list(range(10 - small, 10))


@pytest.mark.parametrize("sizes", [[30, 5, 30, 5, 5, 30], [4, 8, 16, 32, 64], [9, 3], [20, 20, 2]])
def test_the_columns_equal_the_numpy_reference(sizes):
    features, labels, weight, bias = random_features(sizes, dim=7)
    stats = statistics_of(features, labels, len(sizes))
    measured = wider_metrics(stats, torch.from_numpy(weight), torch.from_numpy(bias), NAMES)
    expected = reference.minority(features, labels, weight)
    assert measured == pytest.approx(expected, rel=1e-11, abs=1e-13, nan_ok=True)


def test_an_exact_simplex_etf_of_unequal_classes_has_the_values_at_collapse():
    etf, labels = simplex_etf(num_classes=6, dim=9), np.repeat(np.arange(6), [8, 8, 8, 2, 2, 2])
    stats = statistics_of(3 * etf[labels] + 1, labels, 6)
    measured = wider_metrics(stats, torch.from_numpy(0.2 * etf), None, NAMES)
    assert measured == pytest.approx(dict.fromkeys(NAMES, -1 / 5) | {"minority_ratio": 1}, rel=1e-12)


def test_parallel_rows_of_the_minority_are_minority_collapse():
    weight, labels = np.eye(4), np.repeat(np.arange(4), [9, 9, 1, 1])
    weight[2:] = [0, 0, 0.5, 0]
    measured = wider_metrics(
        statistics_of(np.eye(4)[labels], labels, 4), torch.from_numpy(weight), None, NAMES
    )
    assert measured["minority_angle_classifier"] == pytest.approx(1, abs=1e-15)
    assert measured["majority_angle_classifier"] == pytest.approx(0, abs=1e-15)
    assert measured["minority_ratio"] == pytest.approx(0.5)


def test_what_does_not_exist_is_nan():
    features, labels, weight, _ = random_features([9, 9, 2], dim=4)
    measured = wider_metrics(statistics_of(features, labels, 3), torch.from_numpy(weight), None, NAMES)
    assert {name for name in NAMES if math.isnan(measured[name])} == {NAMES[0], NAMES[2]}  # a single class
    weight[1] = 0
    measured = wider_metrics(statistics_of(features, labels, 3), torch.from_numpy(weight), None, NAMES)
    assert math.isnan(measured["majority_angle_classifier"])
    assert measured["minority_ratio"] > 0


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-6])
def test_effective_rank_equals_the_numpy_reference_from_spread_to_collapse(spread):
    features, labels, weight, _ = random_features([20, 30, 40, 10], dim=12, spread=spread)
    stats = statistics_of(features, labels, 4)
    measured = wider_metrics(stats, torch.from_numpy(weight), None, ["effective_rank"])["effective_rank"]
    assert measured == pytest.approx(reference.effective_rank(features, labels, 4), rel=1e-10)
    assert 1 < measured < 12
