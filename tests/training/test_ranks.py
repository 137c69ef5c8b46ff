"""Runs on two real ranks: what each gets of them, what rank 0 writes, and how they are resumed."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from helpers import runs_on_ranks as script
from helpers.launched import TORCHRUN
from helpers.settings import settings_of

from nc_runner.columns import TIME_COLUMNS
from nc_runner.runs.record import read_run_file
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals
from nc_runner.training.weights import kept_epochs, load_weights


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The folder of what tests/helpers/runs_on_ranks.py did, how its runs ended, and what was printed."""
    out = tmp_path_factory.mktemp("ranks")
    search = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", "-m", "helpers.runs_on_ranks", out],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "ends.json").read_text()), done.stdout


def rows_of(folder):
    return pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))


def weights_of(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def test_only_rank_0_touches_the_folder_and_prints(ranks):
    out, ends, printed = ranks
    assert ends["whole"] == [["complete", ""]] * 2
    assert not (out / "never-made").exists()
    names = {path.name for path in (out / "whole").iterdir()}
    assert names == {"metrics.csv", "run.json", "checkpoint.pt", "nc-run.log"}
    assert (
        printed.count("2 ranks, each with 10 of the 20 images of a step\n") == 7
    )  # whole, subset, changed data twice, adamw, diverged, left
    assert printed.count("images of a step; batch norm sees 10") == 3  # dropout, stopped, resumed
    record = read_run_file(out / "whole")
    assert (record["state"], record["processes"]) == ("complete", [{"from_epoch": 0, "processes": 2}])


def test_the_rows_are_those_of_one_process(ranks, tmp_path):
    execute(settings_of(*script.SMOOTH), tmp_path, StopSignals())
    two, one = rows_of(ranks[0] / "whole"), rows_of(tmp_path)
    residuals = two.pop("mse_residual") - one.pop("mse_residual")
    assert (residuals.abs() < 1e-12).all()
    pd.testing.assert_frame_equal(two, one, rtol=1e-9, atol=1e-12)


def test_a_streamed_subset_gives_the_rows_of_one_process_with_resident_images(ranks, tmp_path):
    execute(settings_of(*script.SUBSET, "data.resident=true"), tmp_path, StopSignals())
    two, one = (rows_of(f).drop(columns="mse_residual") for f in (ranks[0] / "subset", tmp_path))
    pd.testing.assert_frame_equal(two, one, rtol=1e-9, atol=1e-12)


def test_augmented_noisy_and_imbalanced_data_give_the_rows_of_one_process_also_after_a_stop(ranks, tmp_path):
    """Whatever a rank sees of a batch is what one process sees: crops are drawn for the whole batch."""
    out, ends, _ = ranks
    assert ends["changed data"] == [["StopRequested", "SIGTERM"]] * 2
    assert ends["changed data, resumed"] == [["complete", ""]] * 2
    execute(settings_of(*script.CHANGED), tmp_path, StopSignals())
    record, alone = read_run_file(out / "changed"), read_run_file(tmp_path)
    for key in ("class_counts", "label_noise", "augment", "data_fingerprint"):
        assert record[key] == alone[key]
    two, one = (rows_of(folder).drop(columns="mse_residual") for folder in (out / "changed", tmp_path))
    pd.testing.assert_frame_equal(two, one, rtol=1e-8, atol=1e-11)


def test_adamw_along_a_cosine_on_augmented_images_gives_the_rows_and_weights_of_one_process(ranks, tmp_path):
    execute(settings_of(*script.ADAMW), tmp_path, StopSignals())
    two, one = (rows_of(folder).drop(columns="mse_residual") for folder in (ranks[0] / "adamw", tmp_path))
    assert two["lr"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(two, one, rtol=1e-8, atol=1e-11)
    weights, alone = weights_of(ranks[0] / "adamw"), weights_of(tmp_path)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, alone[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("run", "kind", "message"),
    [
        ("missing on rank 1", "DataError", "rank 1 of 2 on "),
        ("missing on rank 1", "DataError", "this host has no such file"),
        ("other data on rank 1", "DataError", " holds other data than "),
        ("damaged", "RunFolderError", "no checkpoint of this run is whole"),
        ("batch norm of all ranks", "ConfigError", "sync_batchnorm=true needs GPUs"),
        ("diverges", "DivergedError", "no longer finite in epoch 1"),
        ("stopped", "StopRequested", "SIGTERM"),
    ],
)
def test_what_all_ranks_meet_is_raised_on_all_and_the_next_run_goes_on(ranks, run, kind, message):
    out, ends, _ = ranks
    first, second = ends[run]
    assert first[0] == second[0] == kind
    assert message in first[1]
    assert first[1] == second[1]
    assert ends["left"] == [["StopRequested", "SIGTERM"]] * 2
    assert read_run_file(out / "diverged")["state"] == "diverged"


def test_a_stopped_run_resumes_to_the_same_bits(ranks):
    """With dropout: each rank continues with its own random numbers."""
    out, ends, _ = ranks
    assert ends["resumed"] == [["complete", ""]] * 2
    pd.testing.assert_frame_equal(rows_of(out / "stopped"), rows_of(out / "dropout"), check_exact=True)
    one, two = weights_of(out / "stopped"), weights_of(out / "dropout")
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert kept_epochs(out / "stopped") == kept_epochs(out / "dropout") == [0, 1, 2, 3, 4]
    for epoch in range(5):
        one, two = load_weights(out / "stopped", epoch), load_weights(out / "dropout", epoch)
        assert all(torch.equal(one[name], two[name]) for name in two)


def test_a_run_left_by_two_ranks_is_completed_by_one(ranks, capsys):
    left = ranks[0] / "left"
    assert read_run_file(left)["state"] == "interrupted"
    execute(settings_of(*script.SMOOTH), left, StopSignals())
    record = read_run_file(left)
    assert record["state"] == "complete"
    assert [entry["processes"] for entry in record["processes"]] == [2, 1]
    assert "1 rank from here on, 2 before" in (left / "nc-run.log").read_text()
    assert "batch norm" not in capsys.readouterr().err
    pd.testing.assert_frame_equal(
        rows_of(left).drop(columns="mse_residual"), rows_of(ranks[0] / "whole").drop(columns="mse_residual"),
        rtol=1e-9, atol=1e-12,
    )  # fmt: skip
