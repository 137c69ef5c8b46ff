"""Two commands at once on one outputs folder: from two hosts, and where they share files but no locks."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest
from helpers import hosts
from helpers.launched import wait_for_line
from helpers.process import nc_run, only_run, start
from helpers.settings import settings_of

from nc_runner.columns import TIME_COLUMNS
from nc_runner.commands.attempt import RunAttempt
from nc_runner.errors import RunFolderError
from nc_runner.training.signals import StopSignals

SMALL = (
    "data.samples_per_class=10", "batch_size=50", "net=vgg6", "net.head_width=32", "lr=0.01", "threads=1",
    "device=cpu", "progress=plain", "checkpoint_seconds=0",
)  # fmt: skip
WHY_NOT = hosts.why_not()
NEEDS_HOSTS = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
SHARED = [pytest.mark.hosts, pytest.mark.slow, pytest.mark.timeout(900)]


def marked(test):
    for mark in SHARED:
        test = mark(test)
    return test


def rows_of(run):
    return pd.read_csv(run / "metrics.csv").drop(columns=list(TIME_COLUMNS))


@marked
@NEEDS_HOSTS
def test_two_hosts_at_once_train_each_run_of_a_sweep_once(tmp_path):
    command = [sys.executable, "-m", "nc_runner", "-m", "seed=0,1,2", "epochs=20", *SMALL]
    with hosts.two_hosts() as pair:
        started = [host.start(*command, cwd=tmp_path) for host in pair]
        printed = [process.communicate(timeout=400) for process in started]
    assert not any("Traceback" in errors for _, errors in printed), printed
    again = nc_run(*command[3:], cwd=tmp_path)
    assert "3 runs: 3 complete" in again.stdout
    assert again.returncode == 0
    runs = sorted(path.parent for path in tmp_path.rglob("run.json"))
    assert len(runs) == 3
    for run in runs:
        assert rows_of(run)["epoch"].tolist() == list(range(1, 21))
        log = (run / "nc-run.log").read_text()
        assert log.count("epoch 20/20") == 1
        assert log.count("from epoch 0") == 1
    (tmp_path / "alone").mkdir()
    assert nc_run("seed=0", "epochs=20", *SMALL, cwd=tmp_path / "alone").returncode == 0
    first = next(run for run in runs if "-seed0-" in run.name)
    pd.testing.assert_frame_equal(rows_of(first), rows_of(only_run(tmp_path / "alone")), check_exact=True)


@contextmanager
def two_mounts(folder):
    """Two ways to the files of one folder, each with locks of its own, as with NFS's ``nolock``."""
    base, *mounts = (folder / name for name in ("base", "one", "two"))
    for path in (base, *mounts):
        path.mkdir()
    mounted = []
    try:
        for mount in mounts:
            done = subprocess.run(["bindfs", base, mount], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no FUSE here: {done.stderr.strip()}")
            mounted.append(mount)
        yield mounts
    finally:
        for mount in mounted:
            subprocess.run(["umount", "-l", mount], check=True)


@marked
@pytest.mark.skipif(shutil.which("bindfs") is None, reason="no bindfs here (Debian: bindfs)")
def test_without_common_locks_a_run_killed_on_one_host_resumes_on_the_other_with_the_same_rows(tmp_path):
    """What holds there: one writer after the other. Two at once can double rows, as the README says."""
    command = ("epochs=40", *SMALL)
    with two_mounts(tmp_path) as (one, two):
        first = start(*command, cwd=one)
        wait_for_line(first, "epoch  5/")
        first.kill()
        first.communicate()
        last = nc_run(*command, cwd=two)
        assert last.returncode == 0, last.stderr
        assert last.stdout.startswith("resuming: ")
    (tmp_path / "alone").mkdir()
    assert nc_run(*command, cwd=tmp_path / "alone").returncode == 0
    run = only_run(tmp_path / "base")
    pd.testing.assert_frame_equal(rows_of(run), rows_of(only_run(tmp_path / "alone")), check_exact=True)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(number, tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        StopSignals() as signals,
        pytest.raises(RunFolderError, match="cannot be locked: its file system has no flock\n"),
    ):
        RunAttempt(settings_of(), tmp_path / "run").carry_out(signals)
