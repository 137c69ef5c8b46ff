"""Runs with other heads and losses: what stays, what is NaN and why, resuming, loading, starting weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.lab import Listening, few_images, rows_of, trainer_of

from nc_runner.commands import measure
from nc_runner.commands.attempt import check_owner
from nc_runner.config.identity import folder_name
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.measurement.row import DECOMPOSITION_COLUMNS
from nc_runner.training.loaded import load_run
from nc_runner.training.objective import why_no_ridge
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

HEADS = {
    "no bias": ("head.bias=false",),
    "features": ("head.features=20",),
    "sphere": ("head.normalize=both", "head.temperature=0.1", "loss=ce"),
    "etf": ("classifier=etf", "head.normalize=features", "loss=ce"),
}


def measured(trainer):
    """Features, labels, weight and bias that a row is computed of, in float64."""
    responses = trainer.measurer.forward.respond(trainer.dataset.train)
    classifier = trainer.network.classifier
    bias = None if classifier.bias is None else classifier.bias.detach().double().numpy()
    weight = classifier.weight.detach().double().numpy()
    return responses.features.double().numpy(), responses.labels.numpy(), weight, bias


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_run_with_another_head_trains_and_measures(head):
    rows = rows_of(trainer_of(*head, "epochs=2", "lr=0.05"))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] * 1.5
    assert all(math.isfinite(rows[-1][name]) for name in ("train_loss", "nc1", "nc3_self_duality"))


@pytest.mark.parametrize("bias", ["true", "false"])
def test_a_fixed_etf_stays_while_the_rest_is_trained(bias):
    trainer = trainer_of("classifier=etf", "epochs=2", "loss=ce", f"head.bias={bias}", "net=custom",
                         "net._target_=helpers.lab.TinyNetwork")  # fmt: skip
    before = {name: tensor.clone() for name, tensor in trainer.network.model.state_dict().items()}
    rows = rows_of(trainer)
    after = trainer.network.model.state_dict()
    assert torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert not torch.equal(before["hidden.weight"], after["hidden.weight"])
    for row in rows:
        for name in ("equinorm", "equiangular", "maxangle"):
            assert row[f"nc2_{name}_classifier"] < 1e-6


def test_a_least_squares_refit_without_bias_is_the_best_classifier_without_one():
    trainer = trainer_of("classifier=least_squares", "head.bias=false", "epochs=2", "weight_decay=1e-2")
    row = rows_of(trainer)[-1]
    assert row["perp_share"] < 1e-10
    features, labels, weight, bias = measured(trainer)
    assert bias is None
    expected = reference.least_squares_weight(features, labels, 10, row["ridge"])
    np.testing.assert_allclose(weight, expected, atol=1e-5 * np.abs(expected).max())


def test_a_refit_to_another_target_is_on_the_central_path_of_its_own_objective():
    given = ("classifier=least_squares", "loss=mse_rescaled", "loss.target=5", "epochs=2")
    trainer = trainer_of(*given)
    row = rows_of(trainer)[-1]
    assert row["perp_share"] < 1e-10
    features, labels, weight, bias = measured(trainer)
    expected = reference.least_squares_classifier(features, labels, 10, row["ridge"])
    np.testing.assert_allclose(weight, 5 * expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias, 5 * expected[1], rtol=1e-3, atol=1e-4)


def test_with_another_target_the_terms_are_those_of_the_loss_with_that_target():
    trainer = trainer_of("loss=mse_rescaled", "loss.target=3", "epochs=1", "weight_decay=1e-2")
    row = rows_of(trainer)[-1]
    features, labels, weight, bias = measured(trainer)
    ridge, N = 10 * 1e-2 / 2, len(labels)
    assert row["ridge"] == ridge
    errors = features @ weight.T + bias - 3 * np.eye(10)[labels]
    total = ((errors**2).sum() / N + ridge * ((weight**2).sum() + (bias**2).sum())) / 2
    assert row["mse_total"] == pytest.approx(total, rel=1e-5)
    assert abs(row["mse_residual"]) < 1e-6 * total
    W, b = (3 * part for part in reference.least_squares_classifier(features, labels, 10, ridge))
    errors = features @ W.T + b - 3 * np.eye(10)[labels]
    least = ((errors**2).sum() / N + ridge * ((W**2).sum() + (b**2).sum())) / 2
    assert row["mse_ls"] == pytest.approx(least, rel=1e-5)
    # the objective that is trained is (2/C) times that total, at this ridge
    assert row["train_loss"] == pytest.approx(
        2 / 10 * (total - ridge / 2 * ((weight**2).sum() + (bias**2).sum()))
    )


def test_each_block_has_the_ridge_of_its_own_weight_decay():
    row = rows_of(trainer := trainer_of("epochs=1", "weight_decay=1e-2", "decay.bias=0"))[-1]
    assert trainer.measurer.ridge == (0.05, 0.0)
    assert row["ridge"] == 0.05
    features, labels, weight, bias = measured(trainer)
    expected = reference.mse_decomposition_of_blocks(features, labels, weight, bias, (0.05, 0.0))
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-4), name


NO_RIDGE = {
    "loss.k": (("loss=mse_rescaled", "loss.k=5"), "weigh the samples"),
    "etf": (("classifier=etf",), "fixed"),
    "rows": (("head.normalize=rows",), "bound to one norm"),
    "both": (("head.normalize=both",), "bound to one norm"),
    "decoupled": (("optimizer=adamw", "lr=0.001"), "no part of an objective"),
}


@pytest.mark.parametrize(("given", "why"), NO_RIDGE.values(), ids=NO_RIDGE)
def test_without_a_ridge_of_the_objective_the_decomposition_is_nan_and_a_number_brings_it_back(given, why):
    trainer = trainer_of(*given, "epochs=1")
    assert why in why_no_ridge(trainer.training)
    row = rows_of(trainer)[-1]
    assert all(math.isnan(row[name]) for name in DECOMPOSITION_COLUMNS)
    assert math.isfinite(row["nc1"])
    assert math.isfinite(row["snr_1"])
    row = rows_of(trainer_of(*given, "epochs=1", "analysis.ridge=0.01"))[-1]
    assert row["ridge"] == 0.01
    assert abs(row["mse_residual"]) < 1e-6 * row["mse_total"]


@pytest.mark.parametrize("loss", ["ce", "focal", "hinge"])
def test_losses_that_are_no_mse_keep_the_ridge_of_mse_training(loss):
    row = rows_of(trainer_of(f"loss={loss}", "epochs=1"))[-1]
    assert row["ridge"] == 10 * 5e-4 / 2
    assert math.isfinite(row["mse_perp"])


def test_a_refit_without_a_ridge_is_an_error_that_says_why():
    with pytest.raises(ConfigError, match=r"no ridge: with loss\.k=5 .*\ngive one as analysis.ridge=NUMBER"):
        trainer_of("classifier=least_squares", "loss=mse_rescaled", "loss.k=5")


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_run_with_another_head_resumes_to_the_same_bits(head):
    whole = rows_of(trainer_of(*head, "epochs=3"))
    states = []
    first = trainer_of(*head, "epochs=3")

    class Stopped(Exception):
        pass

    def stop():
        if first.epoch == 1 and first.step == 2:
            states.append({**first.state()})
            states.append({k: v.clone() for k, v in first.network.model.state_dict().items()})
            raise Stopped

    with pytest.raises(Stopped):
        first.run(Listening(stop))
    second = trainer_of(*head, "epochs=3", "seed=0")
    second.restore(states[0] | {"model": states[1]})
    rest = rows_of(second)
    same = [name for name in whole[-1] if "seconds" not in name]
    assert [[row[name] for name in same] for row in rest] == [
        pytest.approx([row[name] for name in same], rel=0, abs=0, nan_ok=True) for row in whole[1:]
    ]


def run_on_digits(folder: Path, *overrides: str):
    from helpers.settings import settings_of

    config = settings_of("epochs=1", "threads=1", "device=cpu", "data.samples_per_class=20", "batch_size=50",
                         "progress=none", *overrides)  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    check_owner(folder, config)
    with StopSignals() as signals:
        execute(config, folder, signals)
    return config


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_run_with_another_head_is_loaded_with_its_weights(head, tmp_path):
    run_on_digits(tmp_path / "run", *head)
    run = load_run(tmp_path / "run")
    weights = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["model"]
    assert all(torch.equal(weights[name], tensor) for name, tensor in run.model.state_dict().items())
    images, _ = next(iter(run.batches("test")))
    with torch.no_grad():
        outputs, features = run.network.forward_with_features(images)
        classifier = run.network.classifier
        expected = torch.nn.functional.linear(features, classifier.weight, classifier.bias)
    assert torch.allclose(outputs, expected, atol=1e-5)
    accuracy = [run.model(x).argmax(1).eq(y).float().sum() for x, y in run.batches("test")]
    assert float(sum(accuracy)) / len(run.data().test) == pytest.approx(run.rows["test_accuracy"].iloc[-1])


MEASURED = {
    **HEADS,
    "target": ("loss=mse_rescaled", "loss.target=3"),
    "k": ("loss=mse_rescaled", "loss.k=3"),
    "etf with mse": ("classifier=etf",),
    "blocks": ("decay.bias=0",),
    "adamw": ("optimizer=adamw",),
}


@pytest.mark.parametrize("given", MEASURED.values(), ids=MEASURED)
def test_nc_measure_gives_the_row_of_the_run_again(given, tmp_path, capsys):
    run_on_digits(tmp_path / "run", *given)
    row = load_run(tmp_path / "run").rows.iloc[-1]
    assert measure.main(["--json", str(tmp_path / "run")]) == 0
    found = json.loads(capsys.readouterr().out)
    found = found[0] if isinstance(found, list) else found
    found = found.get("row", found)
    for name in row.index:
        if name not in ("epoch", "lr", "train_seconds", "analysis_seconds", "mse_residual"):
            value = math.nan if found[name] is None else found[name]
            assert value == pytest.approx(row[name], rel=1e-4, abs=1e-9, nan_ok=True), name


def test_a_run_starts_from_the_weights_of_another(tmp_path):
    run_on_digits(tmp_path / "first", "keep_checkpoints=[1]")
    file = tmp_path / "first" / "weights" / "epoch-0001.pt"
    given = (f"net.weights={file}", "seed=1")
    config = run_on_digits(tmp_path / "second", *given, "analysis.schedule=[0,1]")
    first, second = load_run(tmp_path / "first"), load_run(tmp_path / "second")
    assert second.rows["test_accuracy"].iloc[0] == first.rows["test_accuracy"].iloc[-1]
    assert len(second.record.content["weights_digest"]) == 64
    assert first.record.content["weights_digest"] is None
    from helpers.settings import settings_of

    assert folder_name(settings_of(*given)) != folder_name(settings_of("seed=1"))
    assert config.net.weights == str(file)
    file.unlink()  # a finished run is read without the file
    assert load_run(tmp_path / "second").epoch == 1


def test_other_weights_under_the_same_name_are_an_error_when_a_run_resumes(tmp_path):
    run_on_digits(tmp_path / "first", "keep_checkpoints=[1]")
    file = tmp_path / "weights.pt"
    weights = load_run(tmp_path / "first").model.state_dict()
    torch.save(weights, file)
    run_on_digits(tmp_path / "second", f"net.weights={file}")
    torch.save({name: tensor * 2 for name, tensor in weights.items()}, file)
    with pytest.raises(RunFolderError, match="begun from other weights"):
        run_on_digits(tmp_path / "second", f"net.weights={file}")


def test_weights_that_do_not_fit_are_an_error(tmp_path):
    trainer = trainer_of("net=resnet8", dataset=few_images(count=32))
    torch.save(trainer.network.model.state_dict(), tmp_path / "weights.pt")
    cases = {
        ("net=resnet8", "head.features=5"): "does not fit the model",
        ("net=vgg6",): "does not fit the model",
        ("net=resnet8", "classifier=etf"): "no simplex ETF",
    }
    for given, problem in cases.items():
        with pytest.raises(ConfigError, match=rf"net\.weights.*{problem}"):
            trainer_of(*given, f"net.weights={tmp_path / 'weights.pt'}")
    with pytest.raises(ConfigError, match=r"net\.weights: there is no file"):
        trainer_of("net=resnet8", f"net.weights={tmp_path / 'absent.pt'}")


def test_an_etf_that_comes_from_a_file_is_kept(tmp_path):
    first = trainer_of("net=resnet8", "classifier=etf", "seed=3")
    torch.save(first.network.model.state_dict(), tmp_path / "weights.pt")
    second = trainer_of("net=resnet8", "classifier=etf", f"net.weights={tmp_path / 'weights.pt'}")
    assert torch.equal(second.network.classifier.weight, first.network.classifier.weight)


def test_a_custom_callable_that_names_weights_gets_the_setting_itself(tmp_path, monkeypatch):
    (tmp_path / "with_weights.py").write_text(
        "from helpers.lab import TinyNetwork\n"
        "class Net(TinyNetwork):\n"
        "    def __init__(self, num_classes, in_channels, image_size, weights=None):\n"
        "        super().__init__(num_classes, in_channels, image_size)\n"
        "        self.given = weights\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trainer = trainer_of("net=custom", "net._target_=with_weights.Net", "net.weights=IMAGENET")
    assert trainer.network.model.given == "IMAGENET"
    assert trainer.network.weights_digest is None
