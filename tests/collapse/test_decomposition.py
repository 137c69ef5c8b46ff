import mpmath
import numpy as np
import pytest
import torch
from helpers import reference
from helpers.samples import SIZES, random_features, statistics_of

from nc_runner.collapse import least_squares_classifier, mse_decomposition, mse_loss


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("ridge", [0.0, 1e-5, 2.5e-3, 1.0])
def test_terms_equal_the_numpy_reference(sizes, ridge):
    features, labels, weight, bias = random_features(sizes, dim=6)
    stats = statistics_of(features, labels, len(sizes), 3)
    measured = mse_decomposition(stats, *tensors(weight, bias), ridge)
    expected = reference.mse_decomposition(features, labels, weight, bias, ridge)
    assert measured == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("ridge", [0.0, 2.5e-3])
def test_the_least_squares_classifier_equals_the_normal_equations(sizes, ridge):
    features, labels, _, _ = random_features(sizes, dim=6)
    weight, bias = least_squares_classifier(statistics_of(features, labels, len(sizes)), ridge)
    expected_weight, expected_bias = reference.least_squares_classifier(features, labels, len(sizes), ridge)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(bias, expected_bias, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("ridge", [0.0, 1e-9, 2.5e-3])
def test_the_identity_holds_on_the_samples_themselves(spread, ridge):
    features, labels, weight, bias = random_features([30, 8, 22], dim=7, spread=spread)
    terms = mse_decomposition(statistics_of(features, labels, 3, 4), *tensors(weight, bias), ridge)
    sampled = mse_loss(*tensors(features, labels, weight, bias), ridge)
    assert sampled == pytest.approx(reference.mse_loss(features, labels, weight, bias, ridge), rel=1e-12)
    total = terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"]
    assert abs(sampled - total) <= 1e-10 * sampled


def high_precision_decomposition(features, labels, num_classes, ridge):
    """L_NC1 and L_NC2/3 by their definitions, in 60 digits."""
    with mpmath.workdps(60):
        N, P = features.shape
        x = mpmath.matrix(np.hstack([features, np.ones((N, 1))]).tolist())
        y = mpmath.matrix(np.eye(num_classes)[labels].tolist())
        A = x.T * x / N + mpmath.mpf(ridge) * mpmath.eye(P + 1)
        V = (A**-1 * (x.T * y / N)).T
        nc1 = ridge * mpmath.mnorm(V, "f") ** 2 / 2
        nc23 = mpmath.mpf(0)
        for c in range(num_classes):
            rows = [mpmath.matrix(x[i, :]).T for i in range(N) if labels[i] == c]
            mean = sum(rows[1:], rows[0]) / len(rows)
            for row in rows:
                nc1 += mpmath.norm(V * (row - mean)) ** 2 / (2 * N)
            error = V * mean
            error[c] -= 1
            nc23 += mpmath.norm(error) ** 2 * len(rows) / (2 * N)
        return float(nc1), float(nc23)


@pytest.mark.parametrize("ridge", [0.0, 1e-12, 2.5e-3])
@pytest.mark.parametrize("sizes", [[6, 6, 6], [3, 8, 4]], ids=["balanced", "unequal"])
def test_terms_hold_in_deep_collapse(sizes, ridge):
    """At a spread of 1e-6 and no ridge L_NC2/3 is about 1e-24: no difference of rounded numbers shows it."""
    features, labels, weight, bias = random_features(sizes, dim=4, spread=1e-6)
    terms = mse_decomposition(statistics_of(features, labels, 3), *tensors(weight, bias), ridge)
    nc1, nc23 = high_precision_decomposition(features, labels, 3, ridge)
    assert terms["mse_nc1"] == pytest.approx(nc1, rel=1e-6)
    assert terms["mse_nc23"] == pytest.approx(nc23, rel=1e-6)
    assert ridge > 1e-6 or nc23 < 1e-20


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
def test_the_least_squares_classifier_has_no_perpendicular_loss_and_is_a_minimum(ridge):
    features, labels, _, _ = random_features([20, 30, 10], dim=5)
    stats = statistics_of(features, labels, 3)
    weight, bias = least_squares_classifier(stats, ridge)
    at_minimum = mse_decomposition(stats, weight, bias, ridge)
    assert at_minimum["mse_perp"] < 1e-20
    for _ in range(5):
        nudged = mse_decomposition(stats, weight + 0.01 * torch.randn_like(weight), bias, ridge)
        assert nudged["mse_total"] > at_minimum["mse_total"]
        assert nudged["mse_ls"] == at_minimum["mse_ls"]


@pytest.mark.parametrize("ridge", [0.0, 2.5e-3])
@pytest.mark.parametrize("dim", [5, 40, 90], ids=["dead features", "few samples", "very few samples"])
def test_a_singular_within_covariance_is_allowed(dim, ridge):
    features, labels, weight, bias = random_features([6, 4, 5], dim=dim)
    features[:, :2] = 0
    x = np.hstack([features, np.ones((len(features), 1))])
    root = np.vstack([x / np.sqrt(len(x)), np.sqrt(ridge) * np.eye(dim + 1)])
    goal = np.vstack([np.eye(3)[labels] / np.sqrt(len(x)), np.zeros((dim + 1, 3))])
    V = np.linalg.lstsq(root, goal, rcond=1e-12)[0].T  # of least norm
    stats = statistics_of(features, labels, 3)
    W, b = least_squares_classifier(stats, ridge)
    np.testing.assert_allclose(torch.column_stack([W, b]), V, atol=1e-8 * np.abs(V).max())
    terms = mse_decomposition(stats, *tensors(weight, bias), ridge)
    assert terms["mse_ls"] == pytest.approx(
        reference.mse_loss(features, labels, V[:, :-1], V[:, -1], ridge), rel=1e-8, abs=1e-14
    )
    sampled = mse_loss(*tensors(features, labels, weight, bias), ridge)
    assert terms["mse_ls"] + terms["mse_perp"] == pytest.approx(sampled, rel=1e-8)


def test_classes_without_samples_take_no_part():
    features, labels, weight, bias = random_features([20, 30], dim=4)
    labels = labels * 2  # classes 0 and 2 of three
    weight, bias = np.vstack([weight, weight[:1]]), np.append(bias, 0.3)
    stats = statistics_of(features, labels, 3)
    terms = mse_decomposition(stats, *tensors(weight, bias), 1e-3)
    sampled = mse_loss(*tensors(features, labels, weight, bias), 1e-3)
    assert terms["mse_ls"] + terms["mse_perp"] == pytest.approx(sampled, rel=1e-12)
    expected = reference.least_squares_classifier(features, labels, 3, 1e-3)
    np.testing.assert_allclose(least_squares_classifier(stats, 1e-3)[0], expected[0], rtol=1e-9, atol=1e-15)


def test_balanced_and_unregularised_terms_follow_the_papers_closed_form():
    """L_LS = 1/2 sum_j 1/(C + w_j^2), with w the SNR spectrum."""
    features, labels, weight, bias = random_features([25] * 4, dim=6)
    terms = mse_decomposition(statistics_of(features, labels, 4), *tensors(weight, bias), 0.0)
    snr = reference.snr_spectrum(features, labels, 4)
    assert terms["mse_ls"] == pytest.approx(0.5 * np.sum(1 / (4 + snr**2)), rel=1e-10)


def test_what_cannot_be_is_refused():
    features, labels, _, _ = random_features([9, 9], dim=3)
    stats = statistics_of(features, labels, 2)
    for ridge in (-1e-3, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="ridge"):
            least_squares_classifier(stats, ridge)
    with pytest.raises(ValueError, match="weight"):
        mse_decomposition(stats, torch.zeros(3, 2), None, 0.0)
    with pytest.raises(ValueError, match="no samples"):
        least_squares_classifier(statistics_of(features[:0], labels[:0], 2), 0.1)
