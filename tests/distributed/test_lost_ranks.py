"""A rank that fails ends all, with its reason; one that is lost is named by a rank that is still here."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from helpers.launched import TORCHRUN


def ranks(deed, victim, timeout=60):
    """The lines that two ranks print, and the seconds until all have ended."""
    search = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    began = time.monotonic()
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", "-m", "helpers.ranks", deed, str(victim), str(timeout)],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    pids = dict(re.findall(r"rank (\d) has pid (\d+)", done.stdout))
    ends = [line for line in done.stdout.splitlines() if not line.endswith((" is in step", *pids.values()))]
    return ends, pids, time.monotonic() - began


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_failure_of_one_rank_ends_both_and_rank_0_says_whose_it_was(victim):
    ends, _, _ = ranks("fails", victim)
    reason = f"GroupError: rank {victim} of 2 on {socket.gethostname()}: ValueError: a bug of one rank"
    assert f"rank 0 speaks: {reason}" in ends
    assert set(ends) <= {f"rank 0 speaks: {reason}", f"rank 1 is silent: {reason}"}


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_is_named_within_a_minute(victim):
    ends, pids, seconds = ranks("is killed", victim, timeout=600)
    survivor = 1 - victim
    (line,) = ends
    name = f"rank {victim} of 2 (process {pids[str(victim)]} on {socket.gethostname()})"
    assert line.startswith(f"rank {survivor} speaks: RankLostError: {name} no longer answers")
    assert line.endswith("| give the same command again to resume from the last checkpoint")
    assert seconds < 60


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_silent_rank_is_named_after_the_timeout(victim):
    ends, pids, seconds = ranks("falls silent", victim, timeout=4)
    (line,) = ends
    assert f"rank {1 - victim} speaks: RankLostError: rank {victim} of 2 (process {pids[str(victim)]}" in line
    assert seconds < 4 + 20 + 30 + 20  # torchrun's patience with the silent one, and starting
