"""Killed without warning, at any moment, and started again: nothing lost, nothing done twice."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from helpers.process import FAST, WHOLE, nc_run, only_run, start
from helpers.settings import settings_of

from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.identity import folder_name


def result(run):
    """What must be equal to the last bit: rows without times, and weights."""
    rows = pd.read_csv(run / "metrics.csv").drop(columns=list(TIME_COLUMNS))
    weights = torch.load(run / "checkpoint.pt", weights_only=True)["model"]
    return rows.to_csv(), {name: value.tolist() for name, value in weights.items()}


def kill_until_complete(arguments, folder, kills, generator, longest):
    """Start the command, kill it at a random moment, again and again; then let it end. The kills that hit."""
    killed = 0
    for _ in range(kills):
        process = start(*arguments, cwd=folder)
        began = process.stdout.readline().startswith(("run folder", "resuming"))
        if not began:
            process.communicate()
            break
        time.sleep(generator.uniform(0, longest))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    last = nc_run(*arguments, cwd=folder)
    assert last.returncode == 0, last.stderr
    return killed


# from the line "run folder" it takes about 3 s to the first epoch, and about 0.2 s for an epoch
LONGEST = 5.0


def test_a_run_killed_at_random_moments_ends_equal_to_the_last_bit(whole, tmp_path):
    """checkpoint_seconds=0 writes one after every epoch: the kills fall into writes as well."""
    kill_until_complete(WHOLE, tmp_path, 2, random.Random(3), LONGEST)
    assert result(only_run(tmp_path)) == result(only_run(whole))


def test_a_run_whose_table_is_cut_while_it_goes_on_ends_with_the_reason_and_is_made_whole(whole, tmp_path):
    process = start(*WHOLE, cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("epoch "):
            break
    table = only_run(tmp_path) / "metrics.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *lines[2:]]))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "metrics.csv was changed while the run went on: it has " in errors
    assert nc_run(*WHOLE, cwd=tmp_path).returncode == 0
    assert result(only_run(tmp_path)) == result(only_run(whole))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_long_run_killed_25_times_ends_equal_to_the_last_bit(tmp_path):
    arguments = ("epochs=150", *WHOLE[1:])
    (whole := tmp_path / "whole").mkdir()
    assert nc_run(*arguments, cwd=whole).returncode == 0
    (killed := tmp_path / "killed").mkdir()
    assert kill_until_complete(arguments, killed, 25, random.Random(25), LONGEST) == 25
    assert result(only_run(killed)) == result(only_run(whole))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_augmented_run_of_adamw_along_a_cosine_killed_30_times_ends_equal_to_the_last_bit(tmp_path):
    """checkpoint_seconds=0.5: checkpoints and kills fall within epochs."""
    chosen = (
        "optimizer=adamw", "lr_schedule=cosine", "lr_warmup_epochs=10", "decay.norm=0",
        "data.augment=standard",
    )  # fmt: skip
    arguments = ("epochs=150", *WHOLE[1:-1], "checkpoint_seconds=0.5", *chosen)
    (whole := tmp_path / "whole").mkdir()
    assert nc_run(*arguments, cwd=whole).returncode == 0
    (killed := tmp_path / "killed").mkdir()
    assert kill_until_complete(arguments, killed, 30, random.Random(30), LONGEST) == 30
    assert result(only_run(killed)) == result(only_run(whole))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_killed_twice_ends_complete_and_trains_no_finished_run_again(tmp_path):
    command = (
        "-m",
        "seed=0,1,2",
        "loss=mse,ce",
        "epochs=10",
        "threads=1",
        "progress=plain",
        "checkpoint_seconds=0",
    )
    for finished_before in (1, 3):
        process = subprocess.Popen(
            [sys.executable, "-m", "nc_runner", *command], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        finished = 0
        for line in process.stdout:
            if line.startswith("already complete: "):
                finished += int(line.split()[2])
            finished += line.startswith("complete: ")
            if finished == finished_before and line.startswith("epoch  5/"):
                break
        process.kill()
        process.communicate()
    last = nc_run(*command, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert "6 runs: 6 complete" in last.stdout
    assert "already complete: 3 of 6 runs" in last.stdout
    logs = list(tmp_path.rglob("nc-run.log"))
    assert len(logs) == 6
    for log in logs:
        epochs = [
            line.split("epoch")[1].split("/")[0].strip()
            for line in log.read_text().splitlines()
            if "INFO epoch" in line
        ]
        # an epoch whose checkpoint was not written before the kill is computed again, and no other
        assert len(epochs) <= 11
        assert sorted(set(map(int, epochs))) == list(range(1, 11))


def test_a_second_sigint_stops_at_once(tmp_path):
    process = start("epochs=400", "threads=1", "progress=plain", cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("epoch "):
            break
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_a_damaged_table_of_a_finished_run_is_restored_from_its_checkpoint(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    run = only_run(tmp_path)
    before = (run / "metrics.csv").read_bytes()
    (run / "metrics.csv").write_bytes(before[:-20])
    again = nc_run(*FAST, cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.startswith("resuming: ")
    assert (run / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged: it is not JSON"),
        (b"\xff\x00", "is damaged: it is not JSON"),
        (b"[]", "names no state"),
        (b'{"state": "complete", "format": 99}', "was made by a newer nc-runner"),
        (
            b'{"state": "complete", "format": 1, "identity": [1]}',
            "its entry identity is no table of settings",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_said_and_left_alone(content, message, tmp_path):
    arguments = ("epochs=1", "threads=1", "progress=plain")
    settings = settings_of(*arguments)
    folder = tmp_path / "outputs" / folder_name(settings)
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(content)
    refused = nc_run(*arguments, cwd=tmp_path)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2
    assert (folder / "run.json").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    result = nc_run("epochs=1", cwd=tmp_path)
    assert result.returncode == 1
    assert "outputs" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 2
