import numpy as np
import pytest
import reference
import torch
from samples import SIZES, random_features, statistics_of

from nc_runner.collapse import snr_spectrum


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
