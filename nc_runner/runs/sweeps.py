"""The lists of runs that sweeps are going to make, so that ``nc-status`` knows those not yet begun. No torch.

``OUTPUTS/.sweeps/NAME.json`` holds the run folders of one ``nc-run -m`` and the epochs of each; that command
holds a lock on ``NAME.lock`` as long as it lives. A list is of use while some of its runs have no folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nc_runner.runs.locks import is_held
from nc_runner.runs.record import RUN_FILE, SWEEPS_FOLDER
from nc_runner.runs.tables import write_atomically

_KEPT = 20  # lists of ended sweeps that still have runs to be made


@dataclass(frozen=True)
class Sweep:
    """One list. ``epochs``: those of each run folder; ``alive``: whether the command still goes on.

    ``started``: seconds since 1970; ``anew``: the sweep trains finished runs again (``overwrite=true``).
    """

    path: Path
    epochs: dict[Path, int]
    started: float
    alive: bool
    anew: bool

    def to_make(self) -> set[Path]:
        """The folders in which no run was ever begun."""
        return {folder for folder in self.epochs if not (folder / RUN_FILE).exists()}


class SweepRecord:
    """The list of the sweep that this process runs, and its lock."""

    def __init__(self, root: Path, planned: Mapping[Path, Mapping[str, Any]]) -> None:
        """Write the list of the run folders ``planned``, with their settings, below ``root``.

        Raises :class:`OSError` where it cannot be written.
        """
        from filelock import FileLock, Timeout  # here: it would make nc-status slower to start

        root, planned = root.resolve(), {folder.resolve(): settings for folder, settings in planned.items()}
        folder = root / SWEEPS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        _prune(folder, set(planned))
        self.path = folder / f"{time.time_ns()}-{os.getpid()}.json"
        self._lock = FileLock(_lock_of(self.path), timeout=0)
        try:
            self._lock.acquire()  # before the list is there: an unlocked list is one of an ended sweep
        except Timeout as error:
            raise OSError("the list's lock is taken") from error
        content = {
            "started": time.time(),
            "anew": any(settings["overwrite"] for settings in planned.values()),
            "runs": [
                {"folder": _relative(run, root), "epochs": settings["epochs"]}
                for run, settings in planned.items()
            ],
        }
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())

    def end(self) -> None:
        """The sweep has ended; forget its list if every run has its folder."""
        self._lock.release()
        sweep = _read(self.path)
        if sweep is None or not sweep.to_make():
            _remove(self.path)


def find_sweeps(paths: Iterable[Path]) -> list[Sweep]:
    """The lists of all sweeps that may have run folders at or below ``paths``, oldest first.

    A sweep's list lies above its runs, so the folders above are searched as well.
    """
    folders: set[Path] = set()
    for path in (path.resolve() for path in paths):
        folders.update(path.rglob(SWEEPS_FOLDER))
        folders.update(parent / SWEEPS_FOLDER for parent in path.parents)
    found = (_read(path) for folder in folders for path in folder.glob("*.json"))
    return sorted((sweep for sweep in found if sweep), key=lambda sweep: sweep.started)


def _read(path: Path) -> Sweep | None:
    root = path.parent.parent.resolve()
    try:
        content = json.loads(path.read_bytes())
        epochs = {Path(os.path.abspath(root / run["folder"])): int(run["epochs"]) for run in content["runs"]}
        started, anew = float(content["started"]), bool(content["anew"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None  # gone meanwhile, or damaged: nc-status then knows less
    return Sweep(path, epochs, started, is_held(_lock_of(path)) is True, anew)


def _prune(folder: Path, planned: set[Path]) -> None:
    """Forget the ended sweeps whose runs are all begun or planned again, and all but a few of the others."""
    ended = []
    for lock in folder.glob("*.lock"):
        path = lock.with_suffix(".json")
        if is_held(lock) is True:
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


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _relative(folder: Path, root: Path) -> str:
    """``folder`` as seen from ``root`` where it lies below: an outputs folder may be moved."""
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
