"""Least squares without a bias, and with a ridge for the weight and another for the bias."""

import math

import mpmath
import numpy as np
import pytest
import torch
from helpers import high_precision, reference
from helpers.samples import SIZES, low_rank_features, random_features, statistics_of

from nc_runner.collapse import (
    ClassStatistics,
    least_squares,
    least_squares_classifier,
    mse_decomposition,
    mse_loss,
)
from nc_runner.collapse.ridges import Ridges

SHAPES = {
    "few features": ([4, 5, 6], 4),
    "more classes than features": ([3] * 7, 3),
    "as many features as classes": ([4, 3, 5], 3),
    "few samples": ([3, 2, 4], 20),
    "a class of one sample": ([1, 5, 6], 4),
}
PAIRS = [(2.5e-3, 0.0), (2.5e-3, 1e-1), (0.0, 2.5e-3), (1e-9, 1e-3)]


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def compared_with_60_digits(features, labels, weight, bias, ridge, tolerance=1e-6):
    stats = statistics_of(features, labels, len(weight), batches=3)
    with mpmath.workdps(high_precision.DIGITS):
        sample = high_precision.Sample(features, labels, weight, bias)
        expected = high_precision.mse_decomposition(sample, ridge)
        expected = {name: float(value) for name, value in expected.items()}
    given = [*tensors(weight), None if bias is None else tensors(bias)[0]]
    assert mse_decomposition(stats, *given, ridge) == pytest.approx(expected, rel=tolerance, abs=1e-26)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("spread", [0.3, 1e-4, 1e-6])
@pytest.mark.parametrize("ridge", [0.0, 1e-9, 2.5e-3])
def test_without_a_bias_the_terms_hold_against_60_digits(shape, spread, ridge):
    sizes, dim = shape
    features, labels, weight, _ = random_features(sizes, dim, spread)
    compared_with_60_digits(features, labels, weight, None, ridge)


@pytest.mark.parametrize("kind", ["dead", "constant", "copied", "coinciding means"])
@pytest.mark.parametrize("ridge", [0.0, 2.5e-3])
def test_without_a_bias_features_that_do_not_vary_are_taken_as_they_are(kind, ridge):
    """A feature that is the same number for all samples serves as a bias does."""
    features, labels, weight, _ = random_features([4, 5, 6], dim=5)
    if kind == "coinciding means":
        features[labels == 1] = features[labels == 0][:1]
        features[labels == 0] = features[labels == 0][:1]
    else:
        features[:, 3] = {"dead": 0.0, "constant": 2.0, "copied": features[:, 1]}[kind]
    compared_with_60_digits(features, labels, weight, None, ridge)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("ridge", [0.0, 1e-5, 2.5e-3, 1.0])
@pytest.mark.parametrize("dim", [6, 90])
def test_the_minimiser_without_a_bias_is_that_of_a_direct_solve(sizes, ridge, dim):
    features, labels, _, _ = random_features(sizes, dim)
    stats = statistics_of(features, labels, len(sizes))
    weight, bias = least_squares_classifier(stats, ridge, bias=False)
    assert bias is None
    expected = reference.least_squares_weight(features, labels, len(sizes), ridge)
    np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("ridge", [1e-5, 2.5e-3, 1.0])
def test_the_exact_minimiser_without_a_bias_is_on_the_central_path(sizes, ridge):
    features, labels, _, _ = random_features(sizes, dim=6)
    stats = statistics_of(features, labels, len(sizes))
    weight = torch.from_numpy(reference.least_squares_weight(features, labels, len(sizes), ridge))
    terms = mse_decomposition(stats, weight, None, ridge)
    assert abs(terms["perp_share"]) < 1e-10
    assert terms["path_distance"] < 1e-6
    with_bias_zero = mse_decomposition(stats, weight, torch.zeros(len(sizes)), ridge)
    assert with_bias_zero["perp_share"] > 1e-4  # a bias that is 0 is one that could be better


@pytest.mark.parametrize("ridge", PAIRS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("spread", [0.3, 1e-4])
def test_a_ridge_for_each_block_holds_against_60_digits(shape, spread, ridge):
    sizes, dim = shape
    compared_with_60_digits(*random_features(sizes, dim, spread), ridge)


@pytest.mark.parametrize("ridge", [*PAIRS, (0.0, 0.0), (1e-3, 1e-3)])
def test_a_constant_feature_and_the_bias_share_the_work_as_their_ridges_say(ridge):
    features, labels, weight, bias = random_features([4, 5, 6], dim=4)
    features[:, 2] = 2.0
    compared_with_60_digits(features, labels, weight, bias, ridge)


@pytest.mark.parametrize("ridge", PAIRS)
def test_the_classifier_of_two_ridges_solves_the_normal_equations(ridge):
    features, labels, _, _ = random_features([9, 30, 12], dim=6)
    weight, bias = least_squares_classifier(statistics_of(features, labels, 3), ridge)
    expected = reference.least_squares_classifier(features, labels, 3, ridge)
    np.testing.assert_allclose(weight, expected[0], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(bias, expected[1], rtol=1e-8, atol=1e-12)


def test_one_ridge_and_the_same_for_each_block_are_equal_to_the_bit():
    features, labels, weight, bias = random_features([9, 30, 12], dim=6)
    stats = statistics_of(features, labels, 3)
    given = tensors(weight, bias)
    assert mse_decomposition(stats, *given, 1e-3) == mse_decomposition(stats, *given, (1e-3, 1e-3))


@pytest.mark.parametrize("ridge", [0.0, 1e-9, 2.5e-3, 1.0])
@pytest.mark.parametrize("spread", [0.3, 1e-4])
def test_both_routes_agree_without_a_bias(ridge, spread):
    features, labels, _, _ = random_features([1 + 3 * (c % 5) for c in range(40)], dim=12, spread=spread)
    stats, ridges = statistics_of(features, labels, 40), Ridges.of(ridge, bias=False)
    primal, dual = least_squares.primal(stats, ridges), least_squares.dual(stats, ridges)
    assert float((primal.weight - dual.weight).norm() / primal.weight.norm()) < 1e-6
    assert not primal.bias.any()
    assert not dual.bias.any()
    assert float(primal.nc1) == pytest.approx(float(dual.nc1), rel=1e-6)
    assert float(primal.nc23) == pytest.approx(float(dual.nc23), rel=1e-9)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ridge", [0.0, 1e-15, 2.5e-3])
def test_the_terms_add_up_on_features_that_hold_rounding_errors(spread, dtype, ridge):
    features, labels = low_rank_features(400, 10, 20, 80, spread, dtype)
    stats = ClassStatistics(10, 80)
    stats.update(features, labels)
    generator = torch.Generator().manual_seed(0)
    best, _ = least_squares_classifier(stats, ridge, bias=False)
    for weight in (torch.randn(10, 80, generator=generator), best, best.float(), 0 * best):
        terms = mse_decomposition(stats, weight, None, ridge)
        total = mse_loss(features, labels, weight, None, ridge)
        named = terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"]
        assert abs(total - named) <= 1e-6 * total + 1e-18
        assert terms["perp_share"] <= 1 + 1e-9


def test_what_is_no_ridge_is_an_error():
    features, labels, _, _ = random_features([9, 9], dim=3)
    stats = statistics_of(features, labels, 2)
    for ridge in ((-1e-3, 0.0), (0.0, math.nan), (0.0, math.inf)):
        with pytest.raises(ValueError, match="ridge"):
            least_squares_classifier(stats, ridge)
