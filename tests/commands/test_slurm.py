"""Sweeps on a real Slurm of two nodes on this machine: ``pytest -m slurm``, as root."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from helpers.process import nc_run, start

from nc_runner.columns import TIME_COLUMNS
from nc_runner.commands.slurm import QueuedJob, jobs_of_user, time_limit

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_cluster.sh"
DAEMONS = ("slurmctld", "slurmd", "sbatch", "munged")
MISSING = [name for name in DAEMONS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
FOR_ACCOUNTING = ("slurmdbd", "mariadbd")
NO_ACCOUNTING = [
    name for name in FOR_ACCOUNTING if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
]
QUICK = ("threads=1", "progress=none", "checkpoint_seconds=0")
SLURM = ("launcher=slurm", "launcher.cpus=1", "launcher.memory_gb=1", "launcher.hours=1")

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: there is no {', '.join(MISSING)}"),
    pytest.mark.skipif(os.getuid() != 0, reason="Slurm's daemons are started as root"),
]


@contextmanager
def slurm(folder, *options, **variables):
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", **variables}
    subprocess.run(["bash", SCRIPT, "start", *options, folder], check=True, timeout=240, env=environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
        yield
    subprocess.run(["bash", SCRIPT, "stop", folder], check=True, timeout=120, env=environment)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(autouse=True)
def _no_job_is_left():
    yield
    subprocess.run(["scancel", f"--user={os.getuid()}"], check=True)
    wait_until(lambda: not alive(), seconds=120)


def alive():
    return {name: job for name, job in (jobs_of_user() or {}).items() if not job.ended}


def running():
    return sorted(name for name, job in alive().items() if job.state == "RUNNING")


def wait_until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, alive()
        time.sleep(0.5)
    return result


def begun(folder, count):
    """Wait until so many runs have a checkpoint."""
    return wait_until(lambda: len(list(Path(folder).rglob("checkpoint.pt"))) >= count)


def rows_below(folder):
    return {
        table.parent.name: pd.read_csv(table).drop(columns=list(TIME_COLUMNS)).to_csv()
        for table in Path(folder).rglob("metrics.csv")
    }


def starts(folder):
    """How often each run was begun or resumed."""
    return sorted(
        sum(", from epoch " in line for line in path.read_text().splitlines())
        for path in Path(folder).rglob("nc-run.log")
    )


def end_of(process, seconds=600):
    stdout, stderr = process.communicate(timeout=seconds)
    assert "Traceback" not in stderr
    assert "sacct" not in stderr, "submitit asks for accounting"
    return process.returncode, stdout, stderr


def test_rows_last_lines_and_exit_code_are_those_of_the_basic_launcher(tmp_path):
    command = ("-m", "seed=0,1", "lr=0.1,1e9", "epochs=2", *QUICK)
    (tmp_path / "basic").mkdir()
    (tmp_path / "slurm").mkdir()
    basic = nc_run(*command, cwd=tmp_path / "basic")
    code, stdout, stderr = end_of(start(*command, *SLURM, cwd=tmp_path / "slurm"))
    assert (code, stderr) == (basic.returncode, "")
    heading = "\n4 runs: 2 complete, 2 diverged\n"
    assert stdout.partition(heading)[2] == basic.stdout.partition(heading)[2] != ""
    assert rows_below(tmp_path / "slurm") == rows_below(tmp_path / "basic")
    assert len(rows_below(tmp_path / "slurm")) == 4


def test_one_run_is_a_job_without_an_array(tmp_path):
    code, stdout, stderr = end_of(start("-m", "seed=0", "epochs=1", *QUICK, *SLURM, cwd=tmp_path))
    assert (code, stderr) == (0, "")
    assert "1 job submitted to Slurm: " in stdout
    assert "\n1 run: 1 complete\n" in stdout


def test_the_killed_command_given_again_finds_its_jobs_starts_what_is_missing_and_lists_all(tmp_path):
    command = ("epochs=25", *QUICK, *SLURM, "launcher.jobs=2")
    first = start("-m", "seed=0,1,2", *command, cwd=tmp_path)
    begun(tmp_path, 1)
    first.kill()
    first.communicate()
    assert len(alive()) == 3
    code, stdout, stderr = end_of(start("-m", "seed=0,1,2,3", *command, cwd=tmp_path))
    assert (code, stderr) == (0, "")
    assert "1 job submitted to Slurm: " in stdout
    assert "\n4 runs: 4 complete\n" in stdout
    assert starts(tmp_path) == [1, 1, 1, 1]


def test_the_command_that_is_stopped_leaves_its_jobs_and_says_so(tmp_path):
    command = ("-m", "seed=0,1,2", "epochs=15", *QUICK, *SLURM, "launcher.jobs=1")
    first = start(*command, cwd=tmp_path)
    begun(tmp_path, 1)
    first.send_signal(signal.SIGHUP)
    code, stdout, _ = end_of(first)
    assert code == 143
    assert "\n3 runs: 3 elsewhere\n" in stdout
    code, stdout, stderr = end_of(start(*command, cwd=tmp_path))
    assert (code, stderr) == (0, "")
    assert "submitted" not in stdout
    assert starts(tmp_path) == [1, 1, 1]


def test_one_job_cancelled_while_it_runs_and_one_while_it_waits_do_not_end_the_others(tmp_path):
    command = ("-m", "seed=0,1,2", "epochs=25", *QUICK, *SLURM, "launcher.jobs=1")
    process = start(*command, cwd=tmp_path)
    begun(tmp_path, 1)
    (first,) = running()
    array = first.partition("_")[0]
    subprocess.run(["scancel", f"{array}_2"], check=True)
    subprocess.run(["scancel", first], check=True)
    code, stdout, _ = end_of(process)
    assert code == 1
    assert "\n3 runs: 1 interrupted, 1 complete, 1 failed\n" in stdout
    assert f"Slurm's job {array}_2 did not begin the run: " in stdout
    code, stdout, _ = end_of(start(*command, cwd=tmp_path))
    assert code == 0
    assert starts(tmp_path) == [1, 1, 2]


def test_all_jobs_cancelled_end_the_command(tmp_path):
    process = start("-m", "seed=0,1,2", "epochs=200", *QUICK, *SLURM, "launcher.jobs=2", cwd=tmp_path)
    begun(tmp_path, 2)
    subprocess.run(["scancel", f"--user={os.getuid()}"], check=True)
    code, stdout, _ = end_of(process)
    assert code == 1
    assert "\n3 runs: 2 interrupted, 1 failed\n" in stdout


def test_no_more_jobs_than_launcher_jobs_run_at_a_time(tmp_path):
    process = start("-m", "seed=0,1,2", "epochs=3", *QUICK, *SLURM, "launcher.jobs=1", cwd=tmp_path)
    most = 0
    while process.poll() is None:
        most = max(most, len(running()))
        time.sleep(0.3)
    assert (end_of(process)[0], most) == (0, 1)


@pytest.mark.slow  # Slurm waits two minutes before a job that lost its node starts again
def test_the_jobs_of_a_node_that_goes_down_are_run_on_the_other(tmp_path):
    process = start("-m", "seed=0,1", "epochs=60", *QUICK, *SLURM, cwd=tmp_path)
    begun(tmp_path, 2)
    subprocess.run(["scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test"], check=True)
    code, stdout, _ = end_of(process, seconds=800)
    # it may be back already
    subprocess.run(["scontrol", "update", "NodeName=n1", "State=RESUME"], check=False)
    assert code == 0
    assert "\n2 runs: 2 complete\n" in stdout
    assert max(starts(tmp_path)) == 2


@pytest.mark.skipif(bool(NO_ACCOUNTING), reason=f"there is no {', '.join(NO_ACCOUNTING)}")
def test_a_cluster_with_accounting_lists_the_jobs_of_a_sweep(tmp_path):
    shared = Path(tempfile.mkdtemp())  # not in pytest's folder, which MariaDB's user may not enter
    shared.chmod(0o755)
    command = ("-m", "net=ufm", "data=ufm", "batch_size=200", "seed=0,1", "epochs=1", *QUICK, *SLURM)
    with slurm(shared, "--accounting", SLURM_CLUSTER_PORT="16916"):
        code, stdout, stderr = end_of(start(*command, cwd=tmp_path))
        listed = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=State"]
        states = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    shutil.rmtree(shared)
    assert (code, stderr) == (0, "")
    assert "\n2 runs: 2 complete\n" in stdout
    assert states == ["COMPLETED", "COMPLETED"]


def test_a_partition_whose_limit_is_too_short_is_an_error_before_anything_is_submitted(tmp_path):
    assert (time_limit("short"), time_limit("all"), time_limit(None)) == (10, None, None)
    result = nc_run("-m", "seed=0,1", *SLURM, "launcher.partition=short", cwd=tmp_path)
    assert result.returncode == 2
    assert "more than the 0.1667 hours that the partition short allows" in result.stderr
    assert not list(tmp_path.iterdir())
    assert not alive()


def test_a_job_that_nothing_but_a_change_would_start_is_named():
    assert QueuedJob("PENDING", "PartitionTimeLimit").may_wait_for_ever
    assert not QueuedJob("PENDING", "Priority").may_wait_for_ever
