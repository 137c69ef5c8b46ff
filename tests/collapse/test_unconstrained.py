"""The minimisers of unconstrained features against independent convex solves and plain minimisation."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from nc_runner.collapse.unconstrained import cross_entropy_minimum, mse_minimum


def one_hot(counts):
    return np.repeat(np.eye(len(counts)), counts, axis=1)


def shrunk(Z, threshold):
    u, s, v = np.linalg.svd(Z, full_matrices=False)
    return (u * np.maximum(s - threshold, 0)) @ v


def convex_solution(counts, decay, bias, bias_decay, loss, steps=20_000):
    """min over Z, b by accelerated proximal gradients; nothing of the closed forms is used."""
    Y, C, N = one_hot(counts), len(counts), sum(counts)

    def value_and_slope(Z, b):
        out = Z + b[:, None]
        if loss == "mse":
            return ((out - Y) ** 2).sum() / (N * C), 2 * (out - Y) / (N * C)
        shifted = out - out.max(axis=0)
        p = np.exp(shifted) / np.exp(shifted).sum(axis=0)
        return -np.log((p * Y).sum(axis=0)).mean(), (p - Y) / N

    step = N * C / 2 / 2 if loss == "mse" else N / 2
    Z, b = np.zeros((C, N)), np.zeros(C)
    Z_before, b_before = Z, b
    for k in range(steps):
        momentum = k / (k + 3)
        Z_ahead, b_ahead = Z + momentum * (Z - Z_before), b + momentum * (b - b_before)
        _, slope = value_and_slope(Z_ahead, b_ahead)
        Z_before, b_before = Z, b
        Z = shrunk(Z_ahead - step * slope, step * decay)
        if bias:
            b = b_ahead - min(step / N, 1 / (4 / C + 2 * bias_decay)) * (
                slope.sum(axis=1) + bias_decay * b_ahead
            )
    value, _ = value_and_slope(Z, b)
    s = np.linalg.svd(Z, compute_uv=False)
    return s, value + decay * s.sum() + bias_decay / 2 * (b**2).sum()


@pytest.mark.parametrize(
    ("counts", "decay", "bias", "bias_decay"),
    [
        ([3, 3, 3], 0.02, False, 0.0),
        ([6, 3, 1], 0.02, False, 0.0),
        ([9, 4, 1], 0.06, False, 0.0),  # the smallest class dies: 1 <= 0.06 * 14 * 3 / 2
        ([3, 3, 3], 0.02, True, 0.0),
        ([6, 3, 1], 0.02, True, 0.0),
        ([3, 3, 3], 0.02, True, 0.05),
        ([3, 3, 3], 0.02, True, 5.0),
    ],
)
def test_mse_equals_a_convex_solve(counts, decay, bias, bias_decay):
    s, objective = convex_solution(counts, decay, bias, bias_decay, "mse")
    found = mse_minimum(torch.tensor(counts), decay, bias=bias, bias_decay=bias_decay)
    assert found.objective == pytest.approx(objective, rel=1e-8)
    assert found.singular_values.numpy() == pytest.approx(s[: len(counts)], abs=1e-5)


@pytest.mark.parametrize(("C", "n", "decay"), [(3, 4, 0.01), (4, 5, 0.05), (3, 2, 0.3), (5, 1, 0.19)])
def test_cross_entropy_equals_a_convex_and_a_scalar_solve(C, n, decay):
    found = cross_entropy_minimum(C, n, decay)
    s, objective = convex_solution([n] * C, decay, True, 0.0, "ce", steps=4000)
    assert found.objective == pytest.approx(objective, rel=1e-8)
    assert found.singular_values.numpy() == pytest.approx(s[:C], abs=1e-4)
    scalar = minimize_scalar(
        lambda t: np.log1p((C - 1) * np.exp(-t)) + decay * (C - 1) * n**0.5 * max(t, 0) + (t < 0) * t**2,
        bounds=(0, 50), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert found.objective == pytest.approx(scalar.fun, rel=1e-9)


def test_equal_sizes_die_together_at_the_published_threshold():
    n, C = 16, 5
    threshold = 2 / (C**2 * n**0.5)
    counts = torch.full((C,), n)
    assert float(mse_minimum(counts, threshold * 1.001).singular_values.sum()) == 0
    assert float(mse_minimum(counts, threshold * 0.999).singular_values.min()) > 0


def test_no_weights_and_features_are_better():
    """Plain minimisation over W and H themselves, from several starts, with unequal decays."""
    counts, P, wd_w, wd_h = [5, 3, 1], 4, 0.03, 0.01
    Y, C, N = torch.tensor(one_hot(counts)), 3, 9
    best = np.inf
    for seed in range(5):
        start = np.random.default_rng(seed).normal(size=C * P + P * N)

        def objective(x):
            x = torch.tensor(x, requires_grad=True)
            W, H = x[: C * P].view(C, P), x[C * P :].view(P, N)
            f = (W @ H - Y).square().mean() + wd_w / 2 * W.square().sum() + wd_h / 2 * H.square().sum()
            f.backward()
            return f.item(), x.grad.numpy()

        best = min(best, minimize(objective, start, jac=True, tol=1e-12, options={"maxiter": 5000}).fun)
    assert mse_minimum(torch.tensor(counts), (wd_w * wd_h) ** 0.5).objective == pytest.approx(best, rel=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mse_minimum(torch.tensor([3]), 0.1), "at least two classes"),
        (lambda: mse_minimum(torch.tensor([3, 0]), 0.1), "each from 1 on"),
        (lambda: mse_minimum(torch.tensor([3, 3]), 0.0), "above 0"),
        (lambda: mse_minimum(torch.tensor([3, 2]), 0.1, bias=True, bias_decay=0.1), "equal size"),
        (lambda: cross_entropy_minimum(3, 4, float("nan")), "finite"),
    ],
)
def test_what_is_not_solved_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
