"""Sweeps: the runs that each is going to make, and every attempt at one of them. Imports no torch.

``OUTPUTS/.sweeps/NAME.json`` lists the run folders of one ``nc-run -m`` and the epochs of each; that command
holds a lock on ``NAME.lock`` as long as it lives. A process that takes on a run writes an attempt into the
folder ``NAME/`` before it does anything else, and again when the run ends: so the command can report, and
stop, runs in any process. A list is of use to nc-status while some of its runs have no folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any

from nc_runner.errors import RunFolderError
from nc_runner.runs.folders import look_through
from nc_runner.runs.locks import is_held
from nc_runner.runs.record import RUN_FILE, RUNNING, SWEEPS_FOLDER
from nc_runner.runs.tables import write_atomically

ELSEWHERE = "elsewhere"  # an attempt that ended at once: another process is writing the folder

_KEPT = 20  # lists of ended sweeps that still have runs to be made
_STOP = "stop"
_JOBS = "jobs"  # a file of a sweep that has jobs in a queue, which outlive its command


@dataclass(frozen=True)
class Sweep:
    """One list. ``epochs``: those of each run folder; ``alive``: whether the command is still there.

    ``started``: seconds since 1970; ``anew``: the sweep trains finished runs again (``overwrite=true``).
    ``settings``: of each run folder, as its record will have them; lists of earlier versions have none.
    """

    path: Path
    epochs: dict[Path, int]
    started: float
    alive: bool
    anew: bool
    settings: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def to_make(self) -> set[Path]:
        """The folders in which no run was ever begun."""
        return {folder for folder in self.epochs if not (folder / RUN_FILE).exists()}


@dataclass(frozen=True)
class Attempt:
    """What a process did for a run: running until it ends, then as it ended, or ``elsewhere``.

    ``message``: the reason, for an attempt that failed; ``exit_code`` as nc-run's; ``started``: seconds since
    1970.
    """

    folder: str
    state: str = RUNNING
    message: str = ""
    exit_code: int = 0
    host: str = ""
    pid: int = 0
    started: float = 0.0

    @classmethod
    def begin(cls, folder: Path) -> Attempt:
        """By this process, now."""
        return cls(str(folder.resolve()), host=gethostname(), pid=os.getpid(), started=time.time())


class SweepArchive:
    """One sweep's list and attempts: written by the command and by every process that has one of its runs.

    Args:
        root: the outputs folder.
        name: the sweep's id, as :func:`new_name` makes it.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root = root.resolve()
        self.name = name
        self.path = self.root / SWEEPS_FOLDER / f"{name}.json"
        self.folder = self.path.with_suffix("")

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Hold the sweep's lock; afterwards forget the attempts, and the list if every run has its folder."""
        from filelock import FileLock, Timeout  # here: it would make nc-status slower to start

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(_lock_of(self.path), timeout=0)
            lock.acquire()  # before the list is there: an unlocked list is one of an ended sweep
        except (OSError, Timeout) as error:
            raise RunFolderError(
                f"cannot write to {self.root}: {error}\nis the outputs folder writable?"
            ) from None
        try:
            yield
        finally:
            here = all(
                attempt.state != RUNNING or attempt.host == gethostname() for attempt in self.attempts()
            )
            if here and not (self.folder / _JOBS).exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            lock.release()
            with suppress(OSError):
                sweep = _read(self.path)
                if (sweep is None or not sweep.to_make()) and not (self.folder / _JOBS).exists():
                    _remove(self.path)

    def plan(
        self, epochs: Mapping[Path, int], anew: bool, settings: Mapping[Path, Mapping[str, Any]] | None = None
    ) -> None:
        """Write the list: epochs and settings of each run folder, in the order of the runs."""
        _prune(self.path.parent, {folder.resolve() for folder in epochs})
        given = settings or {}
        shared = _shared(list(given.values()))
        runs = []
        for folder, count in epochs.items():
            run: dict[str, Any] = {"folder": _relative(folder.resolve(), self.root), "epochs": count}
            if folder in given:
                run["settings"] = {key: value for key, value in given[folder].items() if key not in shared}
            runs.append(run)
        content = {"started": time.time(), "anew": anew, "settings": shared, "runs": runs}
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())

    def planned(self) -> list[Path]:
        """The run folders of the list, in order; empty where a search chooses its runs as it goes."""
        sweep = _read(self.path)
        return list(sweep.epochs) if sweep else []

    def record(self, attempt: Attempt) -> None:
        """Write an attempt; a later one at the same run replaces it."""
        name = hashlib.sha256(attempt.folder.encode()).hexdigest()[:16]
        with suppress(FileNotFoundError):  # the command has ended, and nobody asks any more
            write_atomically(self.folder / f"{name}.json", json.dumps(asdict(attempt)).encode())

    def attempts(self) -> list[Attempt]:
        """The last attempt at each run, in the order in which they began."""
        found = []
        for path in self.folder.glob("*.json"):
            with suppress(OSError, ValueError, TypeError):  # removed or replaced meanwhile
                found.append(Attempt(**json.loads(path.read_bytes())))
        return sorted(found, key=lambda attempt: attempt.started)

    def attempt_at(self, folder: Path) -> Attempt | None:
        """The last attempt at one run."""
        wanted = str(folder.resolve())
        return next((attempt for attempt in self.attempts() if attempt.folder == wanted), None)

    def ask_to_stop(self) -> None:
        """Runs that have not begun are not to begin."""
        (self.folder / _STOP).touch()

    def stop_was_asked(self) -> bool:
        return (self.folder / _STOP).exists()

    def submitted(self, jobs: Mapping[str, str]) -> None:
        """Write down the sweep's jobs in a queue, with the run folder of each; none: they ended."""
        path = self.folder / _JOBS
        if jobs:
            write_atomically(path, json.dumps(dict(jobs)).encode())
        else:
            path.unlink(missing_ok=True)

    def turn_lock(self, turn: int) -> Path:
        """The file whose lock says that a process has the ``turn``-th share of this machine's GPUs."""
        return self.folder / f"turn-{turn}.lock"


def jobs_in_queues(root: Path) -> dict[str, str]:
    """The run folder of each job that sweeps of this outputs folder left to a queue, by the job's id."""
    found: dict[str, str] = {}
    for path in sorted((root / SWEEPS_FOLDER).glob(f"*/{_JOBS}")):
        with suppress(OSError, ValueError, AttributeError):
            found.update((str(name), str(folder)) for name, folder in json.loads(path.read_bytes()).items())
    return found


def forget_jobs(root: Path, asked: Iterable[str], alive: Iterable[str]) -> None:
    """Forget the sweeps' jobs where all were asked for and the queue has none of them any more."""
    known, still = set(asked), set(alive)
    for path in (root / SWEEPS_FOLDER).glob(f"*/{_JOBS}"):
        with suppress(OSError, ValueError, TypeError):
            jobs = set(json.loads(path.read_bytes()))
            if jobs <= known and not jobs & still:
                path.unlink(missing_ok=True)


def new_name() -> str:
    """An id for a new sweep: sweeps that begin later sort later."""
    return f"{time.time_ns()}-{os.getpid()}"


def find_sweeps(paths: Iterable[Path]) -> list[Sweep]:
    """The lists of all sweeps that may have run folders at or below ``paths``, oldest first.

    A sweep's list is in a folder above its runs, so the folders above are searched as well.
    """
    return sweeps_in(look_through(paths).sweeps)


def sweeps_in(folders: Iterable[Path]) -> list[Sweep]:
    """The lists of sweeps in the folders for such lists, oldest first."""
    found = (_read(path) for folder in folders for path in folder.glob("*.json"))
    return sorted((sweep for sweep in found if sweep), key=lambda sweep: sweep.started)


def _read(path: Path) -> Sweep | None:
    root = str(path.parent.parent.resolve())
    try:
        content = json.loads(path.read_bytes())
        shared = dict(content.get("settings", {}))
        epochs, settings = {}, {}
        for run in content["runs"]:
            folder = Path(os.path.abspath(os.path.join(root, run["folder"])))
            epochs[folder] = int(run["epochs"])
            if "settings" in run:
                settings[folder] = {**shared, **run["settings"]}
        started, anew = float(content["started"]), bool(content["anew"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None  # gone meanwhile, or damaged: nc-status then knows less
    return Sweep(path, epochs, started, is_held(_lock_of(path)) is True, anew, settings)


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that are equal in the settings of all runs: they are written once."""
    written = [{key: json.dumps(value) for key, value in one.items()} for one in settings]
    first = settings[0] if settings else {}
    return {key: value for key, value in first.items() if len({one.get(key) for one in written}) == 1}


def _prune(folder: Path, planned: set[Path]) -> None:
    """Forget the ended sweeps whose runs are all begun or planned again, and all but a few of the others."""
    ended = []
    for lock in folder.glob("*.lock"):
        path = lock.with_suffix(".json")
        if is_held(lock) is True or (path.with_suffix("") / _JOBS).exists():
            continue
        sweep = _read(path)
        if sweep is not None and sweep.to_make() - planned:
            ended.append(sweep)
        else:
            _remove(path)
    ended.sort(key=lambda sweep: sweep.started, reverse=True)
    for sweep in ended[_KEPT:]:
        _remove(sweep.path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _lock_of(path).unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _relative(folder: Path, root: Path) -> str:
    """``folder`` as seen from ``root`` where it is below: an outputs folder may be moved."""
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
