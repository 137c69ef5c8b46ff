"""The faults: what each does to a sweep that is running, or to its files."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faults import disk
from faults.command import LAUNCHERS, Command, run_folders

CLOCK = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"  # Debian's package libfaketime
HELD = 4.0  # seconds for which a disk stays full, or a process stopped


@dataclass(frozen=True)
class Fault:
    """``strike`` is called once while the command runs. ``clock``: the command's clock can be changed."""

    strike: Callable[[Command, random.Random], None]
    launchers: tuple[str, ...] = LAUNCHERS
    clock: bool = False


def kill_command(command: Command, chance: random.Random) -> None:
    """The command alone; every other time what it started goes on, and meets the next command."""
    command.process.kill()
    command.abandoned = chance.random() < 0.5


def kill_all(command: Command, chance: random.Random) -> None:
    command.kill_all()


def kill_worker(command: Command, chance: random.Random) -> None:
    _to_a_worker(command, chance, signal.SIGKILL)


def terminate(command: Command, chance: random.Random) -> None:
    command.process.send_signal(chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))


def pause_command(command: Command, chance: random.Random) -> None:
    command.process.send_signal(signal.SIGSTOP)
    time.sleep(chance.uniform(0.1, HELD))
    command.process.send_signal(signal.SIGCONT)


def pause_worker(command: Command, chance: random.Random) -> None:
    pid = _to_a_worker(command, chance, signal.SIGSTOP)
    time.sleep(chance.uniform(0.1, HELD))
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def fill_disk(command: Command, chance: random.Random) -> None:
    with disk.full(command.folder, chance):
        command.wait(chance.uniform(0.5, HELD))


def make_read_only(command: Command, chance: random.Random) -> None:
    with disk.read_only(command.folder):
        command.wait(chance.uniform(0.5, HELD))


def flip_checkpoint(command: Command, chance: random.Random) -> None:
    """A byte of the newest checkpoint of a run that has two, after all processes were killed."""
    command.kill_all()
    folders = [f for f in run_folders(command.folder) if (f / "checkpoint.previous.pt").exists()]
    if folders:
        _flip(chance.choice(folders) / "checkpoint.pt", chance)


def cut_rows(command: Command, chance: random.Random) -> None:
    """The end of a run's metrics.csv, after all processes were killed: at any byte, or to nothing."""
    command.kill_all()
    tables = [f / "metrics.csv" for f in run_folders(command.folder) if (f / "metrics.csv").exists()]
    if tables:
        table = chance.choice(tables)
        os.truncate(table, chance.choice((0, chance.randrange(1 + table.stat().st_size))))


def set_clock_back(command: Command, chance: random.Random) -> None:
    """By an hour or by years, while the command runs."""
    hours = chance.choice((1, 24, 10 * 365 * 24))
    clock_file(command.folder).write_text(f"-{hours}h\n")


FAULTS: Mapping[str, Fault] = {
    "SIGKILL of the command": Fault(kill_command),
    "SIGKILL of everything": Fault(kill_all),
    "SIGKILL of a worker or rank": Fault(kill_worker, ("joblib", "torchrun")),
    "SIGTERM, SIGINT or SIGHUP": Fault(terminate),
    "SIGSTOP of the command": Fault(pause_command),
    "SIGSTOP of a worker or rank": Fault(pause_worker, ("joblib", "torchrun")),
    "disk full": Fault(fill_disk),
    "disk read-only": Fault(make_read_only),
    "a checkpoint's byte flipped": Fault(flip_checkpoint),
    "metrics.csv cut": Fault(cut_rows),
    "clock set back": Fault(set_clock_back, clock=True),
}


def clock_file(folder: Path) -> Path:
    """How far the clock of a sweep's processes is off, where they run under libfaketime."""
    return folder.parent / f"{folder.name}.clock"


def clock_environment(folder: Path) -> dict[str, str]:
    """With it, a command's wall clock (not its monotonic one) is off by what :func:`clock_file` says."""
    clock_file(folder).write_text("+0\n")
    return {
        "LD_PRELOAD": CLOCK,
        "FAKETIME_TIMESTAMP_FILE": str(clock_file(folder)),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _to_a_worker(command: Command, chance: random.Random, number: int) -> int | None:
    workers = command.workers()
    if not workers:
        return None
    pid = chance.choice(workers)
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
