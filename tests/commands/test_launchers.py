"""Sweeps in other processes: the same rows, outcomes and exit codes as in one; runs that can be stopped."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers.lab import settings_of
from helpers.process import nc_run, start

from nc_runner.columns import TIME_COLUMNS
from nc_runner.commands import launching
from nc_runner.commands.launching import Objective, Outcome
from nc_runner.commands.messages import EXTRAS
from nc_runner.config.schema import deciding_settings

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
    (first,) = [i for i, line in enumerate(lines) if " runs, " in line and " complete, " in line]
    return [line for line in lines[first:] if line.startswith((" ", "6 runs"))]


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("basic")
    return folder, nc_run(*SIX, cwd=folder)


def check_equal(launcher, basic, folder):
    """``launcher`` against Hydra's basic launcher: six runs, of which two diverge."""
    before, expected = basic
    assert "6 runs, 4 complete, 2 failed" in expected.stdout
    result = nc_run(*SIX, *launcher, cwd=folder)
    assert (result.returncode, expected.returncode) == (1, 1)
    assert last_lines(result) == last_lines(expected)
    assert rows_below(folder) == rows_below(before)
    assert len(rows_below(folder)) == 6
    assert "Traceback" not in result.stderr
    again = nc_run(*SIX[:2], "lr=0.1,0.2", *SIX[3:], *launcher, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "4 runs, 4 complete, 0 failed" in again.stdout


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


def test_bad_settings_are_refused_before_any_process_is_started(tmp_path):
    result = nc_run("-m", "lr=0.1,-1", *JOBLIB, cwd=tmp_path)
    assert result.returncode == 2
    assert "lr=-1.0 is refused" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_start_leaves_no_folder_and_its_reason(tmp_path):
    result = nc_run("-m", "data.samples_per_class=5,5000", "batch_size=20", *SIX[3:], *JOBLIB, cwd=tmp_path)
    assert result.returncode == 1
    assert "2 runs, 1 complete, 1 failed" in result.stdout
    assert "data.samples_per_class=5000, but class" in result.stdout  # in the list at the end
    assert len([path for path in tmp_path.rglob("lr*") if path.is_dir()]) == 1


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_stops_all_runs_which_go_on_from_there(name, tmp_path):
    command = ("-m", "seed=0,1,2", "epochs=400", "threads=1", "progress=plain", *JOBLIB)
    process = start(*command, cwd=tmp_path)
    seen = 0
    for line in process.stdout:
        seen += line.startswith("epoch   1/")
        if seen == 2:
            break
    process.send_signal(getattr(signal, name))
    output, errors = process.communicate(timeout=120)
    assert process.returncode == (130 if name == "SIGINT" else 143), errors
    assert "3 runs, 0 complete, 0 failed, 3 interrupted" in output
    assert "give the same command again to go on" in errors
    assert "Traceback" not in errors
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [record["state"] for record in records] == ["interrupted"] * 2  # the third was not begun
    assert len(list(tmp_path.rglob("checkpoint.pt"))) == 2


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_sweep_of_which_a_process_has_no_run_left(name, tmp_path):
    """A waiting process of joblib's must not be ended: it holds the queue's lock."""
    process = start("-m", "epochs=1,400", "threads=1", "progress=plain", *JOBLIB, cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("complete: "):
            break
    time.sleep(0.5)  # its process goes back to wait for work
    process.send_signal(getattr(signal, name))
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == (130 if name == "SIGINT" else 143), errors
    assert "2 runs, 1 complete, 0 failed, 1 interrupted" in output
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_process_ends_the_sweep_with_advice_and_the_same_command_goes_on(tmp_path):
    command = ("-m", "seed=0,1", "epochs=12", "threads=1", "progress=plain", *JOBLIB)
    process = start(*command, cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("epoch  2/"):
            break
    victim = json.loads(next(tmp_path.rglob("run.json")).read_text())["pid"]
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the launcher JoblibLauncher failed" in errors
    assert "the same command again goes on" in errors
    result = nc_run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 runs, 2 complete, 0 failed" in result.stdout


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


# What a run may use


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A process of a sweep, before torch is imported, on eight cores; nothing of it is left behind."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(launching, "_held", [])
    monkeypatch.setattr(launching, "cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as joblib leaves it
    for name in (launching.SPIN, "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # to be restored at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv(launching.SWEEP_FOLDER, str(tmp_path))
    monkeypatch.setenv(launching.VISIBLE, "")
    yield monkeypatch
    for lock in launching._held:
        lock.release()


def settled(*overrides):
    settings = settings_of(*overrides)
    launching.settle(settings)
    return settings["threads"], os.environ["OMP_NUM_THREADS"]


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
    assert settled(*overrides) == (threads, str(threads))


def test_openmps_threads_soon_sleep_unless_the_user_says_how_long_they_wait(machine):
    settled()
    assert os.environ[launching.SPIN] == "3000"
    machine.setenv(launching.SPIN, "7")
    settled()
    assert os.environ[launching.SPIN] == "7"
    machine.delenv(launching.SPIN)
    machine.setenv("OMP_WAIT_POLICY", "ACTIVE")
    settled()
    assert launching.SPIN not in os.environ


def test_without_a_launcher_threads_are_torchs_choice(machine):
    assert settled() == (None, "1")


def test_gpus_are_dealt_out_in_turn_and_a_process_keeps_its_own(machine):
    machine.setenv(launching.VISIBLE, "3,GPU-abc,7")
    dealt, locks = [], []
    for _ in range(4):  # four processes, of one lock each
        machine.setenv(launching.VISIBLE, "3,GPU-abc,7")
        machine.setattr(launching, "_held", [])
        settled("launcher.name=joblib", "launcher.jobs=4")
        dealt.append(os.environ[launching.VISIBLE])
        settled("launcher.name=joblib", "launcher.jobs=4")  # its next run
        assert os.environ[launching.VISIBLE] == dealt[-1]
        locks.extend(launching._held)
    assert dealt == ["3", "GPU-abc", "7", "3"]
    locks[1].release()  # that process ended; the next one takes its place
    machine.setenv(launching.VISIBLE, "3,GPU-abc,7")
    machine.setattr(launching, "_held", [])
    settled("launcher.name=joblib", "launcher.jobs=4")
    assert os.environ[launching.VISIBLE] == "GPU-abc"
    for lock in locks:
        lock.release()


def test_one_gpu_or_none_is_left_as_it_is(machine):
    for visible in ("", "5", "-1"):
        machine.setenv(launching.VISIBLE, visible)
        settled("launcher.name=joblib", "launcher.jobs=2")
        assert os.environ[launching.VISIBLE] == visible


def test_as_many_runs_as_gpus_where_there_are_any_else_as_cores(machine):
    assert launching.run_count(None) == 8
    machine.setenv(launching.VISIBLE, "0,1,2")
    assert (launching.run_count(None), launching.run_count(5)) == (3, 5)
    assert launching.run_cpus(None, None) == 2


def test_ray_is_asked_for_a_gpu_where_there_is_one(machine):
    assert (launching.run_gpus(None), launching.run_gpus(2)) == (0, 2)
    machine.setenv(launching.VISIBLE, "0,1")
    assert (launching.run_gpus(None), launching.run_gpus(0)) == (1, 0)


def test_how_runs_are_spread_decides_no_number():
    spread = settings_of("launcher.name=slurm", "launcher.jobs=7", "launcher.gpus=1", "objective=nc1")
    assert deciding_settings(spread) == deciding_settings(settings_of())


def test_an_objective_goes_between_processes_with_its_outcome():
    import pickle

    sent = Objective(0.5, Outcome(Path("a"), "complete"))
    back = pickle.loads(pickle.dumps(sent))
    assert back == 0.5
    assert back.outcome == sent.outcome


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
