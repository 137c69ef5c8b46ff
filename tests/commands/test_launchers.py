"""Sweeps in other processes: the same rows, outcomes and exit codes as in one; runs that can be stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.process import nc_run, start
from helpers.settings import settings_of

from nc_runner.columns import TIME_COLUMNS
from nc_runner.commands import shares
from nc_runner.commands.hydra_app.messages import EXTRAS
from nc_runner.config.identity import identity
from nc_runner.runs.sweeps import SweepArchive

SIX = ("-m", "loss=mse,ce", "lr=0.1,0.2,1e9", "epochs=2", "threads=1", "progress=none")
JOBLIB = ("launcher=joblib", "launcher.jobs=2")


def rows_below(folder):
    """The rows of all runs without times, by folder."""
    return {
        str(table.parent.relative_to(folder)): pd.read_csv(table).drop(columns=list(TIME_COLUMNS)).to_csv()
        for table in Path(folder).rglob("metrics.csv")
    }


def last_lines(result):
    """The list of runs that ends a sweep."""
    lines = result.stdout.splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.startswith("6 runs: ")]
    return lines[first:]


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("basic")
    return folder, nc_run(*SIX, cwd=folder)


def check_equal(launcher, basic, folder):
    """``launcher`` against Hydra's basic launcher: six runs, of which two diverge."""
    before, expected = basic
    assert "6 runs: 4 complete, 2 diverged" in expected.stdout
    result = nc_run(*SIX, *launcher, cwd=folder)
    assert (result.returncode, expected.returncode) == (1, 1)
    assert last_lines(result) == last_lines(expected)
    assert rows_below(folder) == rows_below(before)
    assert len(rows_below(folder)) == 6
    assert "Traceback" not in result.stderr
    again = nc_run(*SIX[:2], "lr=0.1,0.2", *SIX[3:], *launcher, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "4 runs: 4 complete" in again.stdout


def test_joblib_gives_the_rows_list_and_exit_code_of_the_basic_launcher(basic, tmp_path):
    check_equal(JOBLIB, basic, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_submitit_on_this_machine_gives_the_same(basic, tmp_path):
    check_equal(("launcher=submitit_local",), basic, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_on_this_machine_gives_the_same(basic, tmp_path):
    pytest.importorskip("ray", reason="nc-runner[ray] is not installed")
    check_equal(("launcher=ray", "launcher.cpus=1"), basic, tmp_path)


def test_bad_settings_are_errors_before_any_process_is_started(tmp_path):
    result = nc_run("-m", "lr=0.1,-1", *JOBLIB, cwd=tmp_path)
    assert result.returncode == 2
    assert "lr=-1 is not valid" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_start_leaves_no_folder_and_its_reason(tmp_path):
    result = nc_run("-m", "data.samples_per_class=5,5000", "batch_size=20", *SIX[3:], *JOBLIB, cwd=tmp_path)
    assert result.returncode == 1
    assert "2 runs: 1 complete, 1 failed" in result.stdout
    assert "data.samples_per_class=5000, but class" in result.stdout  # in the list at the end
    assert len([path for path in tmp_path.rglob("lr*") if path.is_dir()]) == 1


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_stops_all_runs_which_resume_from_there(name, tmp_path):
    command = ("-m", "seed=0,1,2", "epochs=400", "threads=1", "progress=plain", *JOBLIB)
    process = start(*command, cwd=tmp_path)
    seen = 0
    for line in process.stdout:
        seen += "] epoch   1/" in line
        if seen == 2:
            break
    process.send_signal(getattr(signal, name))
    output, errors = process.communicate(timeout=120)
    assert process.returncode == (130 if name == "SIGINT" else 143), errors
    assert "3 runs: 3 interrupted" in output or "3 runs: 2 interrupted, 1 not started" in output
    assert "give the same command again to resume" in errors
    assert "Traceback" not in errors
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [record["state"] for record in records] == ["interrupted"] * 2  # the third was not begun
    assert len(list(tmp_path.rglob("checkpoint.pt"))) == 2


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_ends_a_sweep_of_which_a_process_has_no_run_left(name, tmp_path):
    """A waiting process of joblib's must not be ended: it holds the queue's lock."""
    process = start("-m", "epochs=1,400", "threads=1", "progress=plain", *JOBLIB, cwd=tmp_path)
    for line in process.stdout:
        if "] complete: " in line:
            break
    time.sleep(0.5)  # its process goes back to wait for work
    process.send_signal(getattr(signal, name))
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == (130 if name == "SIGINT" else 143), errors
    assert "2 runs: 1 complete, 1 interrupted" in output
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_process_ends_the_sweep_with_advice_and_the_same_command_resumes(tmp_path):
    command = ("-m", "seed=0,1", "epochs=12", "threads=1", "progress=plain", *JOBLIB)
    process = start(*command, cwd=tmp_path)
    for line in process.stdout:
        if "epoch  2/" in line:
            break
    victim = json.loads(next(tmp_path.rglob("run.json")).read_text())["pid"]
    os.kill(victim, signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the launcher JoblibLauncher failed" in errors
    assert "the same command resumes what is not finished" in errors
    assert "2 runs: 2 lost" in output  # joblib ends the other process as well
    assert f"its process {victim} on " in output
    result = nc_run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 runs: 2 complete" in result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="no such signal here")
def test_a_warned_submitit_job_saves_its_state_is_requeued_and_resumes(tmp_path):
    """SIGUSR2 is what submitit has Slurm send before the time limit; its local controller requeues too."""
    command = ("-m", "seed=0", "epochs=30", "threads=1", "progress=plain", "launcher=submitit_local")
    process = start(*command, cwd=tmp_path)
    deadline = time.monotonic() + 200
    while not (found := rows_below(tmp_path)) or len(next(iter(found.values())).splitlines()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    (record,) = tmp_path.rglob("run.json")
    first = json.loads(record.read_text())["pid"]
    os.kill(first, signal.SIGUSR2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    after = json.loads(record.read_text())
    assert after["state"] == "complete"
    assert after["pid"] != first
    assert after["resumed_from_epoch"] >= 3
    (whole := tmp_path / "whole").mkdir()
    assert nc_run("seed=0", *command[2:5], cwd=whole).returncode == 0
    assert list(rows_below(tmp_path / "outputs").values()) == list(rows_below(whole / "outputs").values())


def test_the_slurm_preset_asks_slurm_for_what_the_settings_say(tmp_path):
    """A stand-in for sbatch keeps the script that submitit hands it, and fails as Slurm does."""
    (programs := tmp_path / "programs").mkdir()
    for name, body in (
        ("sbatch", f'cp "$1" {tmp_path}/script; echo "sbatch: error: invalid partition" >&2; exit 1'),
        ("srun", "exit 1"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    result = nc_run(
        "-m", "seed=0,1,2", "launcher=slurm", "launcher.jobs=2", "launcher.gpus=1", "launcher.hours=1.5",
        "launcher.partition=gpu", "launcher.memory_gb=8", "launcher.account=lab",
        cwd=tmp_path, PATH=os.pathsep.join([str(programs), os.environ["PATH"]]),
    )  # fmt: skip
    assert result.returncode == 1
    assert "the launcher SlurmLauncher failed" in result.stderr
    assert "invalid partition" in result.stderr
    assert "Traceback" not in result.stderr
    script = (tmp_path / "script").read_text()
    for directive in (
        "--array=0-2%2", "--cpus-per-task=4", "--gpus-per-node=1", "--time=90", "--partition=gpu",
        "--mem=8GB", "--account=lab", "--signal=USR2@120", "--job-name=nc-run",
    ):  # fmt: skip
        assert f"#SBATCH {directive}\n" in script


def test_a_time_limit_that_leaves_no_time_is_an_error_before_anything_starts(tmp_path):
    result = nc_run("-m", "seed=0,1", "launcher=slurm", "launcher.hours=0.03", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "nc-run: launcher.hours gives a time limit of 120 s, and Slurm's warning comes 120 s before the "
        "limit: no job would get any further\ngive a longer launcher.hours\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_sweep_of_one_run_reports_too(tmp_path):
    result = nc_run("-m", "seed=3", "epochs=1", *SIX[4:], *JOBLIB, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    first, last = result.stdout.splitlines()[-2:]
    assert first == "1 run: 1 complete"
    assert re.match(
        r"  complete    outputs/mse-resnet8-digits/\S+  \(epoch 1, test [0-9.]+%, NC1 [0-9.e+-]+\)", last
    )


def test_lines_of_parallel_runs_begin_with_the_runs_number(tmp_path):
    result = nc_run("-m", "seed=0,1", "epochs=1", "threads=1", "progress=plain", *JOBLIB, cwd=tmp_path)
    lines = result.stdout.partition("2 runs: ")[0].strip().splitlines()
    assert {line.split("] ")[0] for line in lines} == {"[1/2", "[2/2"}
    assert sum("] epoch 1/1 " in line for line in lines) == 2


# What a run may use


@pytest.fixture
def machine(monkeypatch):
    """A process of a sweep, before torch is imported, on eight cores; nothing of it is left behind."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(shares, "usable_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as joblib leaves it
    for name in (shares.SPIN, "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # to be restored at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv(shares.VISIBLE, "")
    return monkeypatch


def threads_of(*overrides):
    return shares.with_threads(settings_of(*overrides)).threads, os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize(
    ("overrides", "threads"),
    [
        (("launcher.name=joblib", "launcher.jobs=2"), 4),
        (("launcher.name=joblib", "launcher.jobs=3"), 2),
        (("launcher.name=joblib", "launcher.jobs=20"), 1),
        (("launcher.name=joblib",), 1),  # as many runs as cores
        (("launcher.name=joblib", "launcher.jobs=2", "threads=3"), 3),
        (("launcher.name=ray", "launcher.cpus=2"), 2),
        (("launcher.name=slurm", "launcher.jobs=256", "launcher.cpus=4"), 4),
    ],
)
def test_threads_are_the_runs_share_of_the_cores(overrides, threads, machine):
    assert threads_of(*overrides) == (threads, str(threads))


def test_openmps_threads_soon_sleep_unless_the_user_says_how_long_they_wait(machine):
    threads_of()
    assert os.environ[shares.SPIN] == "3000"
    machine.setenv(shares.SPIN, "7")
    threads_of()
    assert os.environ[shares.SPIN] == "7"
    machine.delenv(shares.SPIN)
    machine.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads_of()
    assert shares.SPIN not in os.environ


def test_without_a_launcher_threads_are_torchs_choice(machine):
    assert threads_of() == (None, "1")


TAKE = """
import os, sys
from pathlib import Path
from nc_runner.commands.shares import take_gpu
from nc_runner.runs.sweeps import SweepArchive
take_gpu(SweepArchive(Path(sys.argv[1]), "sweep"), 4)
take_gpu(SweepArchive(Path(sys.argv[1]), "sweep"), 4)  # its next run keeps it
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


def test_gpus_are_dealt_out_in_turn_and_a_process_keeps_its_own_until_it_ends(tmp_path):
    SweepArchive(tmp_path, "sweep").folder.mkdir(parents=True)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "3,GPU-abc,7"}

    def process():
        command = [sys.executable, "-c", TAKE, str(tmp_path)]
        started = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return started, started.stdout.readline().strip()

    processes = [process() for _ in range(4)]
    assert [gpu for _, gpu in processes] == ["3", "GPU-abc", "7", "3"]
    processes[1][0].communicate()  # ends; the next one takes its place
    processes.append(process())
    assert processes[-1][1] == "GPU-abc"
    for started, _ in processes:
        if started.poll() is None:
            started.communicate()


def test_one_gpu_or_none_is_left_as_it_is(machine, tmp_path):
    for visible in ("", "5", "-1"):
        machine.setenv(shares.VISIBLE, visible)
        shares.take_gpu(SweepArchive(tmp_path, "sweep"), 2)
        assert os.environ[shares.VISIBLE] == visible


def test_as_many_runs_as_gpus_where_there_are_any_else_as_cores(machine):
    assert shares.runs_at_a_time(None) == 8
    machine.setenv(shares.VISIBLE, "0,1,2")
    assert (shares.runs_at_a_time(None), shares.runs_at_a_time(5)) == (3, 5)
    assert shares.cpus_of_run(None, None) == 2


def test_ray_is_asked_for_a_gpu_where_there_is_one(machine):
    assert (shares.gpus_of_ray_run(None), shares.gpus_of_ray_run(2)) == (0, 2)
    machine.setenv(shares.VISIBLE, "0,1")
    assert (shares.gpus_of_ray_run(None), shares.gpus_of_ray_run(0)) == (1, 0)


def test_how_runs_are_spread_is_no_part_of_their_identity():
    spread = settings_of("launcher.name=slurm", "launcher.jobs=7", "launcher.gpus=1", "objective=nc1")
    assert identity(spread) == identity(settings_of())


@pytest.mark.parametrize("launcher", ["joblib", "slurm", "submitit_local", "ray"])
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(launcher, tmp_path):
    """A path without Hydra's plugins: each is found by its namespace package."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "__init__.py").write_text("")  # hides those that are installed
    result = nc_run("-m", f"launcher={launcher}", "lr=0.1,0.2", cwd=tmp_path, PYTHONPATH=paths(tmp_path))
    assert result.returncode == 2
    group = {"slurm": "submitit_slurm"}.get(launcher, launcher)
    extra, package = EXTRAS[f"hydra/launcher={group}"]
    problem = f"nc-run: hydra/launcher={group} needs the extra {extra}, which is not installed"
    assert result.stderr == f"{problem}\npip install {package}\n"
    extras = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\n{extra} = ["{package}>=' in extras


def paths(first):
    return os.pathsep.join([str(first), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
