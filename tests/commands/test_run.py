"""``nc-run`` as a user types it: real processes, real digits."""

import json
import shutil
import signal
import sys
import time

import pandas as pd
import pytest
from helpers.process import FAST, WHOLE, nc_run, only_run, start

from nc_runner.columns import TIME_COLUMNS
from nc_runner.commands.hydra_app import app
from nc_runner.training.signals import STOPPING


def rows_of(folder):
    return pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))


def test_a_run_leaves_rows_record_checkpoint_and_log(finished):
    folder, result = finished
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    run = only_run(folder)
    assert run.parent.name == "mse-resnet8-digits"
    assert {path.name for path in run.iterdir()} == {
        "metrics.csv", "run.json", "checkpoint.pt", "nc-run.log", "run.lock", ".hydra"
    }  # fmt: skip
    assert rows_of(run)["epoch"].tolist() == [1, 2]
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "complete"
    assert record["settings"]["epochs"] == 2
    lines = result.stdout.splitlines()
    assert lines[0].startswith("run folder: outputs/mse-resnet8-digits/")
    assert [line.split()[1] for line in lines[1:3]] == ["1/2", "2/2"]
    assert lines[3].startswith("complete: ")


def test_the_same_command_again_skips_a_finished_run_without_torch(finished):
    folder, _ = finished
    before = (only_run(folder) / "metrics.csv").read_bytes()
    result = nc_run(*FAST, cwd=folder, PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    assert result.stdout.startswith("already complete: ")
    assert " torch\n" not in result.stderr
    assert "hydra" in result.stderr  # the list of imports was printed
    assert (only_run(folder) / "metrics.csv").read_bytes() == before


def test_settings_that_decide_nothing_lead_to_the_same_run(finished):
    folder, _ = finished
    result = nc_run(*FAST, "device=cpu", "checkpoint_seconds=1", cwd=folder)
    assert result.stdout.startswith("already complete: ")


def test_a_finished_run_says_which_weights_it_did_not_keep_and_how_to_get_them(finished):
    folder, _ = finished
    single = nc_run(*FAST, "keep_checkpoints=analysed", cwd=folder)
    line, last = single.stdout.splitlines()
    assert "has no weights of epochs 1, 2: keep_checkpoints keeps them only while a run trains" in line
    assert line.endswith("overwrite=true trains it again")
    assert last.startswith("already complete: ")
    sweep = nc_run("-m", *FAST, "keep_checkpoints=[2]", cwd=folder)
    first, second = sweep.stdout.splitlines()[:2]
    assert first == "already complete: 1 of 1 runs"
    assert second.startswith("without weights that keep_checkpoints asks for: 1 of them; ")
    assert not (only_run(folder) / "weights").exists()


def test_overwrite_starts_anew_and_keeps_the_old_folder(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    run = only_run(tmp_path)
    old = (run / "metrics.csv").read_bytes()
    result = nc_run(*FAST, "overwrite=true", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    kept = run.with_name(run.name + ".replaced-1")
    assert (kept / "metrics.csv").read_bytes() == old
    assert (kept / ".hydra" / "config.yaml").exists()
    assert rows_of(run).equals(rows_of(kept))


def test_an_explicit_folder_is_used_and_another_run_in_it_is_refused(tmp_path):
    first = nc_run(*FAST, "hydra.run.dir=here", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "here" / "metrics.csv").exists()
    config = (tmp_path / "here" / ".hydra" / "config.yaml").read_bytes()
    other = nc_run(*FAST, "hydra.run.dir=here", "lr=0.01", cwd=tmp_path)
    assert other.returncode == 1
    assert "holds another run: lr differ" in other.stderr
    assert (tmp_path / "here" / ".hydra" / "config.yaml").read_bytes() == config


def test_a_sweep_runs_every_combination_each_as_a_single_run_would_be(tmp_path):
    """All runs of a sweep share a process; nothing of one may reach the next."""
    sweep, single = tmp_path / "sweep", tmp_path / "single"
    sweep.mkdir(), single.mkdir()
    command = ("-m", "loss=mse,ce", "seed=0,1", *FAST, "epochs=1")
    result = nc_run(*command, cwd=sweep)
    assert result.returncode == 0, result.stderr
    assert len(list(sweep.rglob("metrics.csv"))) == 4
    assert "4 runs: 4 complete" in result.stdout
    assert "run 2 of 4: outputs/mse-resnet8-digits/" in result.stdout
    again = nc_run(*command, cwd=sweep)
    assert again.returncode == 0
    assert "4 runs: 4 complete" in again.stdout
    assert "already complete: 4 of 4 runs" in again.stdout
    assert "epoch" not in again.stdout.partition("4 runs: ")[0]
    assert not list((sweep / "outputs" / ".sweeps").iterdir())  # nothing is left for nc-status to wait for
    assert nc_run("loss=ce", "seed=1", *FAST, "epochs=1", cwd=single).returncode == 0  # the sweep's last
    run = only_run(single)
    (same,) = (folder for folder in sweep.rglob(run.name) if folder.parent.name == run.parent.name)
    assert rows_of(same).equals(rows_of(run))


def test_a_failing_run_of_a_sweep_does_not_stop_the_others_and_is_not_trained_again(tmp_path):
    result = nc_run("-m", "lr=1e9,0.1", *FAST, cwd=tmp_path)
    assert result.returncode == 1
    assert "2 runs: 1 diverged, 1 complete" in result.stdout
    assert "  diverged    outputs/mse-resnet8-digits/lr1e+09-" in result.stdout
    assert "  complete    outputs/mse-resnet8-digits/lr0.1-" in result.stdout
    assert "no longer finite in epoch 1, at lr=1e+09\ntry a smaller learning rate" in result.stderr
    assert "Traceback" not in result.stderr
    (diverged,) = tmp_path.rglob("lr1e+09-*/run.json")
    assert json.loads(diverged.read_text())["state"] == "diverged"
    again = nc_run(*FAST, "lr=1e9", cwd=tmp_path)
    assert again.returncode == 1
    assert "overwrite=true trains it again" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("epoch=3",), "there is no setting epoch; did you mean epochs?"),
        (("net=resnt18",), "net=resnt18: there is no such option; did you mean resnet18?"),
        (("samples_per_class=5",), "did you mean data.samples_per_class?"),
        (("epochs=abc",), "epochs=abc is not valid: epochs must be a whole number"),
        (("epochs=0",), "epochs=0 is not valid: epochs must be at least 1"),
        (("epochs==3",), "cannot read 'epochs==3'"),
        (("net=custom",), "net._target_ is not set"),
        (("-m", "lr=0.1,-1"), "lr=-1 is not valid: lr must be above 0"),
        (("-m", "net=resnet8,resnett20"), "did you mean resnet20?"),
        (("experiment=nothing",), "experiment=nothing: there is no such option"),
        (("+optimizer=adam",), "optimizer has a choice already, which + cannot add to"),
        (("loss=mse,ce",), "loss=mse,ce has several values, which only a sweep takes\ngive -m: nc-run -m"),
        (("lr=0.1,0.2",), "lr=0.1,0.2 has several values, which only a sweep takes"),
        (("++loss.label_smoothing=0.1",), "loss=mse has no setting loss.label_smoothing: it is one of ce"),
        (
            ("-m", "lr=0.1", "+data.augment=none,crop"),
            "data.augment is a setting already, which + cannot add",
        ),
        (("net.head_width=64",), "it is one of vgg"),
        (
            ("loss=custom", "loss._target_=torch.nn.functional.cross_entropy", "+loss.eps=1"),
            "there is no setting loss.eps: cross_entropy has no such argument",
        ),
        (("--nonsense",), "there is no flag --nonsense"),
    ],
)
def test_bad_settings_are_errors_of_two_lines_before_a_folder_is_made(arguments, message, tmp_path):
    result = nc_run(*arguments, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("data.samples_per_class=5000",), 2, "data.samples_per_class=5000, but class 8 has 146 images"),
        (("batch_size=9999",), 2, "batch_size=9999 is larger than the train set of 1500 images"),
        (("device=cuda:7",), 2, "device=cuda:7"),
        (("net=custom", "net._target_=no_such_module.Net"), 2, "there is no module no_such_module"),
        (("data=mnist", "data.download=false", "data.root=nowhere"), 1, "MNIST"),
    ],
)
def test_a_run_that_cannot_start_says_why_and_leaves_no_folder(
    arguments, code, message, tmp_path, monkeypatch, capsys
):
    """In this process, which has torch already: what is asked is not how a process starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert app.run(list(arguments)) == code
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("epoch=3",), ("--cfg", "job")])
def test_help_version_and_errors_do_not_import_torch(arguments, tmp_path):
    result = nc_run(*arguments, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert " torch\n" not in result.stderr
    assert "nc_runner" in result.stderr


def test_help_names_groups_options_settings_and_examples(tmp_path):
    page = nc_run("--help", cwd=tmp_path).stdout
    words = ("resnet18", "densenet40", "cifar10", "mse", "experiment", "epochs=350", "weight_decay=5e-4")
    choices = ("net.head_width  (vgg)", "loss.label_smoothing  (ce)", "optimizer.betas  (adam, adamw)")
    for word in (*words, *choices):
        assert word in page
    assert page.count("  nc-run ") >= 3


@pytest.mark.parametrize("columns", ["80", "100", "200"])
def test_help_fits_the_terminal(columns, tmp_path):
    page = nc_run("--help", cwd=tmp_path, COLUMNS=columns).stdout
    widest = max(map(len, page.splitlines()))
    assert min(int(columns), 110) - 10 < widest <= min(int(columns), 110)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name.startswith("SIGUSR") else ()) for name in STOPPING],
)
def test_a_signal_stops_a_run_which_then_resumes_to_the_numbers_of_an_uninterrupted_one(
    name, whole, tmp_path
):
    process = start(*WHOLE, cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("epoch  3/"):
            break
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if name == "SIGINT" else 143)
    assert "interrupted: outputs/" in errors
    assert "Traceback" not in errors
    folder = only_run(tmp_path)
    record = json.loads((folder / "run.json").read_text())
    assert (record["state"], record["reason"]) == ("interrupted", name)
    assert (folder / "checkpoint.pt").exists()
    assert 3 <= len(rows_of(folder)) < 12
    if name == "SIGTERM":  # from here on the three are one
        resumed = nc_run(*WHOLE, cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert resumed.stdout.startswith("resuming: ")
        assert rows_of(folder).equals(rows_of(only_run(whole)))


def test_a_second_process_on_the_same_run_says_who_holds_it_and_leaves(tmp_path):
    arguments = ("epochs=400", "threads=1", "progress=plain")
    process = start(*arguments, cwd=tmp_path)
    try:
        for line in process.stdout:
            if line.startswith("epoch "):
                break
        second = nc_run(*arguments, cwd=tmp_path)
        assert second.returncode == 1
        assert f"is being written by process {process.pid} on " in second.stderr
    finally:
        process.kill()
        process.communicate()
    time.sleep(0.1)
    third = start(*arguments, cwd=tmp_path)  # a killed process leaves no lock behind
    try:
        assert third.stdout.readline().startswith("resuming: ")
    finally:
        third.kill()
        third.communicate()


def test_a_custom_network_from_a_file_in_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, in_channels, image_size, width):\n"
        "    pixels = in_channels * image_size**2\n"
        "    layers = nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, num_classes)\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
    )
    result = nc_run("net=custom", "net._target_=mine.net", "+net.width=32", *FAST, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert only_run(tmp_path).parent.name == "mse-net-digits"


def test_the_full_error_is_shown_on_demand(tmp_path):
    for arguments in (("epochs=0",), ("data.samples_per_class=5000",)):
        result = nc_run(*arguments, cwd=tmp_path, HYDRA_FULL_ERROR="1")
        assert result.returncode != 0
        assert "Traceback" in result.stderr
        assert "ConfigError" in result.stderr
