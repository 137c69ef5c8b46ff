"""One run on several processes: real ``torchrun`` commands on the CPU, real digits."""

import json
import os
import shutil
import signal

import pandas as pd
import pytest
import torch
from helpers.launched import pid_of, start, torchrun, wait_for_line, wait_until_gone
from helpers.process import nc_run, only_run

EXACT = '''
import torch
from nc_runner.columns import TIME_COLUMNS
from nc_runner.networks import resnet


class Exact(torch.nn.Module):
    """A ResNet8 in float64: what is left of a difference is no rounding."""

    def __init__(self, **data):
        super().__init__()
        self.body = resnet(depth=8, **data).double()

    def forward(self, images):
        return self.body(images.double())
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


def test_a_sweep_on_two_processes_has_the_numbers_of_one_and_one_writer(tmp_path):
    command = (
        "net=custom", "net._target_=exact.Exact", "+net.stem=auto", "data.samples_per_class=40",
        "epochs=2", "sync_batchnorm=true", *PLAIN,
    )  # fmt: skip
    single, pair = tmp_path / "single", tmp_path / "pair"
    for folder in (single, pair):
        folder.mkdir()
        (folder / "exact.py").write_text(EXACT)
    assert nc_run(*command, cwd=single).returncode == 0
    result = torchrun("-m", *command, "lr=1e9,0.1", cwd=pair)
    assert result.returncode == 1  # one of the sweep's runs diverges, on both processes
    lines = result.stdout.splitlines()
    assert "2 runs, 1 complete, 1 failed" in lines
    assert sum(line.startswith("run folder: ") for line in lines) == 2
    assert sum(line.startswith("epoch 1/2") for line in lines) == 1
    assert result.stderr.count("no longer finite") >= 1
    (run,) = (path.parent for path in pair.rglob("checkpoint.pt"))
    assert run.name == only_run(single).name  # the number of processes is no part of the identity
    assert max(differences(rows_of(only_run(single)), rows_of(run))) < 1e-9
    assert {path.name for path in run.iterdir()} == {
        "metrics.csv", "run.json", "checkpoint.pt", "nc-run.log", "run.lock", ".hydra"
    }  # fmt: skip
    assert (run / "nc-run.log").read_text().count("epoch 2/2") == 1
    record = record_of(run)
    assert record["state"] == "complete"
    assert record["processes"] == [{"from_epoch": 0, "processes": 2}]
    assert "2 processes, each with 64 of the 128 images of a step; batch norm sees 128" in lines


SLOW = (*PLAIN, "epochs=20")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_twenty_epochs_on_two_processes_end_as_on_one(loss, tmp_path):
    """First epochs agree but for float32 rounding, which training amplifies; last ones in what they say."""
    command = (*SLOW, f"loss={loss}", "sync_batchnorm=true")
    single, pair = tmp_path / "single", tmp_path / "pair"
    single.mkdir(), pair.mkdir()
    assert nc_run(*command, cwd=single).returncode == 0
    assert torchrun(*command, cwd=pair).returncode == 0
    one, two = rows_of(only_run(single)), rows_of(only_run(pair))
    shown = ["train_loss", "train_accuracy", "test_accuracy", "nc1", "nc3_self_duality", "perp_share"]
    print(one[shown].iloc[[0, 1, -1]], two[shown].iloc[[0, 1, -1]], differences(one, two), sep="\n")
    for epoch, tolerance in ((0, 5e-3), (1, 2e-2)):
        for column in ("train_loss", "test_loss", "nc1", "mse_total"):
            assert two[column][epoch] == pytest.approx(one[column][epoch], rel=tolerance)
    last, other = one.iloc[-1], two.iloc[-1]
    assert other["train_accuracy"] == pytest.approx(last["train_accuracy"], abs=0.003)
    assert other["test_accuracy"] == pytest.approx(last["test_accuracy"], abs=0.03)
    for column in ("train_loss", "nc1", "nc3_self_duality", "snr_1"):
        assert other[column] == pytest.approx(last[column], rel=0.2)
    assert (one["nc1"].iloc[-1] < one["nc1"].iloc[0] / 5) == (two["nc1"].iloc[-1] < two["nc1"].iloc[0] / 5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_processes_are_named_and_the_run_resumes_to_the_same_bits(tmp_path):
    """Killed are the writer and the other, in turn; per-process batch norm, a network with dropout."""
    shutil.copy(os.path.join(os.path.dirname(__file__), "../experiment/lab.py"), tmp_path / "lab.py")
    command = (*SLOW, "net=custom", "net._target_=helpers.lab.TinyNetwork", "checkpoint_seconds=0")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        shutil.copy(tmp_path / "lab.py", folder)
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
        assert f"nc-run: process {rank} of 2 (process {pids[rank]} on " in errors
        assert "no longer answers" in errors
        assert errors.count("\ngive the same command again to go on from the last checkpoint") >= 1
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
def test_a_stopped_run_goes_on_with_other_numbers_of_processes(tmp_path):
    command = (*SLOW, "batch_size=120")
    process = start(*command, cwd=tmp_path)
    wait_for_line(process, "epoch  3/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "nc-run: give the same command again to go on" in errors
    run = only_run(tmp_path)
    record = record_of(run)
    assert (record["state"], record["reason"]) == ("interrupted", "SIGTERM")
    stopped = torch.load(run / "checkpoint.pt", weights_only=True)
    assert stopped["epoch"] == 3 or stopped["step"]
    process = start(*command, cwd=tmp_path, processes=3)
    assert wait_for_line(process, "3 processes, each with 40 of the 120 images of a step; batch norm sees 40")
    wait_for_line(process, "epoch  7/")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    changed = "3 processes from here on, 2 before: batch norm saw 60 images of a step, and now sees 40"
    assert errors.count(f"nc-run: {changed}") == 1
    assert changed in (run / "nc-run.log").read_text()
    last = nc_run(*command, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert "1 process from here on, 3 before: batch norm saw 40 images of a step" in last.stderr
    counts = [entry["processes"] for entry in record_of(run)["processes"]]
    assert counts == [2, 3, 1]
    rows = rows_of(run)
    assert rows["epoch"].tolist() == list(range(1, 21))
    assert rows["train_accuracy"].iloc[-1] > 0.99


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_failure_of_one_process_is_said_once_and_the_sweep_goes_on(tmp_path):
    (tmp_path / "broken.py").write_text(
        "import os\n"
        "from nc_runner.training.losses import mse\n"
        "def loss(outputs, labels):\n"
        "    if os.environ.get('RANK') == '1' and outputs.requires_grad:\n"
        "        raise ValueError('one loss only breaks')\n"
        "    return mse(outputs, labels)\n"
    )
    command = ("loss._target_=broken.loss,nc_runner.training.losses.mse", *PLAIN, "epochs=1")
    result = torchrun("-m", *command, cwd=tmp_path)
    assert result.returncode == 1
    assert "2 runs, 1 complete, 1 failed" in result.stdout
    lines = [line for line in result.stderr.splitlines() if "one loss only breaks" in line]
    assert any(
        line.startswith("process 1 of 2 on ") or "nc-run: process 1 of 2 on " in line for line in lines
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_refusals_help_and_finished_runs_end_all_processes(tmp_path):
    refused = torchrun("batch_size=127", cwd=tmp_path)
    assert refused.returncode == 1
    assert "nc-run: batch_size=127 is the batch of all processes together" in refused.stderr
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
def test_torchrun_restarts_a_run_that_lost_a_process_and_it_goes_on(tmp_path):
    command = (*PLAIN, "epochs=12", "checkpoint_seconds=0")
    process = start(*command, cwd=tmp_path, options=("--max-restarts=2",))
    for rank, epoch in ((1, 3), (0, 6)):
        wait_for_line(process, f"epoch {epoch:2}/")
        os.kill(pid_of(process, rank), signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "complete: " in output
    assert errors.count("\nnc-run: process ") + errors.startswith("nc-run: process ") == 2
    assert rows_of(only_run(tmp_path))["epoch"].tolist() == list(range(1, 13))
