"""The worked examples, each from an empty folder outside the project, with the command of its page."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.process import nc_run

from nc_runner.commands.plot import main as nc_plot
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import read_run_file

EXAMPLES = Path(__file__).parents[1] / "examples"
FAST = ("epochs=2", "threads=1", "progress=none")

# name of the run's folder, and the command as examples/README.md has it
COMMANDS = {
    "mse-mlp-digits": "--config-dir examples/network net=mlp net.width=64",
    "mse-MLP-digits": "net=custom net._target_=examples/network/mlp.py:MLP +net.width=64",
    "mse-resnet8-shapes": "--config-dir examples/data data=shapes",
    "mse-resnet8-images": "--config-dir examples/data data=images",
    "focal-resnet8-digits": "--config-dir examples/loss loss=focal loss.gamma=1",
    "focal-mlp-digits": "'hydra.searchpath=[file://examples/network,file://examples/loss]' "
    "net=mlp loss=focal",
    "mse-resnet8-digits": "--config-dir examples/metric experiment=spread",
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def arguments_of(command):
    """As typed in a folder that has no examples/."""
    return [word.replace("examples/", f"{EXAMPLES}/") for word in shlex.split(command)]


def run(*arguments):
    done = nc_run(*arguments, *FAST, cwd=".")
    assert done.returncode == 0, done.stderr


def make_images(python=sys.executable):
    subprocess.run([python, EXAMPLES / "data" / "make_images.py"], check=True, timeout=120)


def rows_below(folder):
    (table,) = Path(folder).rglob("metrics.csv")
    return pd.read_csv(table)


def test_the_examples_page_has_these_commands():
    page = (EXAMPLES / "README.md").read_text()
    assert all(command in page for command in COMMANDS.values())


@pytest.mark.parametrize("cell", COMMANDS)
def test_an_example_runs_from_an_empty_folder(cell, elsewhere):
    if cell.endswith("images"):
        make_images()
    run(*arguments_of(COMMANDS[cell]))
    assert rows_below(f"outputs/{cell}")["epoch"].tolist() == [1, 2]


def test_the_npz_example_is_the_digits(elsewhere):
    """The same images as data=digits; the computed mean and std differ from the shipped ones by rounding."""
    make_images()
    run("data=npz", "data.options.file=images.npz")
    run("hydra.run.dir=digits")
    from_file, shipped = rows_below("outputs"), rows_below("digits")
    assert from_file["train_loss"].tolist() == pytest.approx(shipped["train_loss"].tolist(), rel=0.02)
    prints = [read_run_file(path)["data_fingerprint"] for path in find_runs(["."])]
    assert len(prints) == 2
    assert prints[0] == prints[1]


def test_the_metric_example_gives_its_columns_and_figures(elsewhere):
    run(*arguments_of(COMMANDS["mse-resnet8-digits"]))
    rows = rows_below("outputs")
    assert rows.columns.tolist()[-2:] == ["largest_spread", "margin_of_means"]
    assert rows["largest_spread"].between(1 / 64, 1).all()
    assert nc_plot(["outputs", "--format", "png"]) == 0
    for column in rows.columns[-2:]:
        assert (elsewhere / "outputs" / "figures" / f"custom_{column}.png").stat().st_size > 5000
        assert column in (elsewhere / "outputs" / "figures" / "summary.csv").read_text().splitlines()[0]


def test_the_focal_loss_is_cross_entropy_at_gamma_0(elsewhere, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES / "loss"))
    import focal

    outputs, labels = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 3
    p = outputs.softmax(dim=1)[torch.arange(7), labels]
    wanted = float((-((1 - p) ** 2) * p.log()).mean())
    assert focal.focal_loss(outputs, labels, gamma=2).item() == pytest.approx(wanted)
    cross_entropy = torch.nn.functional.cross_entropy(outputs, labels)
    assert focal.focal_loss(outputs, labels, gamma=0).item() == pytest.approx(cross_entropy.item())


@pytest.mark.slow
def test_the_examples_run_with_nothing_but_the_installed_wheel(tmp_path, installed_wheel):
    """From copies of the folders, so that nothing of the checkout is in reach."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    python, clean = installed_wheel
    subprocess.run([python, "examples/data/make_images.py"], cwd=tmp_path, env=clean, check=True, timeout=120)
    for command in (*COMMANDS.values(), "data=npz data.options.file=images.npz"):
        done = subprocess.run(
            [python, "-m", "nc_runner", *shlex.split(command), *FAST],
            cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "complete: " in done.stdout


def test_the_language_model_is_measured(tmp_path):
    pytest.importorskip("transformers")
    few = "--vocabulary 500 --width 64 --layers 1 --length 32 --batches 3 --characters 20000"
    command = [sys.executable, EXAMPLES / "language_model.py", *few.split()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert "nc1 " in result.stdout
    assert "classes have fewer than 10 train samples" in result.stdout
