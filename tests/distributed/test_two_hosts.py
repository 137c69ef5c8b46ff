"""Two hosts with a real network between them: one is cut off, stopped, or loses a rank, and is named."""

import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress

import pytest
from helpers import hosts
from helpers.launched import pid_of

pytestmark = hosts.marks()
TIMEOUT = 6  # seconds: rank_timeout_seconds
PATIENCE = 6 + 15 + 20 + 45  # with the store, the survivors, torchrun's own ending, and a loaded machine


class Command:
    """torchrun on two hosts, a rank on each, and what they print."""

    def __init__(self, pair, deed, cwd):
        search = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
        self.agents = [
            host.start(
                sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}",
                f"--master-addr={pair[0].address}", "--master-port=29500", "--nproc-per-node=1",
                "-m", "helpers.ranks", deed, 1, TIMEOUT,
                cwd=cwd,
                environment={"PYTHONPATH": search, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": hosts.CABLE},
            )
            for rank, host in enumerate(pair)
        ]  # fmt: skip
        self.lines = []
        self.readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for agent in self.agents
            for stream in (agent.stdout, agent.stderr)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream):
        for line in stream:
            self.lines.append(line.rstrip())

    def wait_for(self, *texts, seconds=200):
        """Wait until a line has each of these texts; the last one found."""
        end = time.monotonic() + seconds
        while True:
            found = [next((line for line in self.lines if text in line), None) for text in texts]
            if None not in found:
                return found[-1]
            assert time.monotonic() < end, "\n".join(self.lines)
            time.sleep(0.1)

    def processes(self, rank):
        """torchrun on this host, and its rank."""
        return [self.agents[rank].pid, pid_of(self.agents[rank], rank)]

    def wait(self, seconds):
        """The exit codes, once both hosts have ended."""
        end = time.monotonic() + seconds
        return [agent.wait(max(1, end - time.monotonic())) for agent in self.agents]

    def end(self):
        for rank, agent in enumerate(self.agents):
            if agent.poll() is None:
                with suppress(AssertionError, OSError):
                    for pid in self.processes(rank):
                        os.kill(pid, signal.SIGKILL)
                agent.kill()
                agent.wait()
        for reader in self.readers:
            reader.join(10)


@pytest.fixture
def pair():
    with hosts.two_hosts() as made:
        yield made


@pytest.fixture
def command(pair, tmp_path):
    started = Command(pair, "waits", tmp_path)
    try:
        started.wait_for("rank 0 is in step", "rank 1 is in step")
        yield started
    finally:
        started.end()


def said_by(command, rank):
    line = command.wait_for(f"rank {rank} speaks: ", seconds=PATIENCE)
    assert line.endswith(" | give the same command again to resume from the last checkpoint")
    return line


def test_each_host_names_the_other_when_the_cable_is_cut_and_none_is_left_waiting(pair, command):
    pid = command.processes(1)[1]
    pair[1].cut()
    first, second = said_by(command, 0), said_by(command, 1)
    assert f"rank 1 of 2 (process {pid} on host-b) no longer answers" in first
    assert "is host-b down, stopped or cut off?" in first
    assert "host-a, the host of rank 0, no longer answers: is it down, stopped or cut off?" in second
    assert command.wait(PATIENCE) == [1, 1]


def test_a_short_cut_is_waited_for(pair, command):
    pair[1].cut()
    time.sleep(1.5)
    pair[1].join()
    time.sleep(TIMEOUT + 4)
    assert [agent.poll() for agent in command.agents] == [None, None], "\n".join(command.lines)
    assert not any("speaks" in line for line in command.lines)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_host_is_named_by_the_other_and_ends_when_it_goes_on(rank, command):
    stopped = command.processes(rank)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    line = said_by(command, 1 - rank)
    name = ("host-a", "host-b")[rank]
    assert f"{name} down, stopped or cut off?" in line or f"{name}, the host of rank 0, no longer" in line
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert command.wait(PATIENCE) == [1, 1]


def test_a_killed_rank_is_named_with_its_host(command):
    pid = command.processes(1)[1]
    os.kill(pid, signal.SIGKILL)
    line = said_by(command, 0)
    assert re.search(
        rf"rank 1 of 2 \(process {pid} on host-b\) no longer answers: was it killed, or is", line
    )
    assert command.wait(PATIENCE) == [1, 1]
