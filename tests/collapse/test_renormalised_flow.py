"""The renormalised gradient flow: its gradient, its projection, and that it obeys the closed laws."""

import numpy as np
import pytest
import torch

from nc_runner.collapse import (
    ClassStatistics,
    central_path,
    initial_features,
    least_squares_classifier,
    mse_decomposition,
    simulate_flow,
    snr_spectrum,
)
from nc_runner.collapse.flow import least_squares_gradient, renormalise, velocity

LAWS = ("projected", "raw")
SIZES = [(3, 6, 10), (10, 16, 20), pytest.param(10, 64, 50, marks=pytest.mark.slow)]
SMALL = (3, 2, 4)  # small enough to write out the tangent space


def spectrum_for(C, P):
    return torch.logspace(0.6, -1, min(C - 1, P), dtype=torch.float64)


def start(C, P, n, seed=0):
    return initial_features(spectrum_for(C, P), C, P, n, seed)


def statistics(features):
    C, n, P = features.shape
    stats = ClassStatistics(C, P)
    stats.update(features.flatten(0, 1), torch.arange(C).repeat_interleave(n))
    return stats


def any_features(C=3, P=4, n=6):
    """Features whose Sigma_W is not I and whose global mean is not 0."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(P, P, dtype=torch.float64, generator=generator)
    noise = torch.randn(C, n, P, dtype=torch.float64, generator=generator)
    return noise @ mixing + 2 * torch.randn(C, 1, P, dtype=torch.float64, generator=generator) + 0.7


def least_squares_loss(features):
    """L_LS by its definition: the residual of regressing the one-hot labels on the features and 1."""
    C, n, _ = features.shape
    targets = torch.eye(C, dtype=torch.float64).repeat_interleave(n, dim=0)
    x = torch.cat([features.flatten(0, 1), features.new_ones(C * n, 1)], dim=1)
    residual = targets - x @ torch.linalg.solve(x.T @ x, x.T @ targets)
    return residual.square().sum() / (2 * C * n)


def test_the_gradient_is_that_of_the_least_squares_residual():
    features = any_features().requires_grad_()
    (expected,) = torch.autograd.grad(least_squares_loss(features), features)
    np.testing.assert_allclose(least_squares_gradient(features.detach()), expected, rtol=1e-9, atol=1e-14)


def test_the_projected_velocity_is_the_gradient_less_its_part_normal_to_constant_covariance():
    """The normal space, written out: the gradients of all entries of Sigma_W, whose span is left out."""
    features = start(*SMALL)
    flat = features.flatten()

    def covariance(flat):
        h = flat.reshape(features.shape)
        deviations = (h - h.mean(dim=1, keepdim=True)).flatten(0, 1)
        return (deviations.T @ deviations / len(deviations)).flatten()

    normals = torch.autograd.functional.jacobian(covariance, flat)  # (P^2, C n P)
    gradient = least_squares_gradient(features).flatten()
    normal_part = normals.T @ torch.linalg.pinv(normals.T) @ gradient
    assert normal_part.norm() > 0.1 * gradient.norm()
    expected = normal_part - gradient
    np.testing.assert_allclose(velocity(features, "projected").flatten(), expected, atol=1e-14)


def test_the_raw_velocity_is_the_limit_of_gradient_steps_each_followed_by_whitening():
    features = any_features()
    features = renormalise(features)
    errors = []
    for step in (1e-3, 1e-4):
        moved = renormalise(features - step * least_squares_gradient(features))
        errors.append(float(((moved - features) / step - velocity(features, "raw")).norm()))
    assert errors[1] < 0.12 * errors[0] < 1e-4
    assert (velocity(features, "raw") - velocity(features, "projected")).norm() > 1e-3


@pytest.mark.parametrize(("C", "P", "n"), [*SIZES, (6, 3, 5), (2, 1, 2)])
def test_initial_features_have_unit_covariance_and_the_spectrum_that_was_asked_for(C, P, n):
    features = start(C, P, n)
    assert features.shape == (C, n, P)
    stats = statistics(features)
    np.testing.assert_allclose(stats.within_covariance, np.eye(P), atol=1e-13)
    np.testing.assert_allclose(snr_spectrum(stats)[: min(C - 1, P)], spectrum_for(C, P), rtol=1e-12)
    assert torch.equal(features, start(C, P, n))
    assert not torch.allclose(features, start(C, P, n, seed=1))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("C", "P", "n"), SIZES)
def test_simulated_spectra_lie_on_the_closed_form_over_five_decades(C, P, n, law):
    """And all the while Sigma_W = I, the singular vectors and the loss formula stay."""
    features = start(C, P, n)
    times = torch.logspace(-1, 4, 6, dtype=torch.float64) * n * C**2
    exact = central_path(spectrum_for(C, P), times, C, n, law)
    other = central_path(spectrum_for(C, P), times, C, n, LAWS[1 - LAWS.index(law)])
    u, _, vt = torch.linalg.svd(features.mean(dim=1), full_matrices=False)
    for point, expected, wrong in zip(simulate_flow(features, times, law), exact, other, strict=True):
        stats = statistics(point.features)
        spectrum = snr_spectrum(stats)
        np.testing.assert_allclose(spectrum, expected, rtol=1e-6)
        assert (spectrum / wrong - 1).abs().max() > 5e-3
        np.testing.assert_allclose(stats.within_covariance, np.eye(P), atol=1e-12)
        turned = (u.T @ point.features.mean(dim=1) @ vt.T)[: C - 1, : C - 1]
        off_diagonal = turned - torch.diag(turned.diagonal())
        assert off_diagonal.norm() < 1e-7 * turned.norm()
        weight, bias = least_squares_classifier(stats, 0.0)
        loss = mse_decomposition(stats, weight, bias, 0.0)["mse_ls"]
        assert loss == pytest.approx(float((0.5 / (C + spectrum.square())).sum()), rel=1e-9)


@pytest.mark.parametrize(("law", "exponent"), [("projected", 1 / 4), ("raw", 1 / 2)])
def test_measured_exponents_tend_to_a_quarter_and_ratios_to_one(law, exponent):
    C, P, n = SIZES[0]
    times = torch.tensor([1e4, 1e5, 1e6, 1e7], dtype=torch.float64) * n * C**2
    spectra = torch.stack(
        [snr_spectrum(statistics(point.features)) for point in simulate_flow(start(C, P, n), times, law)]
    )
    slopes = spectra.log().diff(dim=0) / np.log(10)
    distance = (slopes - exponent).abs().amax(dim=1)
    assert (distance.diff() < 0).all()
    assert distance[-1] < 1e-3
    assert spectra[-1].min() / spectra[-1].max() > 1 - 1e-4


def test_deviations_from_the_class_means_do_not_move():
    """The gradient's part along them is wholly normal to {Sigma_W = I}; none of it may be left."""
    features = start(*SIZES[0])
    (point,) = simulate_flow(features, torch.tensor([1e4]))
    before, after = (h - h.mean(dim=1, keepdim=True) for h in (features, point.features))
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert (point.features - features).norm() > 1


def test_a_tighter_tolerance_comes_closer_and_takes_more_steps():
    C, P, n = SIZES[0]
    times = torch.tensor([1e3], dtype=torch.float64)
    exact = central_path(spectrum_for(C, P), times, C, n)
    errors, steps = [], []
    for tolerance in (1e-5, 1e-8):
        (point,) = simulate_flow(start(C, P, n), times, tolerance=tolerance)
        errors.append(float((snr_spectrum(statistics(point.features)) / exact - 1).abs().max()))
        steps.append(point.steps)
    assert errors[1] < 0.05 * errors[0]
    assert steps[1] > steps[0]


def test_features_of_any_covariance_are_renormalised_first():
    features = any_features()
    (point,) = simulate_flow(features, torch.tensor([0.0]))
    np.testing.assert_allclose(
        snr_spectrum(statistics(point.features)), snr_spectrum(statistics(features)), rtol=1e-10
    )
    np.testing.assert_allclose(statistics(point.features).within_covariance, np.eye(4), atol=1e-12)
    assert point.steps == 0


@pytest.mark.parametrize(
    ("sizes", "length", "message"),
    [
        ((3, 6, 2), 2, "no more features"),
        ((3, 6, 10), 3, "needs min"),
        ((1, 6, 10), 0, "2 classes"),
    ],
)
def test_impossible_initial_features_are_refused(sizes, length, message):
    with pytest.raises(ValueError, match=message):
        initial_features(torch.ones(length), *sizes)


def test_impossible_flows_are_refused():
    features = start(*SIZES[0])
    for times in ([2.0, 1.0], [-1.0], [float("inf")]):
        with pytest.raises(ValueError, match="times"):
            list(simulate_flow(features, torch.tensor(times)))
    with pytest.raises(ValueError, match="law"):
        list(simulate_flow(features, torch.tensor([1.0]), law="other"))
    with pytest.raises(ValueError, match="singular"):
        list(simulate_flow(torch.ones(2, 3, 4), torch.tensor([1.0])))
