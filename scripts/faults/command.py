"""The sweep that is disturbed: started under a launcher, its processes found, its progress read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RUNS, EPOCHS = 3, 12
SETTINGS = (
    "data=digits", "data.samples_per_class=10", "batch_size=50", "net=vgg6", "net.head_width=32", "lr=0.01",
    f"epochs={EPOCHS}", f"seed=range(0,{RUNS})", "threads=1", "keep_checkpoints=[4,8]", "progress=plain",
    "device=cpu", "rank_timeout_seconds=20",
)  # fmt: skip
PATIENCE = 600.0  # seconds: a command that takes longer hangs; a busy machine needs minutes
LAUNCHERS = ("basic", "joblib", "torchrun")


@dataclass
class Command:
    """One start of the sweep in ``folder``; ``output`` is the file of what it says.

    ``abandoned``: what is left of it goes on while the command is given again.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    output: Path
    abandoned: bool = False

    def rows(self) -> int:
        return rows_in(self.folder)

    def wait(self, patience: float = PATIENCE) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(patience)
        return None

    def workers(self) -> list[int]:
        """The processes that carry out runs: torchrun's ranks, joblib's workers; in a fixed order."""
        found = []
        for pid in descendants(self.process.pid):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"popen_loky" in line or (b"nc_runner" in line and b"torch.distributed.run" not in line):
                    found.append(pid)
        return sorted(found)

    def said(self) -> str:
        """The last lines of its output that name an error."""
        lines = self.output.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if line.strip())[-1500:]

    def kill_all(self) -> None:
        """The command and all below it, as when the machine loses its power; torchrun's ranks too.

        These have sessions of their own, so it is not enough to kill the command's group.
        """
        ranks = descendants(self.process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in ranks:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pid in ranks:
            _wait_until_gone(pid)

    def end(self) -> None:
        """Kill all, and wait until they are gone: one that holds a lock would disturb the next command."""
        self.kill_all()
        for _ in range(200):
            try:
                os.killpg(self.process.pid, 0)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.05)


def _wait_until_gone(pid: int) -> None:
    """At most ten seconds; a process that ended, but that nobody has asked for yet, is gone."""
    for _ in range(200):
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        if status[0] in "ZX":
            return
        time.sleep(0.05)


@contextmanager
def started(
    folder: Path, launcher: str, checkpoint_seconds: float, environment: dict[str, str] | None = None
) -> Iterator[Command]:
    """The sweep, begun or given again; what is left of it is ended on leaving, unless it is abandoned."""
    settings = [*SETTINGS, f"checkpoint_seconds={checkpoint_seconds:g}"]
    program = [sys.executable, "-m", "nc_runner"]
    if launcher == "joblib":
        settings += ["launcher=joblib", "launcher.jobs=2"]
    if launcher == "torchrun":
        program = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node=2", "-m", "nc_runner"),
        ]
    output = folder.parent / f"{folder.name}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*program, "-m", *settings],
            cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    command = Command(process, folder, output)
    try:
        yield command
    finally:
        if not command.abandoned:
            command.end()


def run_folders(folder: Path) -> list[Path]:
    """The folders of the sweep's runs."""
    return sorted(path for path in folder.glob("outputs/*/*") if path.is_dir() and "-seed" in path.name)


def rows_in(folder: Path) -> int:
    """Rows in all tables."""
    count = 0
    for table in folder.glob("outputs/*/*/metrics.csv"):
        with suppress(OSError):
            count += max(0, table.read_bytes().count(b"\n") - 1)
    return count


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
