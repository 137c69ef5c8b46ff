"""What is at and below some folders, in one walk: runs, runs that have no record yet, sweeps. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nc_runner.errors import RunFolderError
from nc_runner.runs.record import LOCK_FILE, REPLACED, RUN_FILE, SWEEPS_FOLDER

_NO_RUNS_IN = (SWEEPS_FOLDER, ".hydra")


@dataclass
class Found:
    """``runs``: folders with a record; ``locked``: with a lock file alone; ``sweeps``: folders of lists.

    All without links in their paths. Lists of sweeps may be above the folders that were asked for.
    """

    runs: set[Path] = field(default_factory=set)
    locked: set[Path] = field(default_factory=set)
    sweeps: set[Path] = field(default_factory=set)


def look_through(paths: Iterable[Path]) -> Found:
    """Find all that is at or below ``paths``. Raises :class:`RunFolderError` where one is not a folder.

    Folders that ``overwrite=true`` replaced are left out, unless ``paths`` names them.
    """
    found = Found()
    for path in paths:
        if not path.is_dir():
            raise RunFolderError(f"{path} is not a folder")
        root = path.resolve()
        found.sweeps.update(parent / SWEEPS_FOLDER for parent in root.parents)
        if (root / RUN_FILE).exists():
            found.runs.add(root)
            continue
        below = [str(root)]
        while below:
            below += _look(below.pop(), found)
    return found


def _look(folder: str, found: Found) -> list[str]:
    """Note what ``folder`` is, and return the folders in it that may have runs."""
    below, names = [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if entry.is_dir(follow_symlinks=False) and REPLACED not in entry.name:
                    below.append(entry.path)
    except OSError:  # gone meanwhile, or not ours to read
        return []
    if RUN_FILE in names:
        found.runs.add(Path(folder))
    elif LOCK_FILE in names:
        found.locked.add(Path(folder))
    if SWEEPS_FOLDER in names:
        found.sweeps.add(Path(folder, SWEEPS_FOLDER))
    return [path for path in below if os.path.basename(path) not in _NO_RUNS_IN]
