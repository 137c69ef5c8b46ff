import mpmath
import numpy as np
import pytest
import torch
from helpers import reference
from helpers.samples import SIZES, random_features, statistics_of

from nc_runner.collapse import central_path, phi, snr_spectrum


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_the_spectrum_equals_the_numpy_reference(sizes, spread):
    features, labels, _, _ = random_features(sizes, dim=6, spread=spread)
    spectrum = snr_spectrum(statistics_of(features, labels, len(sizes), 2))
    expected = reference.snr_spectrum(features, labels, len(sizes))
    assert spectrum.shape == (len(sizes) - 1,)
    np.testing.assert_allclose(spectrum[: len(expected)], expected, rtol=1e-6 if spread < 1 else 1e-10)
    assert spectrum[len(expected) :].tolist() == [0.0] * (len(spectrum) - len(expected))


def test_the_spectrum_does_not_see_the_scale_of_single_features():
    """Sigma_W^-1/2 M changes by a rotation only; a nearly dead feature must not cost digits."""
    features, labels, _, _ = random_features([30] * 3, dim=5)
    before = snr_spectrum(statistics_of(features, labels, 3))
    after = snr_spectrum(statistics_of(features * np.array([1, 1e-9, 1e6, 1, 1e-4]), labels, 3))
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_dead_features_change_nothing():
    features, labels, _, _ = random_features([30] * 3, dim=5)
    dead = np.hstack([features, np.full((len(features), 2), 0.7)])
    np.testing.assert_allclose(
        snr_spectrum(statistics_of(dead, labels, 3)),
        snr_spectrum(statistics_of(features, labels, 3)),
        rtol=1e-9,
    )


def test_a_direction_that_separates_without_noise_is_infinitely_strong():
    features, labels, _, _ = random_features([10] * 3, dim=4)
    separating = np.hstack([features, (labels == 2).astype(float)[:, None]])
    spectrum = snr_spectrum(statistics_of(separating, labels, 3))
    assert torch.isinf(spectrum).tolist() == [True, False]
    assert spectrum[1] > 0


def test_a_class_without_samples_leaves_no_spectrum():
    features, labels, _, _ = random_features([10] * 2, dim=4)
    assert snr_spectrum(statistics_of(features, labels, 3)).isnan().all()


@pytest.mark.parametrize("dim", [20, 200], ids=["few samples", "far fewer samples than features"])
def test_classes_apart_in_more_dimensions_than_samples_vary_in_are_infinitely_strong(dim):
    features, labels, _, _ = random_features([6] * 3, dim=dim)
    assert torch.isinf(snr_spectrum(statistics_of(features, labels, 3))).all()


def test_few_samples_whose_classes_differ_only_where_they_vary():
    """Three informative features in a random 3-dimensional subspace of R^200: the spectrum is theirs."""
    features, labels, _, _ = random_features([6] * 3, dim=3)
    frame = np.linalg.qr(np.random.default_rng(3).normal(size=(200, 3)))[0]
    spectrum = snr_spectrum(statistics_of(features @ frame.T, labels, 3))
    np.testing.assert_allclose(spectrum, reference.snr_spectrum(features, labels, 3), rtol=1e-8)


COEFFICIENTS = {"projected": lambda C: (C**2, C, 0.25), "raw": lambda C: (C**2, C / 2, 0)}
SPECTRUM = torch.tensor([30.0, 3.0, 1.0, 0.3, 1e-3], dtype=torch.float64)


def rate(omega, C, n, law):
    """d omega / dt as the flow of L_LS gives it."""
    if law == "projected":
        return omega / (n * (C + omega**2) ** 2)
    return omega / (n * C * (C + omega**2))


@pytest.mark.parametrize("law", COEFFICIENTS)
def test_phi_is_the_sum_of_a_logarithm_a_square_and_a_fourth_power(law):
    a, b, c = COEFFICIENTS[law](7)
    expected = [a * np.log(w) + b * w**2 + c * w**4 for w in SPECTRUM.tolist()]
    np.testing.assert_allclose(phi(SPECTRUM, 7, law), expected, rtol=1e-14)


@pytest.mark.parametrize("law", COEFFICIENTS)
@pytest.mark.parametrize(("C", "n"), [(2, 1), (10, 50), (1000, 3)])
def test_the_closed_form_is_the_root_to_machine_precision_over_forty_decades(law, C, n):
    times = torch.tensor([0.0, 1e-12, 1e-3, 1.0, 1e3, 1e6, 1e12, 1e28], dtype=torch.float64)
    found = central_path(SPECTRUM, times, C, n, law)
    assert found.shape == (8, 5)
    with mpmath.workdps(50):
        a, b, c = COEFFICIENTS[law](C)

        def value(x):
            return a * x + b * mpmath.exp(2 * x) + c * mpmath.exp(4 * x)

        for j, start in enumerate(SPECTRUM.tolist()):
            x0 = mpmath.log(mpmath.mpf(start))
            for i, t in enumerate(times.tolist()):
                target = value(x0) + mpmath.mpf(t) / n
                # from the found root, Newton at 50 digits: it must hardly move
                x = mpmath.log(mpmath.mpf(float(found[i, j])))
                for _ in range(3):
                    x -= (value(x) - target) / (a + 2 * b * mpmath.exp(2 * x) + 4 * c * mpmath.exp(4 * x))
                assert abs(mpmath.exp(x) / float(found[i, j]) - 1) < 3e-15 * max(1, abs(float(x0)))


@pytest.mark.parametrize("law", COEFFICIENTS)
def test_the_closed_form_solves_the_differential_equation(law):
    C, n = 10, 20
    times = torch.logspace(-2, 8, 41, dtype=torch.float64)
    step = 1e-4
    before = central_path(SPECTRUM, times * (1 - step), C, n, law)
    after = central_path(SPECTRUM, times * (1 + step), C, n, law)
    expected = rate(central_path(SPECTRUM, times, C, n, law), C, n, law)
    moved = (after - before) / before > 1e-9  # below, differences are rounding
    assert moved.sum() > 100
    measured = (after - before) / (2 * step * times[:, None])
    np.testing.assert_allclose(measured[moved], expected[moved], rtol=1e-5)


@pytest.mark.parametrize(("law", "exponent"), [("projected", 1 / 4), ("raw", 1 / 2)])
def test_the_exponents_tend_to_a_quarter_and_those_of_raw_steps_to_a_half(law, exponent):
    times = torch.logspace(4, 14, 11, dtype=torch.float64)
    spectra = central_path(SPECTRUM[1:], times, 3, 10, law)
    slopes = spectra.log().diff(dim=0) / np.log(10)
    distance = (slopes - exponent).abs().amax(dim=1)
    assert (distance.diff() < 0).all()
    assert distance[-1] < 1e-4
    assert (spectra[-1].min() / spectra[-1].max()) > 0.9999


def test_all_phi_advance_alike_and_at_the_rate_one_over_n():
    times = torch.tensor([0.0, 5.0, 5e6], dtype=torch.float64)
    advance = phi(central_path(SPECTRUM, times, 10, 20), 10).diff(dim=0)
    np.testing.assert_allclose(advance[0], 5 / 20, rtol=1e-9)
    np.testing.assert_allclose(advance[1], (5e6 - 5) / 20, rtol=1e-9)


def test_a_class_mixture_without_signal_stays_without():
    path = central_path(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1e6]), 3, 10)
    assert path[0].tolist() == [1.0, 0.0]
    assert path[1, 1] == 0.0
    assert path[1, 0] > 10


@pytest.mark.parametrize(
    ("omega0", "times", "C", "n", "law", "message"),
    [
        ([-1.0], [1.0], 3, 10, "raw", "omega0"),
        ([float("inf")], [1.0], 3, 10, "raw", "omega0"),
        ([1.0], [-1.0], 3, 10, "raw", "times"),
        ([1.0], [1.0], 1, 10, "raw", "2 classes"),
        ([1.0], [1.0], 3, 10, "other", "law"),
    ],
)
def test_what_has_no_closed_form_is_refused(omega0, times, C, n, law, message):
    with pytest.raises(ValueError, match=message):
        central_path(torch.tensor(omega0), torch.tensor(times), C, n, law)
