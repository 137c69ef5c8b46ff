import math

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.samples import SIZES, random_features, simplex_etf, statistics_of

from nc_runner.collapse import (
    ClassStatistics,
    feature_norm,
    nc1_numerical_rank,
    nc5_ood_orthogonality,
    ncc_accuracy,
    norms,
    statistics,
    variability,
    wider_metrics,
)

MINORITY = {
    "minority_angle", "majority_angle", "minority_angle_classifier", "majority_angle_classifier",
    "minority_ratio",
}  # fmt: skip
AT_COLLAPSE = {
    "nc1_numerical_rank": 1,
    "nc3_cosine": 1,
    "nc3_subspace_angle": 1,
    "ncc_accuracy": 1,
    "rank": 6,
    "effective_rank": 6,
    **dict.fromkeys(MINORITY, math.nan),  # classes are equally large
}


def wider(features, labels, weight, bias, batches=2):
    """All columns of one split, as the package computes them."""
    h, y, W, b = map(torch.from_numpy, (features, labels, weight, bias))
    stats = statistics_of(features, labels, len(weight), batches)
    return {
        **wider_metrics(stats, W, b),
        "nc1_numerical_rank": nc1_numerical_rank(h, y, len(weight)),
        "ncc_accuracy": ncc_accuracy(h, y, stats.means),
        "feature_norm": feature_norm(h),
    }


@pytest.mark.parametrize("dim", [6, 20])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("spread", [0.3, 1e-2])
def test_wider_metrics_equal_the_numpy_reference(sizes, spread, dim):
    sample = random_features(sizes, dim=dim, spread=spread)
    measured, expected = wider(*sample), reference.wider_metrics(*sample)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        lost = 1e-9 if name == "nc1_vci" else 1e-13  # in the definition's own differences
        assert measured[name] == pytest.approx(value, rel=1e-9, abs=lost, nan_ok=True), name


def test_an_exact_simplex_etf_gives_the_values_at_collapse():
    etf = simplex_etf(num_classes=7, dim=20)
    features, labels = np.repeat(5 * etf + 2, 4, axis=0), np.repeat(np.arange(7), 4)
    measured = wider(features, labels, 0.1 * etf, -0.1 * etf @ np.full(20, 2.0))
    for name, value in measured.items():
        if not name.endswith("_norm"):
            assert value == pytest.approx(AT_COLLAPSE.get(name, 0), abs=1e-12, nan_ok=True), name
    assert measured["weight_norm"] == pytest.approx(0.1 * math.sqrt(7))
    assert measured["means_norm"] == pytest.approx(5 * math.sqrt(7))
    assert measured["global_mean_norm"] == pytest.approx(2 * math.sqrt(20))


def test_a_known_perturbation_gives_known_values():
    """Three unit vectors at 0, 120 and 240 degrees, with a variance of e^2 in each class; all by hand."""
    angles, e = np.deg2rad([0, 120, 240]), 1e-3
    etf = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(3)])
    features, labels = np.repeat(etf, 2, axis=0), np.repeat(np.arange(3), 2)
    features[:, 2] = [e, -e] * 3
    tripled = etf * np.array([[3], [1], [1]])
    measured = wider(features, labels, tripled, np.array([1.0, 2.0, 2.0]))
    assert measured["nc1_trace_ratio"] == pytest.approx(e**2, rel=1e-9)
    assert measured["nc1_cdnv"] == pytest.approx(e**2 / 3, rel=1e-9)
    assert measured["nc1_vci"] == pytest.approx(0, abs=1e-12)  # no variance where the classes differ
    assert measured["nc1_numerical_rank"] == pytest.approx((1 + e) ** 2 / (1 + e**2), rel=1e-12)
    assert measured["nc3_uniform_duality"] == pytest.approx(np.var([3, 1, 1], ddof=1), rel=1e-12)
    assert measured["nc3_cosine"] == pytest.approx(1, rel=1e-12)
    assert measured["nc2_row_sum"] == pytest.approx(2, rel=1e-12)
    assert measured["bias_collapse"] == pytest.approx(3, rel=1e-12)


def test_two_classes_of_known_distance():
    """Means at -1 and 1 and deviation s: SNR sqrt(2)/s, so nc1_vci = 2 / (2 + 2/s^2) = s^2 / (1 + s^2)."""
    for s in (0.5, 1e-3, 1e-6):
        features = np.array([[-1 - s], [-1 + s], [1 - s], [1 + s]])
        stats = statistics_of(features, np.array([0, 0, 1, 1]), 2)
        assert variability.nc1_vci(stats) == pytest.approx(s**2 / (1 + s**2), rel=1e-9)
        assert variability.nc1_cdnv(stats) == pytest.approx(s**2 / 4, rel=1e-9)
        assert variability.nc1_trace_ratio(stats) == pytest.approx(s**2, rel=1e-9)


def test_ood_orthogonality_equals_the_numpy_reference():
    features, labels, _, _ = random_features([9, 14, 20], dim=5)
    ood = np.random.default_rng(1).normal(size=(30, 5))
    means = statistics_of(features, labels, 3).means
    measured = nc5_ood_orthogonality(means, torch.from_numpy(ood.mean(axis=0)))
    assert measured == pytest.approx(reference.nc5_ood_orthogonality(features, labels, 3, ood), rel=1e-12)


def test_blocks_of_classes_and_of_samples_equal_all_at_once(monkeypatch):
    sample = random_features([40] * 12, dim=5)
    whole = wider(*sample)
    monkeypatch.setattr(statistics, "CELLS", 7 * 12)
    monkeypatch.setattr(variability, "ROWS", 11)
    assert wider(*sample) == pytest.approx(whole, rel=1e-12, abs=1e-14, nan_ok=True)


def put(monkeypatch, module, function):
    """Add a function to a module, as if it were written there."""
    function.__module__ = module.__name__
    monkeypatch.setattr(module, function.__name__, function, raising=False)


def test_a_function_of_the_columns_name_is_a_measure_and_needs_no_other_line(monkeypatch):
    def nc9_largest(stats: ClassStatistics, means: torch.Tensor) -> float:
        return float(means.norm(dim=1).max()) + stats.num_classes

    put(monkeypatch, norms, nc9_largest)
    features, labels, weight, bias = random_features([9, 14, 20], dim=5)
    stats = statistics_of(features, labels, 3)
    measured = wider_metrics(stats, torch.from_numpy(weight), torch.from_numpy(bias), ["nc9_largest"])
    assert measured == {"nc9_largest": float(stats.centred_means.norm(dim=1).max()) + 3}
    assert "nc9_largest" in wider_metrics(stats, torch.from_numpy(weight), None)


def test_a_name_without_a_function_says_what_is_missing(monkeypatch):
    def nc9_other(features: torch.Tensor) -> float:  # features are no input of a measure
        return 0.0

    put(monkeypatch, norms, nc9_other)
    features, labels, weight, _ = random_features([9, 14], dim=5)
    stats = statistics_of(features, labels, 2)
    for name in ("nc9", "nc9_other", "nc1_numerical_rank", "uniformity", "distinct_means"):
        with pytest.raises(ValueError, match=f"no measure {name}: no function of that name in .*norms"):
            wider_metrics(stats, torch.from_numpy(weight), None, [name])


def test_only_what_is_asked_for_is_computed(monkeypatch):
    def nc1_vci(stats: ClassStatistics) -> float:
        raise AssertionError("nobody asked for it")

    put(monkeypatch, variability, nc1_vci)
    features, labels, weight, bias = random_features([9, 14, 20], dim=5)
    stats = statistics_of(features, labels, 3)
    weight, bias = torch.from_numpy(weight), torch.from_numpy(bias)
    with pytest.raises(AssertionError):
        wider_metrics(stats, weight, bias, ["nc1_vci"])
    assert wider_metrics(stats, weight, bias, ["rank", "bias_norm"]).keys() == {"rank", "bias_norm"}
    assert wider_metrics(stats, weight, None, ["bias_norm"]) == {"bias_norm": 0.0}
    with pytest.raises(ValueError, match="no measure nc9"):
        wider_metrics(stats, weight, bias, ["nc9"])
    with pytest.raises(ValueError, match="weight"):
        wider_metrics(stats, weight.T, bias)


def nan_names(measured):
    return {name for name, value in measured.items() if math.isnan(value)}


OF_MEANS = {
    "nc1_trace_ratio", "nc1_cdnv", "nc1_vci", "nc2_etf_error_means", "nc2_nearest_etf_means",
    "nc2_uniformity_distance", "nc2_uniformity_log", "nc3_product_error", "nc3_cosine", "nc3_subspace_angle",
}  # fmt: skip


def test_what_does_not_exist_is_nan():
    features, labels, weight, bias = random_features([5, 5], dim=3)
    weight, bias = np.vstack([weight, weight[:1]]), np.append(bias, 0.0)
    without_samples = nan_names(wider(features, labels, weight, bias))
    of_all_classes = {
        "nc3_uniform_duality", "bias_collapse", "means_norm", "global_mean_norm", "rank",
        "nc1_numerical_rank", "effective_rank",
    }  # fmt: skip
    assert without_samples == OF_MEANS | of_all_classes | MINORITY
    same = np.tile(np.random.default_rng(0).normal(size=(4, 3)), (3, 1))  # every class holds the same samples
    classes = np.repeat(np.arange(3), 4)
    coinciding = wider(same, classes, weight, bias)
    assert nan_names(coinciding) == (OF_MEANS | MINORITY) - {"nc1_vci"}
    assert coinciding["nc1_vci"] == 1  # features vary, but not between classes
    assert coinciding["rank"] == coinciding["means_norm"] == 0
    zero = wider(0 * same, classes, weight, bias)
    assert nan_names(zero) == OF_MEANS | MINORITY | {"nc1_numerical_rank", "effective_rank"}
    no_classifier = wider(*random_features([5, 5], dim=3)[:2], np.zeros((2, 3)), np.zeros(2))
    assert nan_names(no_classifier) == {
        "nc2_etf_error_classifier", "nc2_nearest_etf_classifier", "nc3_product_error", "nc3_cosine",
        "nc3_subspace_angle", *MINORITY,
    }  # fmt: skip
