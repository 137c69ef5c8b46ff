"""Wrong arguments of the public functions are errors: none broadcasts, none is read as another or as NaN."""

import math

import pytest
import torch

from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    initial_features,
    least_squares_classifier,
    mse_decomposition,
    mse_loss,
    nc1_numerical_rank,
    nc5_ood_orthogonality,
    ncc_accuracy,
    ncc_mismatch,
    phi,
    simulate_flow,
    wider_metrics,
)

C, P, N = 3, 4, 12
LABELS = torch.arange(N) % C
MEANS = 4 * torch.eye(C, P, dtype=torch.float64)
FEATURES = MEANS[LABELS] + 0.1 * torch.randn(N, P, generator=torch.Generator().manual_seed(0))
WEIGHT, BIAS = torch.eye(C, P), torch.zeros(C)


def update(features, labels):
    ClassStatistics(C, P).update(features, labels)


def stats():
    measured = ClassStatistics(C, P)
    measured.update(FEATURES, LABELS)
    return measured


OF_SAMPLES = {
    "update": update,
    "ncc_mismatch": lambda h, y: ncc_mismatch(h, y, MEANS),
    "ncc_accuracy": lambda h, y: ncc_accuracy(h, y, MEANS),
    "nc1_numerical_rank": lambda h, y: nc1_numerical_rank(h, y, C),
    "mse_loss": lambda h, y: mse_loss(h, y, WEIGHT, BIAS, 0.0),
}
OF_CLASSIFIER = {
    "collapse_metrics": lambda W, b: collapse_metrics(stats(), W),
    "wider_metrics": lambda W, b: wider_metrics(stats(), W, b),
    "mse_decomposition": lambda W, b: mse_decomposition(stats(), W, b, 0.0),
    "mse_loss": lambda W, b: mse_loss(FEATURES, LABELS, W, b, 0.0),
}
OF_RIDGE = {
    "least_squares_classifier": lambda ridge: least_squares_classifier(stats(), ridge),
    "mse_decomposition": lambda ridge: mse_decomposition(stats(), WEIGHT, BIAS, ridge),
    "mse_loss": lambda ridge: mse_loss(FEATURES, LABELS, WEIGHT, BIAS, ridge),
}


def each(functions):
    return pytest.mark.parametrize("function", functions.values(), ids=functions)


@each(OF_SAMPLES)
@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (LABELS[:, None], "one for each sample"),
        (LABELS[None], "one for each sample"),
        (LABELS[:1], "one for each sample"),
        (LABELS[:-1], "one for each sample"),
        (torch.cat([LABELS, LABELS]), "one for each sample"),
        (torch.tensor(1), "one for each sample"),
        (LABELS + 1, r"0\.\.2; found 3"),
        (LABELS - 1, r"0\.\.2; found -1"),
        (LABELS.float(), "integers, not torch.float32"),
        (LABELS + 0.25, "integers, not torch.float32"),
    ],
    ids=["column", "row", "one", "short", "long", "scalar", "too large", "negative", "float", "fractions"],
)
def test_labels_and_predictions_must_be_one_class_for_each_sample(function, labels, problem):
    function(FEATURES, LABELS)  # what is right is taken
    with pytest.raises(ValueError, match=problem):
        function(FEATURES, labels)


@each(OF_SAMPLES)
@pytest.mark.parametrize(
    "features",
    [FEATURES[0], FEATURES[None], FEATURES[:, :, None], torch.ones(N, P, dtype=torch.int64),
     FEATURES.to(torch.complex64)],
    ids=["one sample", "batched", "maps", "integers", "complex"],
)  # fmt: skip
def test_features_must_be_a_table_of_floats(function, features):
    with pytest.raises(ValueError, match="features"):
        function(features, LABELS)


@each({name: function for name, function in OF_SAMPLES.items() if name != "nc1_numerical_rank"})
@pytest.mark.parametrize("width", [1, P - 1, P + 1])
def test_features_must_have_the_width_of_means_and_weight(function, width):
    with pytest.raises(ValueError, match=r"features|weight"):
        function(torch.ones(N, width), LABELS)


@each(OF_SAMPLES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_feature_that_is_not_finite_is_an_error_that_names_the_sample(function, value, dtype):
    features = FEATURES.to(dtype, copy=True)
    function(features, LABELS)
    features[7, 2] = value
    with pytest.raises(ValueError, match=r"finite.* sample 7 "):
        function(features, LABELS)


def test_a_batch_that_is_an_error_leaves_the_statistics_as_they_were():
    kept, before = stats(), [part.clone() for part in stats().tensors]
    for features, labels in [
        (FEATURES * torch.nan, LABELS),
        (FEATURES * 1e200, LABELS),  # finite, but its squares are not
        (FEATURES, LABELS + 1),
    ]:
        with pytest.raises(ValueError, match=r"features|labels"):
            kept.update(features, labels)
    assert all(torch.equal(a, b) for a, b in zip(kept.tensors, before, strict=True))


def test_features_of_every_finite_size_are_taken():
    for scale in (1e-140, 1e-30, 1e30, 1e140):
        measured = ClassStatistics(C, P)
        measured.update(FEATURES * scale, LABELS)
        assert bool(measured.within_covariance.isfinite().all())
        assert ncc_mismatch(FEATURES * scale, LABELS, measured.means) == 0
    assert ncc_mismatch(torch.full((N, P), 65504.0).half(), LABELS, MEANS) == pytest.approx(2 / 3)


@each(OF_CLASSIFIER)
@pytest.mark.parametrize(
    "weight",
    [WEIGHT.T, WEIGHT[:, :1], WEIGHT[:1], WEIGHT[0], WEIGHT[None], torch.eye(C + 1, P)],
    ids=["transposed", "one column", "one row", "vector", "batched", "a class more"],
)
def test_a_weight_of_another_shape_is_an_error(function, weight):
    function(WEIGHT, BIAS)
    with pytest.raises(ValueError, match=r"weight|bias"):
        function(weight, BIAS)


@each({name: function for name, function in OF_CLASSIFIER.items() if name != "collapse_metrics"})
@pytest.mark.parametrize(
    "bias", [BIAS[:, None], BIAS[None], BIAS[:1], BIAS[0]], ids=["column", "row", "one", "scalar"]
)
def test_a_bias_of_another_shape_is_an_error(function, bias):
    with pytest.raises(ValueError, match="bias"):
        function(WEIGHT, bias)


@each(OF_RIDGE)
@pytest.mark.parametrize("ridge", [-1.0, -1e-12, math.nan, math.inf])
def test_a_ridge_below_0_or_without_a_size_is_an_error(function, ridge):
    function(0.0)
    with pytest.raises(ValueError, match="ridge"):
        function(ridge)


@pytest.mark.parametrize("function", [ncc_mismatch, ncc_accuracy])
def test_class_means_must_be_finite_or_absent(function):
    broken = MEANS.clone()
    broken[1] = torch.nan
    assert function(FEATURES, LABELS, broken) >= 0  # class 1 has no samples
    for value in (torch.nan, torch.inf):
        broken = MEANS.clone()
        broken[1, 2] = value
        with pytest.raises(ValueError, match="mean of class 1 is not finite"):
            function(FEATURES, LABELS, broken)
    with pytest.raises(ValueError, match="class means"):
        function(FEATURES, LABELS, MEANS[0])


@pytest.mark.parametrize(
    ("means", "ood_mean"),
    [
        (MEANS, torch.ones(P, 1)),
        (MEANS, torch.ones(1)),
        (MEANS, torch.ones(P + 1)),
        (MEANS[0], torch.ones(P)),
        (MEANS, torch.full((P,), torch.nan)),
    ],
    ids=["column", "one", "too long", "one mean", "nan"],
)
def test_nc5_needs_means_and_one_mean_of_other_data(means, ood_mean):
    assert nc5_ood_orthogonality(MEANS, torch.ones(P)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"feature|class means"):
        nc5_ood_orthogonality(means, ood_mean)


def test_the_laws_of_the_flow_refuse_what_they_cannot_follow():
    with pytest.raises(ValueError, match="omega"):
        phi(torch.tensor([-1.0]), 3)
    with pytest.raises(ValueError, match="2 classes"):
        phi(torch.tensor([1.0]), 1)
    features = initial_features(torch.tensor([1.0, 2.0]), 3, 2, 5)
    for broken in (features[:1], features[0], features * torch.nan):
        with pytest.raises(ValueError, match="features"):
            next(simulate_flow(broken, torch.tensor([0.0])))
    with pytest.raises(ValueError, match="times"):
        next(simulate_flow(features, torch.zeros(1, 1)))
