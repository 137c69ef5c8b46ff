import math

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.samples import SIZES, random_features, simplex_etf, statistics_of

from nc_runner.collapse import collapse_metrics, ncc_mismatch
from nc_runner.collapse import statistics as module


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("spread", [0.3, 1e-3])
def test_metrics_equal_the_numpy_reference(sizes, spread):
    features, labels, weight, _ = random_features(sizes, dim=6, spread=spread)
    measured = collapse_metrics(statistics_of(features, labels, len(sizes), 3), torch.from_numpy(weight))
    expected = reference.collapse_metrics(features, labels, weight)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-9, abs=1e-14), name


def test_an_exact_simplex_etf_gives_zeros():
    etf = simplex_etf(num_classes=7, dim=20)
    features, labels = np.repeat(5 * etf + 2, 4, axis=0), np.repeat(np.arange(7), 4)
    measured = collapse_metrics(statistics_of(features, labels, 7), torch.from_numpy(0.1 * etf))
    assert max(measured.values()) < 1e-14


def test_a_known_perturbation_gives_known_values():
    """Three means at 0, 120, 240 degrees; the first twice as long; W = means: all by hand."""
    angles = np.deg2rad([0, 120, 240])
    rows = np.column_stack([np.cos(angles), np.sin(angles)])
    rows[0] *= 2
    features, labels = np.repeat(rows, 2, axis=0) - rows.mean(axis=0), np.repeat(np.arange(3), 2)
    measured = collapse_metrics(statistics_of(features, labels, 3), torch.from_numpy(rows))
    assert measured["nc2_equinorm_classifier"] == pytest.approx(np.std([2, 1, 1], ddof=1) / (4 / 3))
    assert measured["nc2_equiangular_classifier"] == pytest.approx(0, abs=1e-15)
    assert measured["nc2_maxangle_classifier"] == pytest.approx(0, abs=1e-15)
    assert measured["nc1"] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("change", ["rotation", "scale", "translation"])
def test_metrics_do_not_depend_on_the_frame(change):
    features, labels, weight, _ = random_features([9, 14, 20], dim=5)
    before = collapse_metrics(statistics_of(features, labels, 3), torch.from_numpy(weight))
    if change == "rotation":
        rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
        features, weight = features @ rotation, weight @ rotation
    elif change == "scale":
        features, weight = 7 * features, 0.2 * weight
    else:
        features = features + 10
    after = collapse_metrics(statistics_of(features, labels, 3), torch.from_numpy(weight))
    assert after == pytest.approx(before, rel=1e-10)


def test_pairs_in_blocks_equal_all_pairs_at_once(monkeypatch):
    features, labels, weight, _ = random_features([4] * 30, dim=8)
    whole = collapse_metrics(statistics_of(features, labels, 30), torch.from_numpy(weight))
    monkeypatch.setattr(module, "CELLS", 7 * 30)
    blocked = collapse_metrics(statistics_of(features, labels, 30), torch.from_numpy(weight))
    assert blocked == pytest.approx(whole, rel=1e-12)


def test_what_does_not_exist_is_nan():
    features, labels, weight, _ = random_features([5, 5], dim=3)
    weight = torch.from_numpy(np.vstack([weight, weight[:1]]))
    without_samples = collapse_metrics(statistics_of(features, labels, 3), weight)
    assert math.isnan(without_samples["nc1"])
    assert math.isnan(without_samples["nc3_self_duality"])
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=(4, 3)), (3, 1))  # every class holds the same four samples
    coinciding = collapse_metrics(statistics_of(same, np.repeat(np.arange(3), 4), 3), weight)
    assert math.isnan(coinciding["nc1"])
    assert math.isnan(coinciding["nc2_equinorm_means"])
    assert not math.isnan(coinciding["nc2_equinorm_classifier"])


def test_a_weight_of_another_shape_is_refused():
    features, labels, _, _ = random_features([5, 5], dim=3)
    with pytest.raises(ValueError, match="weight"):
        collapse_metrics(statistics_of(features, labels, 2), torch.zeros(3, 2))


def test_ncc_mismatch_equals_true_distances():
    features, labels, weight, bias = random_features([40, 60, 50], dim=4, spread=1.5)
    predicted = (features @ weight.T + bias).argmax(axis=1)
    means = reference.class_means(features, labels, 3)
    expected = np.mean(reference.nearest_class_mean(features, means) != predicted)
    measured = ncc_mismatch(*map(torch.from_numpy, (features, predicted, means)))
    assert measured == expected
    assert 0 < measured < 1


def test_ncc_is_decided_by_the_classes_and_not_by_a_large_common_offset():
    """In float32 h.mu - ‖mu‖^2/2 is about 1e12 here, and its rounding would decide."""
    means = torch.tensor([[1e6, 0.0], [1e6, 1.0]])
    features = torch.tensor([[1e6, 0.4], [1e6, 0.6]])
    assert ncc_mismatch(features, torch.tensor([0, 1]), means) == 0


def test_a_class_without_samples_is_never_the_nearest():
    means = torch.tensor([[torch.nan, torch.nan], [0.0, 0.0], [4.0, 0.0]])
    assert ncc_mismatch(torch.tensor([[0.1, 0.0], [3.0, 0.0]]), torch.tensor([1, 2]), means) == 0
    assert math.isnan(ncc_mismatch(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), means))
