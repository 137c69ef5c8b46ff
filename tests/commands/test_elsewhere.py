"""Runs of a sweep that another process has: waited for, taken over where let go, never trained twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.process import FAST, nc_run, only_run, start

from nc_runner.commands.attempt import remove_if_nothing_began
from nc_runner.runs.record import LOCK_FILE, read_run_file

SLOW = ("epochs=60", "threads=1", "progress=none")
JOBLIB = ("launcher=joblib", "launcher.jobs=2")


def begin_slow_run(folder, *settings):
    """A single run that goes on for some seconds, and its folder."""
    process = start(*SLOW, *settings, cwd=folder)
    end = time.monotonic() + 60
    while not any(Path(folder).rglob("run.json")):
        assert process.poll() is None, process.communicate()
        if time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(0.1)
    return process, only_run(folder)


def starts(folder):
    """How often each run below ``folder`` was begun, or resumed, by its log."""
    return {
        path.parent.name: sum(", from epoch " in line for line in path.read_text().splitlines())
        for path in Path(folder).rglob("nc-run.log")
    }


@pytest.mark.parametrize("launcher", [(), JOBLIB])
def test_a_sweep_waits_for_a_run_that_another_process_writes(launcher, tmp_path):
    process, folder = begin_slow_run(tmp_path, "seed=0")
    result = nc_run("-m", "seed=0,1", *SLOW, "epochs=60", *launcher, cwd=tmp_path)
    process.communicate(timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"waiting: 1 of 2 run is in other hands (process {process.pid} on " in result.stdout
    assert f"[1/2] complete elsewhere: {folder.relative_to(tmp_path)}  (epoch 60" in result.stdout
    assert "2 runs: 2 complete\n" in result.stdout
    assert set(starts(tmp_path).values()) == {1}
    assert len(starts(tmp_path)) == 2


def test_a_run_that_is_let_go_unfinished_is_resumed(tmp_path):
    process, folder = begin_slow_run(tmp_path, "seed=0", "checkpoint_seconds=0")
    sweep = start("-m", "seed=0", *SLOW, "checkpoint_seconds=0", cwd=tmp_path)
    for line in sweep.stdout:
        if line.startswith("waiting: "):
            break
    process.kill()
    process.communicate()
    stdout, stderr = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, stdout + stderr
    assert f"resuming: {folder.relative_to(tmp_path)}" in stdout
    assert "1 run: 1 complete\n" in stdout
    assert read_run_file(folder)["pid"] == sweep.pid


def test_a_sweep_that_is_stopped_while_it_waits_says_who_has_the_run(tmp_path):
    process, folder = begin_slow_run(tmp_path, "seed=0", "epochs=2000")
    sweep = start("-m", "seed=0", *SLOW, "epochs=2000", cwd=tmp_path)
    for line in sweep.stdout:
        if line.startswith("waiting: "):
            break
    sweep.send_signal(signal.SIGTERM)
    stdout, stderr = sweep.communicate(timeout=60)
    process.terminate()
    process.communicate(timeout=60)
    assert sweep.returncode == 143, stderr
    assert f"  elsewhere   {folder.relative_to(tmp_path)}  (process {process.pid} on " in stdout


def test_two_commands_at_once_share_the_runs_of_one_outputs_folder(tmp_path):
    command = ("-m", "seed=0,1,2,3", *FAST, "epochs=20", *JOBLIB)
    both = [start(*command, cwd=tmp_path) for _ in range(2)]
    for process in both:
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stdout + stderr
        assert "4 runs: 4 complete\n" in stdout
    assert list(starts(tmp_path).values()) == [1] * 4


def test_a_folder_that_another_process_has_is_not_taken_away(tmp_path):
    folder = tmp_path / "cell" / "run"
    (folder / ".hydra").mkdir(parents=True)
    code = "import sys, filelock; filelock.FileLock(sys.argv[1]).acquire(); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / LOCK_FILE)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    holder.stdout.readline()
    remove_if_nothing_began(folder)
    assert sorted(os.listdir(folder)) == [".hydra", LOCK_FILE]
    holder.communicate()
    remove_if_nothing_began(folder)
    assert not (tmp_path / "cell").exists()
