"""Reads many run folders: runs and flows, or why one cannot be read. Imports no torch."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

from nc_runner.errors import RunFolderError
from nc_runner.runs.flows import FlowRun, is_flow, read_flow
from nc_runner.runs.reader import Run, read_record, run_of

Found: TypeAlias = Run | FlowRun | RunFolderError

_MANY = 150  # folders; with fewer, starting processes takes longer than it saves
_AT_ONCE = 16  # folders that a process is given


def read_all(folders: Sequence[Path], processes: int = 1) -> list[Found]:
    """What each folder holds, in their order: a run, a flow, or the error because of which it cannot be read.

    ``processes``: how many may read at the same time, where there are many folders. They are forked from this
    one, so this is for commands: not where torch is loaded or threads run, beside which a fork may hang.
    """
    safe = sys.platform == "linux" and "torch" not in sys.modules and threading.active_count() == 1
    found = _in_processes(folders, processes) if len(folders) >= _MANY and processes > 1 and safe else None
    return [_read(folder) for folder in folders] if found is None else found


def _in_processes(folders: Sequence[Path], processes: int) -> list[Found] | None:
    """None where no processes can be started."""
    import pandas  # noqa: F401  once, before the fork, and not in each process

    workers, fork = min(processes, len(folders) // _AT_ONCE + 1), get_context("fork")
    try:
        with ProcessPoolExecutor(workers, mp_context=fork, initializer=leave_interrupts_to_parent) as pool:
            return list(pool.map(_read, folders, chunksize=_AT_ONCE))
    except (OSError, NotImplementedError, BrokenProcessPool):
        return None


def leave_interrupts_to_parent() -> None:
    """In a process of a pool: Ctrl-C, which all get, is the command's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(folder: Path) -> Found:
    try:
        record = read_record(folder)
        return read_flow(folder) if is_flow(record) else run_of(folder, record)
    except RunFolderError as error:
        return error
