"""Features of low rank up to rounding: the decomposition leaves out what is rounding, and nothing else."""

import numpy as np
import pytest
import torch
from helpers.samples import low_rank_features, random_features, statistics_of

from nc_runner.collapse import (
    ClassStatistics,
    least_squares_classifier,
    mse_decomposition,
    mse_loss,
    snr_spectrum,
)
from nc_runner.collapse.resolved import resolved_directions

FLOAT32 = torch.finfo(torch.float32).eps
RIDGES = [0.0, 1e-30, 1e-14, 1e-9, 2.5e-3]
SHAPES = {  # samples, classes, rank, features
    "rank 32 of 128": (300, 10, 32, 128),
    "few samples": (60, 10, 32, 128),
    "fewer samples than directions": (30, 10, 40, 80),
    "more classes than directions": (300, 30, 9, 24),
    "more classes than features": (300, 30, 5, 12),
    "two classes": (200, 2, 3, 40),
    "full rank": (400, 10, 32, 32),
}


def measured(features, labels, num_classes, **options):
    stats = ClassStatistics(num_classes, features.shape[1], **options)
    stats.update(features, labels)
    return stats


def classifiers(stats, ridge, seed=0):
    """Large and small ones, V_LS, and V_LS as a float32 layer holds it."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(stats.num_classes, stats.dim, generator=generator)
    bias = torch.randn(stats.num_classes, generator=generator)
    W, b = least_squares_classifier(stats, ridge)
    return [(weight, bias), (100 * weight, bias), (0 * weight, 0 * bias), (W, b), (W.float(), b.float())]


def best_loss(features, labels, num_classes, rank):
    """Of all classifiers on the ``rank`` strongest directions of the samples, by NumPy's least squares."""
    centred = features.double().numpy() - features.double().numpy().mean(axis=0)
    targets = np.eye(num_classes)[labels]
    coordinates = centred @ np.linalg.svd(centred, full_matrices=False)[2][:rank].T
    scale = np.linalg.norm(coordinates, axis=0)
    errors = targets - targets.mean(axis=0)
    errors = errors - (coordinates / scale) @ np.linalg.lstsq(coordinates / scale, errors, rcond=None)[0]
    return (errors**2).sum() / len(labels) / 2


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("spread", [1.0, pytest.param(1e-3, marks=pytest.mark.slow), 1e-6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_decomposition_leaves_no_residual(shape, spread, dtype):
    samples, C, rank, dim = shape
    features, labels = low_rank_features(samples, C, rank, dim, spread, dtype)
    stats = measured(features, labels, C)
    for ridge in RIDGES:
        for weight, bias in classifiers(stats, ridge):
            terms = mse_decomposition(stats, weight, bias, ridge)
            total = mse_loss(features, labels, weight, bias, ridge)
            named = terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"]
            assert abs(total - named) <= 1e-6 * total + 1e-18, (ridge, total, named)
            assert total < 1e-14 or terms["perp_share"] <= 1 + 1e-9


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("samples", [100, pytest.param(500, marks=pytest.mark.slow), 3000])
@pytest.mark.parametrize("spread", [1.0, 0.1, 1e-3])
def test_the_least_squares_loss_is_that_of_the_directions_which_hold_more_than_rounding(
    samples, spread, seed
):
    """For a float32 Linear(64, 256) it was 0, and V_LS had a larger loss than the zero classifier."""
    features, labels = low_rank_features(samples, 10, 64, 256, spread, torch.float32, seed)
    stats = measured(features, labels, 10)
    expected = best_loss(features, labels, 10, rank=64)
    weight, bias = least_squares_classifier(stats, 0.0)
    terms = mse_decomposition(stats, torch.zeros(10, 256), None, 0.0)
    assert terms["mse_ls"] == pytest.approx(expected, rel=1e-6)
    assert mse_loss(features, labels, weight, bias, 0.0) == pytest.approx(expected, rel=1e-6)
    assert expected < 0.2 < terms["mse_perp"]
    spectrum = snr_spectrum(stats)
    assert bool(spectrum.isfinite().all())
    assert terms["mse_ls"] == pytest.approx(float((1 / (10 + spectrum.square())).sum()) / 2, rel=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 1e-30, 1e-15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_classifier_that_vanishes_on_the_directions_cut_is_better(ridge, dtype):
    features, labels = low_rank_features(400, 10, 20, 80, 0.5, dtype)
    stats = measured(features, labels, 10)
    resolved = resolved_directions(stats, ridge)
    assert resolved.rounded
    assert resolved.basis.shape[1] == 20
    weight, bias = least_squares_classifier(stats, ridge)
    outside = weight - (weight @ resolved.basis) @ resolved.basis.T
    assert float(outside.norm()) < 1e-12 * float(weight.norm())
    least = mse_loss(features, labels, weight, bias, ridge)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-6, 1e-3, 1.0):
        for _ in range(5):
            step = torch.randn(10, 20, generator=generator, dtype=torch.float64) @ resolved.basis.T
            shift = torch.randn(10, generator=generator, dtype=torch.float64)
            nudged = weight + size * step, bias + size * shift
            assert mse_loss(features, labels, *nudged, ridge) >= least
            assert mse_decomposition(stats, *nudged, ridge)["mse_perp"] > 0


def test_a_classifier_that_fits_rounding_errors_is_told_what_it_gains():
    """It is better than V_LS, which must vanish there: L_perp is below 0, and the terms still add up."""
    features, labels = low_rank_features(300, 10, 8, 200, 1.0, torch.float32)
    stats = measured(features, labels, 10)
    x = torch.cat([features.double(), torch.ones(300, 1)], dim=1)
    targets = torch.nn.functional.one_hot(labels, 10).double()
    weaker = 1e-6 * torch.eye(201, dtype=torch.float64)  # a ridge below which weights would lose the digits
    V = torch.linalg.lstsq(
        torch.cat([x / 300**0.5, weaker]), torch.cat([targets / 300**0.5, weaker[:, :10] * 0])
    )
    weight, bias = V.solution[:-1].T, V.solution[-1]
    terms = mse_decomposition(stats, weight, bias, 0.0)
    total = mse_loss(features, labels, weight, bias, 0.0)
    assert total < (1 - 1e-4) * terms["mse_ls"]
    assert terms["mse_perp"] < 0
    assert terms["mse_ls"] + terms["mse_perp"] == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("spread", [1e-4, 1e-6])
def test_deep_collapse_is_not_cut_away(spread):
    """Far below the rounding of float32, the within-class covariance alone would leave no direction."""
    features, labels = low_rank_features(500, 10, 64, 256, spread, torch.float32)
    stats = measured(features, labels, 10)
    spectrum = snr_spectrum(stats)
    assert 0.1 < float(spectrum[-1]) * spread < 1e2
    weight, bias = least_squares_classifier(stats, 0.0)
    terms = mse_decomposition(stats, weight, bias, 0.0)
    assert terms["mse_ls"] < 10 * spread**2
    assert mse_loss(features, labels, weight, bias, 0.0) == pytest.approx(terms["mse_ls"], rel=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("sizes", [[30] * 4, [4, 50, 9]], ids=["balanced", "unequal"])
def test_nothing_is_cut_where_float64_features_have_full_rank(spread, sizes):
    features, labels, _, _ = random_features(sizes, dim=6, spread=spread)
    for ridge in RIDGES:
        assert resolved_directions(statistics_of(features, labels, len(sizes)), ridge) is None


def test_features_of_very_different_size_are_not_taken_for_rounding_errors():
    features, labels, _, _ = random_features([40, 40, 40], dim=6)
    features[:, 1] *= 1e-9
    features[:, 5] = features[:, 4] + features[:, 3]
    stats = measured(torch.from_numpy(features).float(), torch.from_numpy(labels), 3)
    assert resolved_directions(stats, 0.0).basis.shape[1] == 5
    full = measured(torch.from_numpy(features[:, :5]).float(), torch.from_numpy(labels), 3)
    assert torch.allclose(snr_spectrum(stats), snr_spectrum(full), rtol=1e-5)


def test_the_resolution_is_that_of_the_coarsest_dtype_added_or_merged():
    labels = torch.tensor([0, 1])
    stats = ClassStatistics(2, 3)
    assert stats.resolution == torch.finfo(torch.float64).eps
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        stats.update(torch.randn(2, 3).to(dtype), labels)
        coarsest = torch.bfloat16 if dtype is torch.float16 else dtype
        assert stats.resolution == torch.finfo(coarsest).eps
    fine = measured(torch.randn(2, 3, dtype=torch.float64), labels, 2)
    fine.merge(stats)
    assert fine.resolution == torch.finfo(torch.bfloat16).eps
    copy = ClassStatistics(2, 3)
    for mine, other in zip(copy.tensors, stats.tensors, strict=True):
        mine.copy_(other)
    assert copy.resolution == stats.resolution


@pytest.mark.parametrize("resolution", [0, -1e-7, 1, float("nan")])
def test_a_resolution_that_is_no_share_is_an_error(resolution):
    with pytest.raises(ValueError, match="resolution"):
        ClassStatistics(2, 3, resolution=resolution)


def test_float64_features_that_hold_float32_values_are_told_by_their_resolution():
    features, labels = low_rank_features(500, 10, 64, 256, 1e-2, torch.float32)
    weight = torch.randn(10, 256, generator=torch.Generator().manual_seed(0))
    expected = mse_decomposition(measured(features, labels, 10), weight, None, 0.0)
    held = measured(features.double(), labels, 10, resolution=FLOAT32)
    assert held.resolution == FLOAT32
    assert mse_decomposition(held, weight, None, 0.0) == expected
    unsaid = mse_decomposition(measured(features.double(), labels, 10), weight, None, 0.0)
    assert unsaid["mse_ls"] < 0.9 * expected["mse_ls"]  # it fits the rounding errors, as 192 further features
