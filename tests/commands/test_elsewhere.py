"""Runs of a sweep that another process has: waited for, taken over where let go, never trained twice."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.process import nc_run, only_run, start

from nc_runner.commands.attempt import remove_if_nothing_began
from nc_runner.runs.record import LOCK_FILE, read_run_file

QUICK = ("epochs=1", "threads=1", "progress=none")
JOBLIB = ("launcher=joblib", "launcher.jobs=2")
HOLD = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Holds the lock of a run folder in another process, until its input is closed."""
    holders = []

    def begin(folder):
        folder.mkdir(parents=True, exist_ok=True)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder / LOCK_FILE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        holder.stdout.readline()
        holders.append(holder)
        return holder

    yield begin
    for holder in holders:
        holder.kill()
        holder.communicate()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of seed 0, and its folder below that of its command."""
    folder = tmp_path_factory.mktemp("made")
    assert nc_run("seed=0", *QUICK, cwd=folder).returncode == 0
    return only_run(folder), only_run(folder).relative_to(folder)


def start_waiting(*arguments, cwd):
    """A sweep that has said what it waits for, with that line."""
    process = start("-m", *arguments, *QUICK, cwd=cwd)
    for line in process.stdout:
        if line.startswith("waiting: "):
            return process, line
    raise AssertionError(process.communicate())


def starts(folder):
    """How often each run below ``folder`` was begun, or resumed, by its log."""
    logs = [path.read_text() for path in Path(folder).rglob("nc-run.log")]
    return [sum(", from epoch " in line for line in log.splitlines()) for log in logs]


@pytest.mark.parametrize(
    "launcher", [(), pytest.param(JOBLIB, marks=pytest.mark.slow)], ids=["basic", "joblib"]
)
def test_a_sweep_waits_for_a_run_that_another_process_writes(launcher, made, hold, tmp_path):
    source, name = made
    holder = hold(tmp_path / name)
    sweep, line = start_waiting("seed=0,1", *launcher, cwd=tmp_path)
    assert line == "waiting: 1 of 2 run is in other hands (another process)\n"
    shutil.copytree(source, tmp_path / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOCK_FILE))
    holder.communicate()  # which ends it
    stdout, stderr = sweep.communicate(timeout=240)
    assert (sweep.returncode, stderr) == (0, "")
    assert f"[1/2] complete elsewhere: {name}  (epoch 1," in stdout
    assert "\n2 runs: 2 complete\n" in stdout
    assert starts(tmp_path) == [1, 1]


def test_a_run_that_is_finished_elsewhere_is_given_to_the_trackers_that_lack_it(made, hold, tmp_path):
    source, name = made
    holder = hold(tmp_path / name)
    sweep, _ = start_waiting("seed=0", "tracker=tensorboard", cwd=tmp_path)
    shutil.copytree(source, tmp_path / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOCK_FILE))
    holder.communicate()
    stdout, stderr = sweep.communicate(timeout=240)
    assert (sweep.returncode, stderr) == (0, "")
    assert "\n1 run: 1 complete\n" in stdout
    assert starts(tmp_path) == [1]
    assert len(list((tmp_path / name).glob("events.out.tfevents.*"))) == 1


def test_a_run_that_is_let_go_unfinished_is_taken_over(made, hold, tmp_path):
    _, name = made
    holder = hold(tmp_path / name)
    sweep, _ = start_waiting("seed=0", cwd=tmp_path)
    holder.kill()
    stdout, stderr = sweep.communicate(timeout=240)
    assert (sweep.returncode, stderr) == (0, "")
    assert f"run 1 of 1: {name}\n" in stdout
    assert "\n1 run: 1 complete\n" in stdout
    assert read_run_file(tmp_path / name)["pid"] == sweep.pid


def test_a_sweep_that_is_stopped_while_it_waits_says_who_has_the_run(made, hold, tmp_path):
    _, name = made
    hold(tmp_path / name)
    sweep, _ = start_waiting("seed=0", cwd=tmp_path)
    sweep.send_signal(signal.SIGTERM)
    stdout, stderr = sweep.communicate(timeout=240)
    assert sweep.returncode == 143, stderr
    assert f"\n1 run: 1 elsewhere\n  elsewhere   {name}  (another process)\n" in stdout


def test_two_commands_at_once_share_the_runs_of_one_outputs_folder(tmp_path):
    both = [start("-m", "seed=0,1,2,3", *QUICK, *JOBLIB, cwd=tmp_path) for _ in range(2)]
    for process in both:
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stdout + stderr
        assert "\n4 runs: 4 complete\n" in stdout
    assert starts(tmp_path) == [1] * 4


def test_a_folder_that_another_process_has_is_not_taken_away(hold, tmp_path):
    folder = tmp_path / "cell" / "run"
    (folder / ".hydra").mkdir(parents=True)
    holder = hold(folder)
    remove_if_nothing_began(folder)
    assert sorted(os.listdir(folder)) == [".hydra", LOCK_FILE]
    holder.communicate()
    remove_if_nothing_began(folder)
    assert not (tmp_path / "cell").exists()
