"""Every number holds to 1e-6 in deep collapse, and statistics merge to 1e-12, against 60 digits."""

import math

import mpmath
import numpy as np
import pytest
import torch
from helpers import high_precision
from helpers.samples import random_features, simplex_etf, statistics_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    least_squares_classifier,
    mse_decomposition,
    mse_loss,
    nc1_numerical_rank,
    snr_spectrum,
    wider_metrics,
)
from nc_runner.collapse.wider import find_measures

SCALE_FREE = {
    "nc1_trace_ratio", "nc1_cdnv", "nc1_vci", "nc2_etf_error_means", "nc2_etf_error_classifier",
    "nc2_nearest_etf_means", "nc2_nearest_etf_classifier", "nc2_uniformity_distance", "nc2_uniformity_log",
    "nc3_product_error", "nc3_cosine", "nc3_subspace_angle", "rank",
}  # fmt: skip


def unequal(spread):
    return random_features([3, 8, 4], dim=4, spread=spread)


def more_classes_than_features(spread):
    return random_features([3] * 7, dim=3, spread=spread)


def two_classes(spread):
    return random_features([5, 7], dim=4, spread=spread)


def a_class_with_one_sample(spread):
    return random_features([1, 5, 6], dim=4, spread=spread)


def coinciding_class_means(spread):
    features, labels, weight, bias = random_features([4, 4, 5], dim=4, spread=spread)
    features[labels == 1] = features[labels == 0]
    return features, labels, weight, bias


def a_zero_feature(spread):
    features, labels, weight, bias = random_features([4, 5, 6], dim=4, spread=spread)
    features[:, 2] = 0
    return features, labels, weight, bias


def a_singular_within_covariance(spread):
    features, labels, weight, bias = random_features([4, 5, 6], dim=4, spread=spread)
    features[:, 3] = features[:, 1]
    return features, labels, weight, bias


CASES = [
    unequal, more_classes_than_features, two_classes, a_class_with_one_sample, coinciding_class_means,
    a_zero_feature, a_singular_within_covariance,
]  # fmt: skip


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def assert_close(measured, expected):
    for name, value in expected.items():
        value = float(value)
        assert measured[name] == pytest.approx(value, rel=1e-6, abs=1e-15, nan_ok=True) or (
            name.startswith("mse") and measured[name] == pytest.approx(value, rel=1e-6, abs=1e-30)
        ), name


@pytest.mark.parametrize("spread", [1e-2, 1e-6])
@pytest.mark.parametrize("case", CASES)
def test_all_metrics_hold(case, spread):
    features, labels, weight, bias = case(spread)
    stats, (W, b) = statistics_of(features, labels, len(weight), batches=4), tensors(weight, bias)
    with mpmath.workdps(high_precision.DIGITS):
        sample = high_precision.Sample(features, labels, weight, bias)
        core, wider = high_precision.collapse_metrics(sample), high_precision.wider_metrics(sample)
    assert_close(collapse_metrics(stats, W), core)
    measured = wider_metrics(stats, W, b)
    measured["nc1_numerical_rank"] = nc1_numerical_rank(*tensors(features, labels), len(weight))
    assert wider.keys() | {"rank"} == measured.keys()
    assert_close(measured, wider)
    assert wider["nc1_trace_ratio"] < 10 * spread**2  # it is that deep


@pytest.mark.parametrize("ridge", [0.0, 1e-12, 2.5e-3])
@pytest.mark.parametrize("spread", [1e-2, 1e-6])
@pytest.mark.parametrize("case", CASES)
def test_the_decomposition_holds(case, spread, ridge):
    features, labels, weight, bias = case(spread)
    stats = statistics_of(features, labels, len(weight), batches=4)
    with mpmath.workdps(high_precision.DIGITS):
        sample = high_precision.Sample(features, labels, weight, bias)
        expected = high_precision.mse_decomposition(sample, ridge)
    measured = mse_decomposition(stats, *tensors(weight, bias), ridge)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name] == pytest.approx(float(value), rel=1e-6, abs=0), name


def test_features_that_are_all_zero_leave_the_classes_shares():
    """V_LS = [0, pi]: no error but that of guessing; NC metrics of means do not exist."""
    labels = np.repeat(np.arange(3), [2, 3, 5])
    stats = statistics_of(np.zeros((10, 4)), labels, 3)
    weight, bias = least_squares_classifier(stats, 0.0)
    assert not weight.any()
    assert torch.allclose(bias, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))
    terms = mse_decomposition(stats, weight, bias, 0.0)
    assert terms["mse_nc1"] == 0
    assert terms["mse_nc23"] == pytest.approx((1 - 0.04 - 0.09 - 0.25) / 2)
    metrics = collapse_metrics(stats, torch.ones(3, 4))
    assert {name for name, value in metrics.items() if math.isnan(value)} == {
        "nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_maxangle_means", "nc3_self_duality",
    }  # fmt: skip
    assert snr_spectrum(stats).tolist() == [0, 0]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_merging_in_any_order_agrees_to_1e_12_in_deep_collapse(data):
    seed = data.draw(st.integers(0, 10**6))
    spread = data.draw(st.sampled_from([1.0, 1e-3, 1e-6]))
    features, labels, weight, _ = random_features([9, 4, 12], dim=5, spread=spread, seed=seed)
    whole = statistics_of(features, labels, 3)
    cuts = data.draw(st.lists(st.integers(0, 25), min_size=1, max_size=5))
    parts = data.draw(st.permutations(np.split(np.arange(25), sorted(cuts))))
    merged = ClassStatistics(3, 5)
    for part in parts:
        merged.merge(statistics_of(features[part], labels[part], 3))
    scale = float(whole.within_covariance.norm())
    assert float((merged.within_covariance - whole.within_covariance).norm()) < 1e-12 * scale
    assert torch.allclose(merged.within_traces, whole.within_traces, rtol=1e-12, atol=0)
    assert torch.allclose(merged.means, whole.means, rtol=1e-15, atol=1e-15)
    (W,) = tensors(weight)
    assert collapse_metrics(merged, W) == pytest.approx(collapse_metrics(whole, W), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=2, max_size=6),
    dim=st.integers(3, 8),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-3, 0.2, 50.0]),
)
def test_rotation_and_scale_change_nothing_that_they_should_not(sizes, dim, seed, scale):
    features, labels, weight, bias = random_features(sizes, dim, seed=seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    W, b = tensors(weight, bias)
    before = statistics_of(features, labels, len(sizes))
    rotated = statistics_of(features @ rotation, labels, len(sizes)), torch.from_numpy(weight @ rotation)
    expected = collapse_metrics(before, W) | wider_metrics(before, W, b)
    measured = collapse_metrics(*rotated) | wider_metrics(*rotated, b)
    assert measured == pytest.approx(expected, rel=1e-8, abs=1e-12, nan_ok=True)
    terms = mse_decomposition(before, W, b, 1e-3)
    assert mse_decomposition(*rotated, b, 1e-3) == pytest.approx(terms, rel=1e-8, abs=1e-14)
    scaled = statistics_of(scale * features, labels, len(sizes))
    measured = collapse_metrics(scaled, 3 * W) | wider_metrics(scaled, 3 * W, b, SCALE_FREE)
    assert measured == pytest.approx(
        {name: expected[name] for name in measured}, rel=1e-8, abs=1e-12, nan_ok=True
    )
    assert torch.allclose(snr_spectrum(scaled), snr_spectrum(before), rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=9),
    dim=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([1.0, 1e-3, 1e-6]),
    ridge=st.sampled_from([0.0, 1e-6, 2.5e-3, 1.0]),
)
def test_the_identity_of_the_decomposition(sizes, dim, seed, spread, ridge):
    """For both routes: C up to 9 and P from 1."""
    features, labels, weight, bias = random_features(sizes, dim, spread, seed)
    terms = mse_decomposition(statistics_of(features, labels, len(sizes), 3), *tensors(weight, bias), ridge)
    total = mse_loss(*tensors(features, labels, weight, bias), ridge)
    assert terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"] == pytest.approx(total, rel=1e-9)
    assert terms["perp_share"] == pytest.approx(terms["mse_perp"] / total, rel=1e-9)
    assert min(terms.values()) >= 0


@settings(max_examples=20, deadline=None)
@given(
    num_classes=st.integers(2, 12),
    extra=st.integers(0, 5),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_a_simplex_etf_is_collapsed_whatever_its_size(num_classes, extra, seed, scale):
    etf = simplex_etf(num_classes, num_classes + extra, seed)
    labels = np.repeat(np.arange(num_classes), 3)
    stats = statistics_of(scale * etf[labels], labels, num_classes)
    W, b = tensors(etf, np.zeros(num_classes))
    assert max(collapse_metrics(stats, W).values()) < 1e-12 or num_classes == 2
    zero = set(find_measures()) - {
        "nc3_cosine",
        "nc3_subspace_angle",
        "rank",
        "effective_rank",
        *(n for n in find_measures() if n.startswith(("minority", "majority"))),
        *(n for n in find_measures() if "norm" in n),
    }
    measured = wider_metrics(stats, W, b)
    assert max(measured[name] for name in zero) < 1e-11 * max(scale, 1)
    assert measured["nc3_cosine"] == pytest.approx(1)
    assert measured["nc3_subspace_angle"] == pytest.approx(1)
    assert measured["rank"] == num_classes - 1
    assert measured["effective_rank"] == pytest.approx(num_classes - 1)
