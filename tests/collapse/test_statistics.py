import numpy as np
import pytest
import torch
from helpers import reference
from helpers.samples import SIZES, random_features, statistics_of

from nc_runner.collapse import ClassStatistics
from nc_runner.collapse import statistics as module


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("batches", [1, 7, 30])
def test_streamed_statistics_equal_their_definition(sizes, batches):
    features, labels, _, _ = random_features(sizes, dim=6)
    stats = statistics_of(features, labels, len(sizes), batches)
    assert stats.counts.tolist() == sizes
    assert stats.total == len(labels)
    np.testing.assert_allclose(stats.means, reference.class_means(features, labels, len(sizes)), rtol=1e-13)
    within = reference.within_covariance(features, labels, len(sizes))
    np.testing.assert_allclose(stats.within_covariance, within, rtol=1e-12, atol=1e-15)


def test_within_class_scatter_survives_deep_collapse():
    """Float64 one-pass formulas lose the scatter at this spread; see METRICS' yardstick."""
    features, labels, _, _ = random_features([50] * 4, dim=5, spread=1e-6)
    within = reference.within_covariance(features, labels, 4)
    stats = statistics_of(features, labels, 4, batches=13)
    np.testing.assert_allclose(stats.within_covariance, within, rtol=1e-6, atol=1e-8 * np.trace(within))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_merging_parts_in_any_order_equals_one_pass(order):
    features, labels, _, _ = random_features([20, 5, 30], dim=4)
    parts = [slice(0, 10), slice(10, 12), slice(12, None)]
    merged = ClassStatistics(3, 4)
    for k in order:
        merged.merge(statistics_of(features[parts[k]], labels[parts[k]], 3))
    whole = statistics_of(features, labels, 3)
    np.testing.assert_allclose(merged.means, whole.means, rtol=1e-13)
    np.testing.assert_allclose(merged.within_covariance, whole.within_covariance, rtol=1e-12, atol=1e-14)


def test_large_batches_are_worked_off_in_blocks_with_equal_results(monkeypatch):
    features, labels, _, _ = random_features([40] * 3, dim=4)
    whole = statistics_of(features, labels, 3)
    monkeypatch.setattr(module, "ROWS", 11)
    blocked = statistics_of(features, labels, 3)
    np.testing.assert_allclose(blocked.within_covariance, whole.within_covariance, rtol=1e-12)


def test_a_class_without_samples_has_no_mean():
    features, labels, _, _ = random_features([5, 5], dim=3)
    stats = statistics_of(features, labels, 3)
    assert stats.means.isnan().all(dim=1).tolist() == [False, False, True]
    assert stats.within_covariance.isfinite().all()


def test_float32_and_bfloat16_features_are_accumulated_in_float64():
    features, labels, _, _ = random_features([30] * 3, dim=4)
    for dtype in (torch.float32, torch.bfloat16):
        rounded = torch.from_numpy(features).to(dtype)
        stats = ClassStatistics(3, 4)
        stats.update(rounded, torch.from_numpy(labels))
        exact = reference.within_covariance(rounded.double().numpy(), labels, 3)
        np.testing.assert_allclose(stats.within_covariance, exact, rtol=1e-12, atol=1e-14)


def test_no_autograd_graph_is_kept():
    features = torch.randn(6, 2, requires_grad=True)
    stats = ClassStatistics(2, 2)
    stats.update(features, torch.tensor([0, 1] * 3))
    assert not stats.means.requires_grad
    assert not stats.within_covariance.requires_grad


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(ValueError, match=r"0\.\.2"):
        ClassStatistics(3, 2).update(torch.zeros(2, 2), torch.tensor(labels))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="features"):
        ClassStatistics(3, 2).update(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="same number"):
        ClassStatistics(3, 2).merge(ClassStatistics(3, 4))
    with pytest.raises(ValueError, match="2 classes"):
        ClassStatistics(1, 2)
