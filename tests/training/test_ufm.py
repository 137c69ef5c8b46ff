"""Unconstrained features: what training finds is the known minimum, objective and singular values to 1e-6."""

import math

import numpy as np
import pytest
import torch
from helpers.lab import Listening, settings_of
from helpers.process import nc_run

from nc_runner.collapse.unconstrained import cross_entropy_minimum, mse_minimum
from nc_runner.data.dataset import load_dataset
from nc_runner.errors import ConfigError
from nc_runner.runs.reader import read_run
from nc_runner.training.run import build_trainer

C, N_C, P = 4, 6, 8
BASE = (
    "net=ufm", "data=ufm", f"net.features={P}", "net.dtype=float64", f"data.options.classes={C}",
    f"data.options.samples_per_class={N_C}", "optimizer=lbfgs", "lr_schedule=constant", "epochs=60",
    "analysis.schedule=[60]", "head.bias=false",
)  # fmt: skip


def trained(*overrides):
    """The trainer after its last epoch, and the last row."""
    count = next((o.split("=")[1] for o in overrides if o.startswith("batch_size=")), C * N_C)
    config = settings_of(*BASE, f"batch_size={count}", *overrides)
    dataset = load_dataset(config.data, config.seed)
    trainer = build_trainer(config, dataset, torch.device("cpu"))
    listener = Listening()
    trainer.run(listener)
    return trainer, listener.rows[-1]


def products(trainer):
    """Z = W H of the samples that are there, (C, N)."""
    model, images = trainer.network.model, trainer.dataset.train.images
    images = trainer.dataset.normalise(images, channels_last=False)
    with torch.no_grad():
        outputs = model(images)
    bias = trainer.network.classifier.bias
    return outputs.T if bias is None else outputs.T - bias[:, None]


def assert_at(minimum, trainer, row):
    assert row["train_loss_regularized"] == pytest.approx(minimum.objective, rel=1e-6)
    found = torch.linalg.svdvals(products(trainer)).double().detach()[:C]
    assert found.numpy() == pytest.approx(minimum.singular_values.numpy(), abs=1e-6 * N_C)


@pytest.mark.parametrize("decays", [(5e-3, 5e-3), (1e-3, 2e-2)])
def test_mse_without_bias(decays):
    of_features, of_head = decays
    trainer, row = trained("loss=mse", f"weight_decay={of_features}", f"decay.head={of_head}")
    minimum = mse_minimum(torch.full((C,), N_C), math.sqrt(of_features * of_head))
    assert_at(minimum, trainer, row)
    assert row["nc1"] < 1e-9
    assert row["nc2_equiangular_classifier"] < 1e-5
    weight = torch.linalg.svdvals(trainer.network.classifier.weight.detach())
    ratio = (of_features / of_head) ** 0.25
    assert weight.numpy() == pytest.approx(minimum.singular_values.sqrt().numpy() * ratio, rel=1e-4)


@pytest.mark.parametrize("decay", [2e-3, 5e-2])
def test_mse_without_bias_of_imbalanced_classes_and_the_small_ones_die(decay):
    imbalance = ("data.imbalance.kind=exponential", "data.imbalance.ratio=6")
    counts = torch.bincount(load_dataset(settings_of(*BASE, *imbalance).data, 0).train.labels, minlength=C)
    trainer, row = trained("loss=mse", f"weight_decay={decay}", *imbalance, f"batch_size={int(counts.sum())}")
    minimum = mse_minimum(counts, decay)
    assert (minimum.singular_values.min() == 0) == (decay > 0.01)
    assert row["train_loss_regularized"] == pytest.approx(minimum.objective, rel=1e-6)
    found = torch.linalg.svdvals(products(trainer))[:C]
    assert found.numpy() == pytest.approx(minimum.singular_values.numpy(), abs=1e-4)


@pytest.mark.parametrize("bias_decay", [0.0, 2e-3])
def test_mse_with_bias_is_a_simplex(bias_decay):
    trainer, row = trained("loss=mse", "head.bias=true", "weight_decay=2e-3", f"decay.bias={bias_decay}")
    assert_at(mse_minimum(torch.full((C,), N_C), 2e-3, bias=True, bias_decay=bias_decay), trainer, row)
    assert row["nc2_maxangle_means"] < 1e-5
    assert row["perp_share"] < 1e-9


def test_cross_entropy_is_a_simplex():
    trainer, row = trained("loss=ce", "head.bias=true", "weight_decay=2e-3")
    assert_at(cross_entropy_minimum(C, N_C, 2e-3), trainer, row)
    assert row["nc3_self_duality"] < 1e-9


def minority_minimum(counts, decay, steps=6000):
    """min over class outputs M of sum n_c/N CE(M_c, c) + decay ‖M diag(sqrt n)‖_*, by proximal gradients."""
    root, shares = np.sqrt(counts), counts / counts.sum()
    Z = before = np.zeros((len(counts), len(counts)))
    for k in range(steps):
        ahead = Z + k / (k + 3) * (Z - before)
        out = ahead / root
        p = np.exp(out - out.max(axis=0))
        slope = (p / p.sum(axis=0) - np.eye(len(counts))) * shares / root
        step = counts.sum()
        u, s, v = np.linalg.svd(ahead - step * slope)
        before, Z = Z, (u * np.maximum(s - step * decay, 0)) @ v
    out = Z / root
    p = np.exp(out - out.max(axis=0))
    value = -(shares * np.log(np.diagonal(p / p.sum(axis=0)))).sum()
    return value + decay * np.linalg.svd(Z, compute_uv=False).sum()


def test_minority_collapse_equals_a_convex_solve():
    imbalance = ("data.imbalance.kind=step", "data.imbalance.ratio=6", "data.imbalance.minority_classes=2")
    counts = torch.bincount(load_dataset(settings_of(*BASE, *imbalance).data, 0).train.labels, minlength=C)
    size = int(counts.sum())
    trainer, row = trained("loss=ce", "weight_decay=8e-2", *imbalance, f"batch_size={size}")
    assert row["train_loss_regularized"] == pytest.approx(minority_minimum(counts.numpy(), 8e-2), rel=1e-6)
    W = trainer.network.classifier.weight.detach()[counts == 1]
    assert float(torch.nn.functional.cosine_similarity(*W, dim=0)) > 0.999  # minority collapse


def test_sgd_finds_the_same_minimum():
    _, row = trained(
        "loss=ce", "head.bias=true", "weight_decay=2e-3", "optimizer=sgd", "lr=2", "epochs=3000",
        "analysis.schedule=[3000]",
    )  # fmt: skip
    assert row["train_loss_regularized"] == pytest.approx(
        cross_entropy_minimum(C, N_C, 2e-3).objective, rel=1e-5
    )


def test_the_command_writes_a_run_without_test_columns_and_resumes(tmp_path):
    command = (
        "net=ufm", "data=ufm", "batch_size=200", "epochs=4", "progress=plain", "optimizer=lbfgs",
        "lr_schedule=constant",
    )  # fmt: skip
    result = nc_run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "nan" not in result.stdout
    (folder,) = (tmp_path / "outputs" / "mse-ufm-ufm").iterdir()
    rows = read_run(folder).rows
    assert rows["test_accuracy"].isna().all()
    assert rows["test_nc4_ncc_mismatch"].isna().all()
    assert rows["nc1"].notna().all()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=digits",), "net=ufm and data=ufm go together"),
        (("net=resnet8",), "net=ufm and data=ufm go together"),
        (("batch_size=8",), "net=ufm takes one full batch a step"),
        (("momentum=0.9",), "momentum=0.9 has no use with optimizer=lbfgs"),
    ],
)
def test_what_does_not_go_together_is_an_error(overrides, message):
    base = [o for o in BASE if not o.startswith(tuple(x.split("=")[0] + "=" for x in overrides))]
    base = [o for o in base if "net=resnet8" not in overrides or not o.startswith("net.")]
    base = [o for o in base if "data=digits" not in overrides or not o.startswith("data.")]
    with pytest.raises(ConfigError, match=message):
        settings_of(*base, *(() if "batch_size=8" in overrides else (f"batch_size={C * N_C}",)), *overrides)
