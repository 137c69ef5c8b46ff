"""The paper's experiments: the table of cells, the grid, the notebook's numbers by its own formulas."""

import math
import re
from importlib import resources

import numpy as np
import pytest
import torch
import yaml
from helpers import miniature
from helpers.lab import few_images, rows_of, trainer_of
from helpers.process import nc_run
from helpers.settings import settings_of

from nc_runner.commands.hydra_app.messages import explain
from nc_runner.config.cells import Cell, look_up
from nc_runner.data.dataset import load_dataset

# Depth and MSE learning rate as a public re-implementation recorded them, typed again here.
RECORDED = {
    ("mnist", "vgg"): (11, 0.02552), ("mnist", "resnet"): (18, 0.01842), ("mnist", "densenet"): (40, 0.02552),
    ("fashionmnist", "vgg"): (11, 0.01842), ("fashionmnist", "resnet"): (18, 0.09402),
    ("fashionmnist", "densenet"): (250, 0.00960),
    ("svhn", "vgg"): (13, 0.01842), ("svhn", "resnet"): (34, 0.00960), ("svhn", "densenet"): (40, 0.01330),
    ("cifar10", "vgg"): (11, 0.02552), ("cifar10", "resnet"): (50, 0.00960),
    ("cifar10", "densenet"): (100, 0.04898),
    ("stl10", "vgg"): (11, 0.01842), ("stl10", "resnet"): (18, 0.06786),
    ("stl10", "densenet"): (201, 0.00188),
}  # fmt: skip
SAMPLES = {"mnist": 5000, "fashionmnist": 6000, "svhn": 4600, "cifar10": 5000, "stl10": 500}
CELLS = [(data, family, loss) for data, family in RECORDED for loss in ("mse", "ce")]
DEEP = {
    ("fashionmnist", "densenet"),
    ("cifar10", "densenet"),
    ("stl10", "densenet"),
    ("stl10", "vgg"),
    ("cifar10", "resnet"),
    ("svhn", "resnet"),
}
WIDE = {(data, "vgg") for data in ("fashionmnist", "svhn", "cifar10")}  # 4,096 features, as on MNIST
SLOW = DEEP | WIDE  # fmt: skip


def text_of(name):
    return resources.files("nc_runner.conf").joinpath(name).read_text()


def paper(data, family, loss):
    return settings_of("experiment=paper", f"data={data}", f"net={family}", f"loss={loss}")


def test_the_sweep_prints_all_thirty_cells_with_the_tables_values(tmp_path):
    """``nc-run -m experiment=paper --cfg job``, cell by cell, in one process."""
    result = nc_run("-m", "experiment=paper", "--cfg", "job", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    shown = [yaml.safe_load(document) for document in result.stdout.split("---\n")[1:]]
    found = {(s["data"]["name"], s["net"]["_target_"], s["loss"]["name"]): s for s in shown}
    assert len(shown) == 30
    assert set(found) == set(CELLS)
    for (data, family, loss), settings in found.items():
        depth, mse_rate = RECORDED[data, family]
        ce_rate = 0.1303 if data == "cifar10" else 0.06786
        assert settings["net"]["depth"] == depth
        assert settings["net"]["name"] == f"{family}{depth}"
        assert settings["lr"] == (mse_rate if loss == "mse" else ce_rate)
        assert settings["data"]["samples_per_class"] == SAMPLES[data]
        assert (settings["epochs"], settings["batch_size"], settings["momentum"]) == (350, 128, 0.9)
        assert settings["weight_decay"] == 5e-4
        assert settings["analysis"]["schedule"] == "paper"
    assert list(tmp_path.iterdir()) == []


def test_one_cell_can_be_chosen_from_the_sweep(tmp_path):
    result = nc_run("-m", "experiment=paper", "data=svhn", "net=vgg", "--cfg", "job", cwd=tmp_path)
    assert [line for line in result.stdout.splitlines() if line.startswith("# nc-run")] == [
        "# nc-run data=svhn net=vgg loss=mse experiment=paper",
        "# nc-run data=svhn net=vgg loss=ce experiment=paper",
    ]


def test_every_number_of_the_table_is_marked_sourced_recorded_or_chosen():
    for line in text_of("cells/paper.yaml").splitlines():
        if re.search(r"(lr|depth|samples_per_class):", line):
            marks = line.partition("# ")[2].split(", ")
            assert len(marks) == (2 if "lr:" in line else 1)
            assert set(marks) <= {"sourced", "recorded", "chosen"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["net=resnet50"], "learning rate for mnist is that of resnet18, not of resnet50"),
        (["data=digits"], "no lr for resnet on digits with mse"),
        (["net=custom", "net._target_=my.MLP"], "no lr for my.MLP on mnist"),
        (["loss._target_=my.focal", "loss.name=focal"], "no lr for resnet on mnist with focal"),
    ],
)
def test_what_the_table_does_not_say_is_an_error_with_the_remedy(overrides, words):
    with pytest.raises(Exception, match="this experiment's") as caught:  # OmegaConf wraps it
        settings_of("experiment=paper", *overrides)
    message = explain(caught.value)
    assert words in message
    assert "\ngive " in message


def test_a_setting_given_by_hand_wins_over_the_table():
    config = settings_of("experiment=paper", "net=resnet50", "lr=0.3", "data.samples_per_class=7")
    assert (config.net.depth, config.lr, config.data.samples_per_class) == (50, 0.3, 7)
    assert settings_of("net=resnet").net.depth == 18  # without a table, the family's default


def test_a_cells_value_beats_that_of_its_data_set_and_may_depend_on_the_loss():
    table = {"digits": {"epochs": 9, "lr": {"mse": 1, "ce": 2}, "vgg": {"epochs": 5}, "resnet": {"lr": 3}}}

    def value(key, *cell):
        return look_up(table, key, Cell(*cell, depth=8, net="resnet8"))

    assert value("epochs", "digits", "vgg", "mse") == 5
    assert value("epochs", "digits", "resnet", "mse") == 9
    assert value("lr", "digits", "vgg", "ce") == 2
    assert value("lr", "digits", "resnet", "ce") == 3
    assert value("lr", "mnist", "vgg", "ce") is None


def test_the_grid_is_25_log_spaced_rates_that_hold_every_rate_of_the_table():
    params = yaml.safe_load(text_of("experiment/paper_lr.yaml"))["hydra"]["sweeper"]["params"]
    grid = [float(value) for value in params["lr"].split(",")]
    assert grid == pytest.approx(np.geomspace(1e-4, 0.25, 25), rel=5e-4)
    rates = {rate for _, rate in RECORDED.values()} | {0.06786, 0.1303}
    assert all(any(math.isclose(rate, value, rel_tol=1e-3) for value in grid) for rate in rates)


@pytest.mark.parametrize(
    ("data", "family"),
    [pytest.param(*cell, marks=pytest.mark.slow if cell in SLOW else ()) for cell in RECORDED],
)
def test_each_cell_takes_a_step_on_miniature_files_with_both_losses(tmp_path, monkeypatch, data, family):
    settings = paper(data, family, "mse").data
    miniature.write(tmp_path, settings.target, monkeypatch)
    dataset = load_dataset(settings.model_copy(update={"root": str(tmp_path), "samples_per_class": 1}), 0)
    for loss in ("mse", "ce"):
        mine = (f"net={family}", f"data={data}", f"loss={loss}", "experiment=paper", "epochs=1", "lr=1e-5")
        trainer = trainer_of(*mine, dataset=dataset)
        before = [parameter.detach().clone() for parameter in trainer.network.model.parameters()]
        (row,) = rows_of(trainer)
        assert row["train_loss"] > 0
        assert any(
            not torch.equal(a, b) for a, b in zip(before, trainer.network.model.parameters(), strict=True)
        )


def notebook_formulas(H, y, W, b, weight_decay):
    """The authors' notebook in NumPy: NC1 not divided by C, ridge wd/2, the bias eliminated by hand."""
    C, N = W.shape[0], len(H)
    means = np.stack([H[y == c].mean(axis=0) for c in range(C)], axis=1)
    centre = means.mean(axis=1, keepdims=True)
    M_ = means - centre
    within = sum((H[y == c].T - means[:, [c]]) @ (H[y == c].T - means[:, [c]]).T for c in range(C)) / N
    between = M_ @ M_.T / C
    values, vectors = np.linalg.eigh(between)
    values, vectors = values[-(C - 1) :], vectors[:, -(C - 1) :]
    result = {"nc1": np.trace(within @ (vectors / values) @ vectors.T)}

    def coherence(V):
        V = V / np.linalg.norm(V, axis=0)
        G = V.T @ V + 1 / (C - 1)
        return np.abs(G - np.diag(np.diag(G))).sum() / (C * (C - 1))

    for name, V in (("means", M_), ("classifier", W.T)):
        norms = np.linalg.norm(V, axis=0)
        result[f"nc2_equinorm_{name}"] = norms.std(ddof=1) / norms.mean()
        result[f"nc2_maxangle_{name}"] = coherence(V)
    result["nc3_self_duality"] = np.linalg.norm(W.T / np.linalg.norm(W) - M_ / np.linalg.norm(M_)) ** 2
    nearest = np.linalg.norm(H[:, :, None] - means[None], axis=1).argmin(axis=1)
    result["nc4_ncc_mismatch"] = np.mean(nearest != (H @ W.T + b).argmax(axis=1))

    ridge = weight_decay / 2
    shrink = 1 / (1 + ridge)  # of the intercept, which is regularised too
    total = within + between + (1 - shrink) * centre @ centre.T + ridge * np.eye(H.shape[1])
    w_ls = (means.T - shrink * centre.T) @ np.linalg.inv(total) / C
    b_ls = shrink * (1 / C - (w_ls @ centre)[:, 0])
    squares = (w_ls**2).sum() + (b_ls**2).sum()
    result["mse_nc1"] = (np.trace(w_ls @ within @ w_ls.T) + ridge * squares) / 2
    result["mse_nc23"] = ((w_ls @ means + b_ls[:, None] - np.eye(C)) ** 2).sum() / (2 * C)
    dw, db = W - w_ls, (b - b_ls)[:, None]
    gap = dw @ (within + between + centre @ centre.T) @ dw.T + 2 * dw @ centre @ db.T + db @ db.T
    result["mse_perp"] = (np.trace(gap) + ridge * ((dw**2).sum() + (db**2).sum())) / 2
    return result


@pytest.mark.parametrize("experiment", ["notebook", "notebook_ce"])
def test_the_notebook_experiment_gives_the_notebooks_numbers(experiment):
    """On one set of weights (after one epoch) and balanced images, ResNet18 on 32 x 32 pixels."""
    loss = "ce" if experiment.endswith("ce") else "mse"
    overrides = (f"experiment={experiment}", "net=resnet18", "epochs=1")
    config = settings_of(*overrides)
    assert config.lr == (0.0679 if loss == "ce" else 0.0184)
    assert config.data.samples_per_class is None
    assert (config.analysis.schedule, config.analysis.ridge) == ("paper", "notebook")
    trainer = trainer_of(*overrides, dataset=few_images(1, 32, 30))
    (row,) = rows_of(trainer)
    features = trainer.measurer.forward.respond(trainer.dataset.train).features
    last = trainer.network.classifier
    expected = notebook_formulas(
        features.double().numpy(),
        trainer.dataset.train.labels.numpy(),
        last.weight.detach().double().numpy(),
        last.bias.detach().double().numpy(),
        weight_decay=5e-4,
    )
    assert row["ridge"] == 2.5e-4
    assert row["nc1"] * 10 == pytest.approx(expected.pop("nc1"), rel=1e-6)
    for column, value in expected.items():
        # the notebook subtracts nearly equal matrices to get its least-squares classifier
        assert row[column] == pytest.approx(value, rel=1e-5, abs=1e-12), column
