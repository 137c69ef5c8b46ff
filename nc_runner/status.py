"""The state, epoch, numbers and time left of the runs in an outputs folder. Imports no torch."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import gethostname

from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.schedules import analysed_epochs
from nc_runner.errors import RunFolderError
from nc_runner.runs.flows import is_flow
from nc_runner.runs.folders import Found, look_through
from nc_runner.runs.locks import is_held
from nc_runner.runs.measured import KIND as MEASURED
from nc_runner.runs.pace import RECENT, Pace, pace_of
from nc_runner.runs.reader import Record, read_record
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOCK_FILE,
    METRICS_FILE,
    RUNNING,
    last_rows,
)
from nc_runner.runs.sweeps import Sweep, sweeps_in

# States that run.json does not have
WAITING = "waiting"  # its sweep is running and will start it
NOT_STARTED = "not started"  # its sweep ended before starting it
KILLED = "killed"  # its record says running, but no process holds its lock
PERHAPS_KILLED = "killed?"  # the same, but started on another host, whose locks may be invisible here

# In the order of the counts
STATES = (
    COMPLETE, RUNNING, WAITING, INTERRUPTED, KILLED, PERHAPS_KILLED, FAILED,
    DIVERGED, NOT_STARTED,
)  # fmt: skip
MOVING = (RUNNING, WAITING, PERHAPS_KILLED)  # states that may change by themselves

_ENDED = (COMPLETE, DIVERGED)  # a sweep does not resume these
_COLUMNS = (*TIME_COLUMNS, "epoch", "nc1", "test_accuracy")
_NUMBERS = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)")


@dataclass(frozen=True)
class RunStatus:
    """One run. ``epoch`` is that of its last row, 0 without one; None: not known.

    ``epoch_seconds``: the recent time per epoch, measurement included. ``seconds_left``: the work left of a
    running or waiting run, without the time until a waiting run starts. ``measured``: its rows are
    those of nc-measure or a callback, which nc-run does not resume. ``record``: holds the settings alone;
    where there is no record yet, those that its sweep plans. ``pace``: that of its last rows.
    """

    folder: Path
    state: str
    epoch: int = 0
    epochs: int | None = None
    nc1: float | None = None
    test_accuracy: float | None = None
    epoch_seconds: float | None = None
    seconds_left: float | None = None
    reason: str | None = None
    host: str | None = None
    measured: bool = False
    record: Record | None = field(default=None, repr=False, compare=False)
    pace: Pace | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Overview:
    """All runs in the order of their folders, the seconds until the last of them is done, and problems."""

    runs: list[RunStatus]
    seconds_left: float | None
    problems: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state that occurs."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES if counted[state]}

    @property
    def moving(self) -> bool:
        return any(run.state in MOVING for run in self.runs)


def overview(paths: Sequence[Path]) -> Overview:
    """The runs at and below ``paths``, and the runs that sweeps plan there.

    Raises :class:`RunFolderError` where a path is not a folder. Records that cannot be read are ``problems``.
    """
    now = time.time()
    found = look_through(paths)
    planned = _planned(found, [path.resolve() for path in paths])
    held = {folder for folder in found.locked if is_held(folder / LOCK_FILE)}  # they load torch and the data
    statuses, problems = [], []
    shared = _Shared()
    for folder in sorted(found.runs | set(planned) | held, key=_order):
        sweep = planned.get(folder)
        if folder not in found.runs:
            statuses.append(_unrecorded(folder, sweep, folder in held))
            continue
        try:
            status = _recorded(folder, sweep, now, shared)
        except RunFolderError as error:
            problems.append(error.in_one_line)
            continue
        if status is not None:
            statuses.append(status)
    statuses = _with_expectations(statuses)
    return Overview(statuses, _total(statuses, planned), problems)


class _Shared:
    """Keeps the settings of thousands of records in little memory: equal groups are one object."""

    def __init__(self) -> None:
        self._known: dict[str, object] = {}

    def settings(self, record: Record) -> Record | None:
        """A record that has the settings alone; None where there are none."""
        if not record.settings:
            return None
        shared = {
            key: self._known.setdefault(repr(value), value) if isinstance(value, (dict, list)) else value
            for key, value in record.settings.items()
        }
        return Record({"settings": shared})


def _planned(found: Found, roots: Sequence[Path]) -> dict[Path, Sweep]:
    """The sweep that plans each folder at or below ``roots``."""
    planned: dict[Path, Sweep] = {}
    for sweep in sorted(sweeps_in(found.sweeps), key=lambda sweep: sweep.alive):  # a running one counts
        for folder in sweep.epochs:
            if any(folder.is_relative_to(root) for root in roots):
                planned[folder] = sweep
    return planned


def _order(folder: Path) -> list[str | float]:
    """Sorts numbers in names as numbers: seed10 comes after seed2, lr0.1 after lr0.0184."""
    parts: list[str | float] = list(_NUMBERS.split(str(folder)))
    parts[1::2] = map(float, parts[1::2])
    return parts


def _unrecorded(folder: Path, sweep: Sweep | None, held: bool) -> RunStatus:
    """The status of a folder without a record: it is about to begin, or some sweep's plan."""
    state = RUNNING if held else WAITING if sweep and sweep.alive else NOT_STARTED
    if sweep is None:
        return RunStatus(folder, state)
    settings = sweep.settings.get(folder)
    record = Record({"settings": settings}) if settings else None
    return RunStatus(folder, state, epochs=sweep.epochs[folder], record=record)


def _recorded(folder: Path, sweep: Sweep | None, now: float, shared: _Shared) -> RunStatus | None:
    """The status of a folder with a record by itself; None for a flow."""
    record = read_record(folder)
    if is_flow(record):
        return None
    held: bool | None = False
    if record.state not in _ENDED or (sweep and sweep.alive and sweep.anew):  # else it does not matter
        held = is_held(folder / LOCK_FILE)
    if record.state == RUNNING and not held:
        record = read_record(folder)  # it may have ended between the two looks, in this order
    state = _state(record, held, sweep)
    rows = last_rows(folder, RECENT + 1, _COLUMNS)
    last = rows[-1] if rows else {}
    status = RunStatus(
        folder,
        state,
        epoch=int(_number(last.get("epoch")) or 0),
        epochs=record.epochs or (sweep.epochs[folder] if sweep else None),
        nc1=_number(last.get("nc1")),
        test_accuracy=_number(last.get("test_accuracy")),
        reason=record.reason if state != RUNNING else None,
        host=record.host,
        measured=record.content.get("kind") == MEASURED,
        record=shared.settings(record),
    )
    if state == WAITING and record.state == COMPLETE:
        return replace(status, epoch=0, nc1=None, test_accuracy=None)  # to be trained anew
    return _with_pace(status, record, rows, now)


def _state(record: Record, held: bool | None, sweep: Sweep | None) -> str:
    state = record.state
    ended = state in _ENDED
    if sweep and sweep.alive and not held and (sweep.anew or not ended) and _started_before(record, sweep):
        return WAITING
    if ended or held is None:
        return state
    if held:
        return RUNNING  # perhaps just resumed, with the record of its last attempt
    if state == RUNNING:
        return KILLED if record.host in (None, gethostname()) else PERHAPS_KILLED
    return state


def _started_before(record: Record, sweep: Sweep) -> bool:
    # records have whole seconds
    return record.started is None or record.started.timestamp() < math.floor(sweep.started)


def _with_pace(status: RunStatus, record: Record, rows: list[dict[str, float]], now: float) -> RunStatus:
    """Adds the time per epoch and, for a run that is not done, the time left."""
    pace = pace_of(rows)
    if pace is None:
        return status
    status = replace(status, epoch_seconds=pace.epoch, pace=pace)
    if status.state not in (RUNNING, WAITING) or not status.epochs or status.epochs <= status.epoch:
        return status
    to_train = status.epochs - status.epoch
    analysed = [epoch for epoch in analysed_epochs(record.schedule, status.epochs) if epoch > status.epoch]
    measurements = to_train if record.refits else len(analysed)  # a refit is a part of a measurement
    left = pace.seconds(to_train, measurements)
    if status.state == RUNNING:  # part of the way to the next row is done
        until_next = left * (analysed[0] - status.epoch) / to_train
        left -= min(max(now - _modified(status.folder / METRICS_FILE, now), 0.0), until_next)
    return replace(status, seconds_left=left)


def _with_expectations(statuses: list[RunStatus]) -> list[RunStatus]:
    """Gives runs without a row the pace of runs with the same loss, network and data, or else of all runs."""
    paces: dict[Path | None, list[float]] = {}
    for status in statuses:
        if status.epoch_seconds is not None:
            for cell in (status.folder.parent, None):
                paces.setdefault(cell, []).append(status.epoch_seconds)
    result = []
    for status in statuses:
        pace = paces.get(status.folder.parent) or paces.get(None)
        if status.state in (RUNNING, WAITING) and status.seconds_left is None and pace:
            todo = (status.epochs or 0) - status.epoch
            status = replace(status, seconds_left=todo * sum(pace) / len(pace) if todo > 0 else None)
        result.append(status)
    return result


def _total(statuses: list[RunStatus], planned: dict[Path, Sweep]) -> float | None:
    """Seconds until the last run is done, if each sweep continues with as many runs at a time as now."""
    groups: dict[Path, list[RunStatus]] = {}
    for status in statuses:
        if status.seconds_left is not None:
            sweep = planned.get(status.folder)
            group = sweep.path if sweep and sweep.alive else status.folder
            groups.setdefault(group, []).append(status)
    totals = []
    for members in groups.values():
        at_a_time = max(1, sum(status.state == RUNNING for status in members))
        seconds = [status.seconds_left or 0.0 for status in members]
        totals.append(max(sum(seconds) / at_a_time, *seconds))
    return max(totals, default=None)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _modified(path: Path, otherwise: float) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise
