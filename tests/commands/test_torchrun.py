"""One run on several ranks: real ``torchrun`` commands on the CPU, real digits."""

import json
import os
import signal

import pandas as pd
import pytest
import torch
from helpers.launched import pid_of, start, torchrun, wait_for_line, wait_until_gone
from helpers.process import nc_run, only_run

from nc_runner.columns import TIME_COLUMNS

EXACT = '''
import torch


class Exact(torch.nn.Module):
    """Convolutions without batch norm in float64: what is left of a difference is no rounding."""

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(in_channels, 12, 3, padding=1), torch.nn.ReLU(),
            torch.nn.Conv2d(12, 12, 3, stride=2), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.LazyLinear(20), torch.nn.ReLU(),
        )
        self.body(torch.zeros(1, in_channels, 8, 8))
        self.last = torch.nn.Linear(20, num_classes)
        self.double()

    def forward(self, images):
        return self.last(self.body(images.double()))
'''
PLAIN = ("threads=1", "progress=plain")


def rows_of(folder):
    return pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))


def differences(one, two):
    """The largest relative difference of the rows, by epoch; of the residual, against the loss itself."""
    scale = one.abs().where(one.abs() > 0, 1.0).assign(mse_residual=one["mse_total"])
    return ((one - two).abs() / scale).max(axis=1).tolist()


def record_of(run):
    return json.loads((run / "run.json").read_text())


def test_a_sweep_on_two_ranks_has_the_numbers_of_one_process_and_one_writer(tmp_path):
    command = (
        "net=custom", "net._target_=exact.Exact", "data.samples_per_class=40", "epochs=3",
        "analysis.metrics=all", *PLAIN,
    )  # fmt: skip
    single, pair = tmp_path / "single", tmp_path / "pair"
    for folder in (single, pair):
        folder.mkdir()
        (folder / "exact.py").write_text(EXACT)
    assert nc_run(*command, cwd=single).returncode == 0
    result = torchrun("-m", *command, "lr=1e9,0.1", cwd=pair)
    assert result.returncode == 1  # one of the sweep's runs diverges, on both processes
    lines = result.stdout.splitlines()
    assert "2 runs: 1 diverged, 1 complete" in lines
    assert sum(line.startswith("run 2 of 2: ") for line in lines) == 1
    assert sum(line.startswith("epoch 1/3") for line in lines) == 1
    assert result.stderr.count("no longer finite") >= 1
    (run,) = (path.parent for path in pair.rglob("checkpoint.pt"))
    assert run.name == only_run(single).name  # the number of ranks is no part of the identity
    assert max(differences(rows_of(only_run(single)), rows_of(run))) < 1e-9
    assert {path.name for path in run.iterdir()} == {
        "metrics.csv", "run.json", "checkpoint.pt", "nc-run.log", "run.lock", ".hydra"
    }  # fmt: skip
    assert (run / "nc-run.log").read_text().count("epoch 2/3") == 1
    record = record_of(run)
    assert record["state"] == "complete"
    assert record["processes"] == [{"from_epoch": 0, "processes": 2}]
    assert "2 ranks, each with 64 of the 128 images of a step" in lines


SLOW = (*PLAIN, "epochs=20")
TINY = '''
import torch


class TinyNetwork(torch.nn.Module):
    """A network with batch norm and dropout: its training draws random numbers."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.hidden = torch.nn.Linear(in_channels * image_size**2, 12)
        self.norm = torch.nn.BatchNorm1d(12)
        self.dropout = torch.nn.Dropout(0.2)
        self.classifier = torch.nn.Linear(12, num_classes)

    def forward(self, images):
        return self.classifier(self.dropout(self.norm(self.hidden(images.flatten(1))).relu()))
'''


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_ranks_are_named_and_the_run_resumes_to_the_same_bits(tmp_path):
    """Killed are rank 0 and the other, in turn; batch norm of each rank, a network with dropout."""
    command = (*SLOW, "net=custom", "net._target_=lab.py:TinyNetwork", "checkpoint_seconds=0")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "lab.py").write_text(TINY)
    assert torchrun(*command, cwd=whole).returncode == 0
    for rank, epoch in ((1, 5), (0, 10)):
        process = start(*command, cwd=killed)
        wait_for_line(process, f"epoch {epoch:2}/")
        pids = [pid_of(process, rank) for rank in (0, 1)]
        os.kill(pids[rank], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        for pid in pids:
            wait_until_gone(pid)
        assert process.returncode == 1
        assert f"nc-run: rank {rank} of 2 (process {pids[rank]} on " in errors
        assert "no longer answers" in errors
        assert errors.count("\ngive the same command again to resume from the last checkpoint") >= 1
        state = record_of(only_run(killed))["state"]
        assert state == ("interrupted" if rank else "running")  # a killed writer writes no more
    last = torchrun(*command, cwd=killed)
    assert last.returncode == 0, last.stderr
    assert last.stdout.startswith("resuming: ")
    one, two = only_run(whole), only_run(killed)
    pd.testing.assert_frame_equal(rows_of(one), rows_of(two), check_exact=True)
    weights = [torch.load(run / "checkpoint.pt", weights_only=True)["model"] for run in (one, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_run_resumes_with_another_number_of_ranks(tmp_path):
    command = (*SLOW, "batch_size=120")
    process = start(*command, cwd=tmp_path)
    wait_for_line(process, "epoch  3/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "nc-run: give the same command again to resume" in errors
    run = only_run(tmp_path)
    record = record_of(run)
    assert (record["state"], record["reason"]) == ("interrupted", "SIGTERM")
    stopped = torch.load(run / "checkpoint.pt", weights_only=True)
    assert stopped["epoch"] == 3 or stopped["step"]
    process = start(*command, cwd=tmp_path, processes=3)
    assert wait_for_line(process, "3 ranks, each with 40 of the 120 images of a step; batch norm sees 40")
    wait_for_line(process, "epoch  7/")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    changed = "3 ranks from here on, 2 before: batch norm saw 60 images of a step, and now sees 40"
    assert errors.count(f"nc-run: {changed}") == 1
    assert changed in (run / "nc-run.log").read_text()
    last = nc_run(*command, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert "1 rank from here on, 3 before: batch norm saw 40 images of a step" in last.stderr
    counts = [entry["processes"] for entry in record_of(run)["processes"]]
    assert counts == [2, 3, 1]
    rows = rows_of(run)
    assert rows["epoch"].tolist() == list(range(1, 21))
    assert rows["train_accuracy"].iloc[-1] > 0.99


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_failure_of_one_rank_ends_the_command_and_is_said_once(tmp_path):
    (tmp_path / "broken.py").write_text(
        "import os\n"
        "from nc_runner.measurement.losses import mse\n"
        "def loss(outputs, labels):\n"
        "    if os.environ.get('RANK') == '1' and outputs.requires_grad:\n"
        "        raise ValueError('one loss only breaks')\n"
        "    return mse(outputs, labels)\n"
    )
    command = ("loss=custom", "loss._target_=broken.loss", *PLAIN, "epochs=1")
    result = torchrun("-m", *command, "seed=0,1", cwd=tmp_path)
    assert result.returncode == 1
    assert "2 runs: 1 failed, 1 not started" in result.stdout
    lines = [line for line in result.stderr.splitlines() if "one loss only breaks" in line]
    assert any(line.startswith("nc-run: rank 1 of 2 on ") for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_errors_help_and_finished_runs_end_all_ranks(tmp_path):
    refused = torchrun("batch_size=127", cwd=tmp_path)
    assert refused.returncode == 1
    assert "nc-run: batch_size=127 is the batch of all ranks together" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    helped = torchrun("--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert helped.stdout.count("sync_batchnorm") == 1
    for word in ("complete: ", "already complete: "):
        done = torchrun("epochs=1", *PLAIN, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(word) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_restarts_a_run_that_lost_a_rank_and_it_resumes(tmp_path):
    command = (*PLAIN, "epochs=12", "checkpoint_seconds=0")
    process = start(*command, cwd=tmp_path, options=("--max-restarts=2",))
    for rank, epoch in ((1, 3), (0, 6)):
        wait_for_line(process, f"epoch {epoch:2}/")
        os.kill(pid_of(process, rank), signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "complete: " in output
    assert errors.count("\nnc-run: rank ") + errors.startswith("nc-run: rank ") == 2
    assert rows_of(only_run(tmp_path))["epoch"].tolist() == list(range(1, 13))
