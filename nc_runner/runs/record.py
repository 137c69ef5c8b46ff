"""The files of a run folder, its record and its rows as they are written. Imports no torch.

A run folder holds ``metrics.csv`` (a row for each analysed epoch), ``run.json`` (state, settings, versions,
device, times, data fingerprint), ``checkpoint.pt``, ``nc-run.log`` and Hydra's own ``.hydra/``; with
``analysis.layers`` also ``layers.csv`` (a line for each layer at each analysed epoch), with
``keep_checkpoints`` also ``weights/`` (:mod:`nc_runner.runs.weights`). Training writes
through :class:`RunWriter`; :mod:`nc_runner.runs.reader` reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from nc_runner.columns import LAYER_COLUMNS, metric_columns
from nc_runner.errors import RunFolderError
from nc_runner.runs.tables import Table, opened, parse_numbers, read_whole, write_atomically

METRICS_FILE = "metrics.csv"
LAYERS_FILE = "layers.csv"
RUN_FILE = "run.json"
CHECKPOINT_FILE = "checkpoint.pt"
PREVIOUS_CHECKPOINT_FILE = "checkpoint.previous.pt"
LOG_FILE = "nc-run.log"
LOCK_FILE = "run.lock"
SWEEPS_FOLDER = (
    ".sweeps"  # in an outputs folder: the lists of runs that sweeps were going to make (sweeps.py)
)
REPLACED = ".replaced-"  # NAME.replaced-1: what overwrite=true kept beside NAME

ANEW = "remove the folder, or let nc-run start anew beside it with overwrite=true"

CUT_SHORT = "its last line was cut short and is left out"

_LINE = 1000  # bytes, about those of a row
_LARGEST_RECORD = 2**26  # bytes of run.json, which has a few kB

FORMAT = 1  # of the run folder; raised when an older nc-runner could misread a newer folder

# run.json's "state"
RUNNING, COMPLETE, INTERRUPTED, DIVERGED, FAILED = "running", "complete", "interrupted", "diverged", "failed"
STATES = (RUNNING, COMPLETE, INTERRUPTED, DIVERGED, FAILED)


def read_run_file(folder: Path) -> dict[str, Any]:
    """``run.json`` as a dict. Raises :class:`RunFolderError` when it is missing or not one of ours."""
    path = folder / RUN_FILE
    try:
        content = json.loads(read_whole(path, _LARGEST_RECORD))
    except FileNotFoundError:
        raise RunFolderError(f"{folder} is not a run folder: it has no {RUN_FILE}") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise RunFolderError(f"{path} is damaged: it is not JSON\n{ANEW}") from None
    if not isinstance(content, dict) or content.get("state") not in STATES:
        raise RunFolderError(f"{path} is not an nc-run record: it names no state\n{ANEW}")
    if not isinstance(content.get("format"), int) or content["format"] > FORMAT:
        raise RunFolderError(f"{path} was made by a newer nc-runner\nupgrade this one to read it")
    for entry in ("settings", "identity", "deciding"):  # deciding: the identity, in older folders
        if not isinstance(content.get(entry, {}), dict):
            raise RunFolderError(f"{path} is damaged: its entry {entry} is no table of settings\n{ANEW}")
    return content


class RunWriter:
    """Writes one run folder: rows as they come, and the run's state. Used by one process at a time."""

    def __init__(self, folder: Path, num_classes: int, wider: Sequence[str] = ()) -> None:
        self.folder = folder
        self.columns = metric_columns(num_classes, wider)
        self.rows = Table(folder / METRICS_FILE, self.columns)
        self.layers = Table(folder / LAYERS_FILE, LAYER_COLUMNS)  # begun where analysis.layers asks for it
        self.record: dict[str, Any] = {"format": FORMAT}

    def update(self, **entries: Any) -> None:
        """Set entries of ``run.json``, and write it."""
        self.record.update(entries)
        text = json.dumps(self.record, indent=2, default=str)
        write_atomically(self.folder / RUN_FILE, (text + "\n").encode())

    def rows_text(self) -> str:
        """All that ``metrics.csv`` holds."""
        return self.rows.text()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; it is in the file, whole, when this returns. ``row`` has the columns as its keys."""
        self.rows.append(row)


def rows_digest(folder: Path) -> str | None:
    """SHA-256 of ``metrics.csv``, and of ``layers.csv`` where there is one; None where it cannot be read.

    A finished run's record holds it.
    """
    layers = folder / LAYERS_FILE
    try:
        content = read_whole(folder / METRICS_FILE) + (read_whole(layers) if layers.exists() else b"")
    except OSError:
        return None
    return hashlib.sha256(content).hexdigest()


def last_row(folder: Path) -> dict[str, float]:
    """The last whole row of a run, without pandas; empty where there is none."""
    rows = last_rows(folder, 1)
    return rows[-1] if rows else {}


def last_rows(folder: Path, count: int, columns: Sequence[str] | None = None) -> list[dict[str, float]]:
    """The last ``count`` whole rows of a run, without pandas; lines that are no row are left out.

    ``columns``: those that are wanted, as far as the table has them; all by default.
    """
    try:
        with opened(folder / METRICS_FILE) as file:
            header = file.readline().decode().rstrip("\n").split(",")
            lines = _last_lines(file, count)
    except (OSError, UnicodeDecodeError):
        return []
    places = {column: header.index(column) for column in columns or header if column in header}
    wanted = list(places.values())
    rows = []
    for line in lines:
        cells = line.split(",")
        if len(cells) == len(header):
            values = parse_numbers([cells[place] for place in wanted], len(wanted))
            if values:
                rows.append(dict(zip(places, values, strict=True)))
    return rows


def _last_lines(file: BinaryIO, count: int) -> list[str]:
    """The last ``count`` lines that end with a newline, from where ``file`` is: only its end is read."""
    begin, end = file.tell(), file.seek(0, os.SEEK_END)
    length = _LINE * count
    while True:
        start = max(begin, end - length)
        file.seek(start)
        content = file.read(end - start)
        if start == begin or content.count(b"\n") > count:  # the first may be a part of a line
            break
        length *= 4
    return [line for line in content.rpartition(b"\n")[0].decode().split("\n")[-count:] if line]
