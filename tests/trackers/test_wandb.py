"""tracker=wandb: wandb's own offline files, read back record by record."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from helpers.lab import settings_of
from helpers.stops import StopAfter
from helpers.tracked import TINY, carry_out, crash_before_checkpoint, one_picture, wandb_runs
from wandb import Settings

from nc_runner.commands import trackers
from nc_runner.runs.record import read_run_file
from nc_runner.runs.tracked import TrackedRun
from nc_runner.trackers import wandb
from nc_runner.training.signals import StopRequested

TRACKED = (*TINY, "tracker=wandb")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """A picture in place of nc-plot's, and no settings of the user's."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_ERROR_REPORTING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trackers, "_draw", one_picture)


def same_numbers(found, folder):
    rows = pd.read_csv(folder / "metrics.csv").to_dict("records")
    assert [row["epoch"] for row in found] == [1, 2, 3, 4]
    assert [{key: float(value) for key, value in row.items()} for row in found] == [
        pytest.approx(row, rel=1e-15, nan_ok=True) for row in rows
    ]


def test_an_offline_run_holds_rows_settings_state_and_figures(tmp_path):
    carry_out(settings_of(*TRACKED), tmp_path / "cell" / "run-1")
    (found,) = wandb_runs(tmp_path / "cell" / "run-1")
    same_numbers(found.rows, tmp_path / "cell" / "run-1")
    assert (found.run.display_name, found.run.project, found.run.run_group) == ("cell/run-1", "nc-runner", "")
    assert (found.config["lr"], found.config["lr_milestones"], found.config["decay.head"]) == (
        0.1, "[1/3,2/3]", None)  # fmt: skip
    assert found.config["identity"]["data.samples_per_class"] == 6
    assert not {"device", "launcher.jobs", "progress"} & set(found.config)
    assert (found.summary["state"], found.exit_code) == ("complete", 0)
    assert list(found.figures) == ["figures/nc1"]
    picture = found.folder / "files" / found.figures["figures/nc1"]
    assert picture.read_bytes()[1:4] == b"PNG"
    assert not list(found.folder.rglob("requirements.txt")) + list(found.folder.rglob("*metadata.json"))


@pytest.mark.parametrize("number", [1, 3])
def test_a_resumed_run_is_one_run_with_each_row_once(tmp_path, monkeypatch, number):
    folder = tmp_path / "run"
    crash_before_checkpoint(number, settings_of(*TRACKED), folder, monkeypatch)
    (before,) = wandb_runs(folder)
    assert (before.summary["state"], before.exit_code, before.figures) == ("failed", 1, {})
    carry_out(settings_of(*TRACKED), folder)
    (after,) = wandb_runs(folder)
    assert after.run.run_id == before.run.run_id
    assert (after.summary["state"], after.exit_code) == ("complete", 0)
    same_numbers(after.rows, folder)


def test_a_stopped_run_can_be_resumed_and_says_so(tmp_path):
    with pytest.raises(StopRequested):
        carry_out(settings_of(*TRACKED), tmp_path, StopAfter(12))
    (found,) = wandb_runs(tmp_path)
    assert found.summary["state"] == "interrupted"
    assert found.summary["reason"] == read_run_file(tmp_path)["reason"] == "SIGTERM"
    assert (found.exit_code, found.preempting) == (143, True)


@pytest.mark.parametrize("name", ["lr-0:1?", "ünder #7,;'x'", ":"])
def test_a_folder_of_any_name_has_an_id_that_wandb_takes(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "run.json").write_text('{"format": 1, "state": "running"}')
    key = TrackedRun(tmp_path / name).memory.key
    assert Settings(run_id=key).run_id == key


def test_nothing_is_sent_unless_the_user_asks(monkeypatch):
    assert wandb.mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb.mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert wandb.mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert trackers.trackers_of(settings_of(*TRACKED)) == ()


def test_wandb_itself_finds_the_run_to_upload(tmp_path):
    carry_out(settings_of(*TRACKED), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "WANDB_ERROR_REPORTING": "false"},
    )  # fmt: skip
    assert "Would sync 1 run(s)" in done.stderr + done.stdout
