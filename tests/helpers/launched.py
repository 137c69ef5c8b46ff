"""``nc-run`` under torchrun, as a user starts it."""

import os
import subprocess
import sys
import time
from pathlib import Path

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def start(*arguments, cwd, processes=2, options=()):
    return subprocess.Popen(
        [*TORCHRUN, *options, f"--nproc-per-node={processes}", "-m", "nc_runner", *arguments],
        cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def torchrun(*arguments, cwd, processes=2, timeout=240):
    """The finished command, with its output."""
    process = start(*arguments, cwd=cwd, processes=processes)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun then ends its own
        process.communicate(timeout=60)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_for_line(process, start):
    """Read the output until a line begins so; that line."""
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"it ended without {start!r}: {process.stderr.read()}")


def pid_of(agent, rank):
    """The process that torchrun, itself ``agent``, started with this rank."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    for pid in children:
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError(f"no process has rank {rank}")


def wait_until_gone(pid, seconds=40):
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.1)
