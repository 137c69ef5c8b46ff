"""The losses that ship, against definitions in NumPy and torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.settings import settings_of

from nc_runner.measurement.losses import cross_entropy, focal, mse, mse_rescaled, squared_hinge
from nc_runner.training.losses import build_loss

GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = 3 * torch.randn(40, 7, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(7, (40,), generator=GENERATOR)


def _softmax(outputs):
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _reference_smoothed(outputs, labels, label_smoothing):
    C = outputs.shape[1]
    targets = (1 - label_smoothing) * np.eye(C)[labels] + label_smoothing / C
    return -(targets * np.log(_softmax(outputs))).sum(axis=1).mean()


def _reference_focal(outputs, labels, gamma):
    p = _softmax(outputs)[np.arange(len(labels)), labels]
    return -((1 - p) ** gamma * np.log(p)).mean()


def _reference_hinge(outputs, labels):
    total = 0.0
    for o, y in zip(outputs, labels, strict=True):
        total += sum(max(0.0, 1 - o[y] + o[c]) ** 2 for c in range(len(o)) if c != y) / len(o)
    return total / len(labels)


def _reference_rescaled(outputs, labels, k, target):
    total = 0.0
    for o, y in zip(outputs, labels, strict=True):
        others = sum(o[c] ** 2 for c in range(len(o)) if c != y)
        total += (k * (o[y] - target) ** 2 + others) / len(o)
    return total / len(labels)


CASES = [
    ("ce", cross_entropy, _reference_smoothed, {"label_smoothing": 0.1}),
    ("focal", focal, _reference_focal, {"gamma": 2.0}),
    ("focal", focal, _reference_focal, {"gamma": 0.5}),
    ("hinge", squared_hinge, _reference_hinge, {}),
    ("mse_rescaled", mse_rescaled, _reference_rescaled, {"k": 15.0, "target": 30.0}),
    ("mse_rescaled", mse_rescaled, _reference_rescaled, {"k": 0.5, "target": 1.0}),
]


@pytest.mark.parametrize(("name", "function", "reference", "settings"), CASES)
def test_a_loss_is_its_definition_and_is_reached_by_its_settings(name, function, reference, settings):
    expected = reference(OUTPUTS.numpy(), LABELS.numpy(), **settings)
    assert float(function(OUTPUTS, LABELS, **settings)) == pytest.approx(expected, rel=1e-12)
    given = [f"loss.{key}={value}" for key, value in settings.items()]
    loss = build_loss(settings_of(f"loss={name}", *given).loss)
    assert float(loss(OUTPUTS, LABELS)) == pytest.approx(expected, rel=1e-12)


def test_the_losses_are_torchs_where_torch_has_them():
    hinge = torch.nn.MultiMarginLoss(p=2)(OUTPUTS, LABELS)
    assert torch.isclose(squared_hinge(OUTPUTS, LABELS), hinge, rtol=1e-12)
    smoothed = torch.nn.CrossEntropyLoss(label_smoothing=0.2)(OUTPUTS, LABELS)
    assert torch.equal(cross_entropy(OUTPUTS, LABELS, 0.2), smoothed)
    assert torch.isclose(focal(OUTPUTS, LABELS, 0.0), cross_entropy(OUTPUTS, LABELS), rtol=1e-12)
    assert torch.isclose(mse_rescaled(OUTPUTS, LABELS), mse(OUTPUTS, LABELS), rtol=1e-12)


@pytest.mark.parametrize(("name", "function", "reference", "settings"), CASES)
def test_gradients_are_finite_and_those_of_finite_differences(name, function, reference, settings):
    outputs = OUTPUTS[:6].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: function(o, LABELS[:6], **settings), outputs)


@pytest.mark.parametrize("size", [0.0, 30.0, 1e4])
@pytest.mark.parametrize(("name", "function", "reference", "settings"), CASES)
def test_gradients_stay_finite_where_samples_are_fitted_or_wholly_wrong(
    name, function, reference, settings, size
):
    """Softmax rounds to 0 and 1 there."""
    for sign in (1, -1):
        outputs = (sign * size * torch.eye(7)[LABELS]).requires_grad_()
        loss = function(outputs, LABELS, **settings)
        loss.backward()
        assert bool(loss.isfinite())
        assert bool(outputs.grad.isfinite().all())


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["+loss.gamma=1"], "no setting loss.gamma: it is one of focal"),
        (["loss=focal", "+loss.label_smoothing=0.1"], "no setting loss.label_smoothing: it is one of ce"),
        (["loss=focal", "loss.gamma=-1"], "at least 0"),
        (["loss=ce", "loss.label_smoothing=1"], "below 1"),
        (["loss=mse_rescaled", "loss.k=0"], "above 0"),
        (["loss=mse_rescaled", "loss.target=0"], "above 0"),
    ],
)
def test_settings_that_a_loss_does_not_have_or_take_are_errors(overrides, problem):
    from nc_runner.errors import ConfigError

    with pytest.raises(ConfigError, match=problem):
        settings_of(*overrides)
