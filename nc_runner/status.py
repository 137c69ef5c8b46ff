"""What the runs of an outputs folder are doing: state, epoch, numbers, time left. Imports no torch."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Any

from nc_runner.columns import TIME_COLUMNS
from nc_runner.errors import RunFolderError
from nc_runner.runs import flows
from nc_runner.runs.locks import is_held
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOCK_FILE,
    METRICS_FILE,
    RUN_FILE,
    RUNNING,
    last_rows,
    read_run_file,
)
from nc_runner.runs.sweeps import Sweep, find_sweeps

# States beside those of run.json
WAITING = "waiting"  # its sweep goes on, and will come to it
NOT_STARTED = "not started"  # its sweep ended before it came to it
KILLED = "killed"  # its record says running, but nobody holds its lock
PERHAPS_KILLED = "killed?"  # the same, but begun on another host, whose locks may be invisible here

# In the order in which they are counted
STATES = (
    COMPLETE, RUNNING, WAITING, INTERRUPTED, KILLED, PERHAPS_KILLED, FAILED,
    DIVERGED, NOT_STARTED,
)  # fmt: skip
MOVING = (RUNNING, WAITING, PERHAPS_KILLED)  # states that may change without anybody's doing

_RECENT = 10  # rows that tell how fast a run goes


@dataclass(frozen=True)
class RunStatus:
    """One run. ``epoch`` is that of its last row, 0 without one; None stands for what is not known.

    ``epoch_seconds``: what an epoch has taken lately, measurement included. ``seconds_left``: of work,
    for runs that run or wait; not counting what a waiting run waits for.
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


@dataclass(frozen=True)
class Overview:
    """All runs in the order of their folders, seconds until the last of them is done, and what was wrong."""

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
    """The runs at and below ``paths``, and those that sweeps planned there.

    Raises :class:`RunFolderError` where a path is not a folder. Records that cannot be read are ``problems``.
    """
    now = time.time()
    found = set(find_runs(paths))
    roots = [path.resolve() for path in paths]
    sweeps = find_sweeps(paths)
    planned: dict[Path, Sweep] = {}
    for sweep in sorted(sweeps, key=lambda sweep: sweep.alive):  # a living one has the last word
        for folder in sweep.epochs:
            if any(folder.is_relative_to(root) for root in roots):
                planned[folder] = sweep
    statuses, problems = [], []
    for folder in sorted(found | set(planned) | _being_prepared(paths), key=_order):
        try:
            status = _status(folder, planned.get(folder), now)
        except RunFolderError as error:
            problems.append(" ".join(str(error).split()))
            continue
        if status is not None:
            statuses.append(status)
    statuses = _with_expectations(statuses)
    return Overview(statuses, _total(statuses, planned), problems)


def _order(folder: Path) -> list[Any]:
    """Numbers in names count as numbers: seed10 comes after seed2, lr0.1 after lr0.0184."""
    parts: list[Any] = re.split(r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)", str(folder))
    parts[1::2] = map(float, parts[1::2])
    return parts


def _being_prepared(paths: Iterable[Path]) -> set[Path]:
    """The folders whose run has begun and has no record yet: torch and the data are being loaded."""
    locks = (lock for path in paths for lock in path.rglob(LOCK_FILE))
    unrecorded = (lock for lock in locks if not lock.with_name(RUN_FILE).exists())
    return {lock.parent.resolve() for lock in unrecorded if is_held(lock)}


def _status(folder: Path, sweep: Sweep | None, now: float) -> RunStatus | None:
    """What can be said of one folder by itself; None where it is a flow's."""
    epochs = sweep.epochs[folder] if sweep else None
    if not (folder / RUN_FILE).exists():
        if is_held(folder / LOCK_FILE):
            return RunStatus(folder, RUNNING, epochs=epochs)
        return RunStatus(folder, WAITING if sweep and sweep.alive else NOT_STARTED, epochs=epochs)
    record = read_run_file(folder)
    if flows.is_flow(record):
        return None
    held = is_held(folder / LOCK_FILE)
    if record["state"] == RUNNING and not held:
        record = read_run_file(folder)  # it may have ended between the two looks, in this order
    state = _state(record, held, sweep)
    settings: dict[str, Any] = record.get("settings") or {}
    rows = last_rows(folder, _RECENT + 1)
    last = rows[-1] if rows else {}
    whole = settings.get("epochs")
    status = RunStatus(
        folder,
        state,
        epoch=int(_number(last.get("epoch")) or 0),
        epochs=whole if isinstance(whole, int) and whole > 0 else epochs,
        nc1=_number(last.get("nc1")),
        test_accuracy=_number(last.get("test_accuracy")),
        reason=str(record["reason"]) if record.get("reason") and state != RUNNING else None,
        host=str(record["host"]) if record.get("host") else None,
    )
    if state == WAITING and record["state"] == COMPLETE:
        return replace(status, epoch=0, nc1=None, test_accuracy=None)  # to be trained anew
    return _with_pace(status, settings, rows, now)


def _state(record: dict[str, Any], held: bool | None, sweep: Sweep | None) -> str:
    state: str = record["state"]
    ended = state in (COMPLETE, DIVERGED)  # a sweep skips or refuses these, and resumes others
    if sweep and sweep.alive and not held and (sweep.anew or not ended) and _began_before(record, sweep):
        return WAITING
    if ended or held is None:
        return state
    if held:
        return RUNNING  # perhaps resumed a moment ago, with its record still of before
    if state == RUNNING:
        return KILLED if record.get("host") in (None, gethostname()) else PERHAPS_KILLED
    return state


def _began_before(record: dict[str, Any], sweep: Sweep) -> bool:
    try:
        started = datetime.fromisoformat(record["started"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return True
    return started < math.floor(sweep.started)  # records tell whole seconds


def _with_pace(
    status: RunStatus, settings: dict[str, Any], rows: list[dict[str, float]], now: float
) -> RunStatus:
    """Adds how long an epoch takes and, for a run that is not done, how long the rest of them will.

    A row's ``train_seconds`` are of all epochs since the row before, its ``analysis_seconds`` of itself.
    """
    before = rows[-_RECENT - 1].get("epoch", 0.0) if len(rows) > _RECENT else 0.0
    recent = rows[-_RECENT:]
    covered = status.epoch - before
    train, analysis = (sum(row.get(column, math.nan) for row in recent) for column in TIME_COLUMNS)
    if not recent or not covered > 0 or not 0 <= train + analysis < math.inf:
        return status
    status = replace(status, epoch_seconds=(train + analysis) / covered)
    if status.state not in (RUNNING, WAITING) or not status.epochs or status.epochs <= status.epoch:
        return status
    to_train = status.epochs - status.epoch
    analysed = [epoch for epoch in _analysed_epochs(settings, status.epochs) if epoch > status.epoch]
    refits = settings.get("classifier") == "least_squares"  # is measured, in part, after every epoch
    measurements = to_train if refits else len(analysed)
    left = to_train * train / covered + measurements * analysis / len(recent)
    if status.state == RUNNING:  # part of the way to the next row is done
        until_next = left * (analysed[0] - status.epoch) / to_train
        left -= min(max(now - _modified(status.folder / METRICS_FILE, now), 0.0), until_next)
    return replace(status, seconds_left=left)


def _analysed_epochs(settings: dict[str, Any], epochs: int) -> list[int]:
    analysis = settings.get("analysis")
    schedule = analysis.get("schedule") if isinstance(analysis, dict) else None
    if schedule == "paper" or (isinstance(schedule, list) and all(type(epoch) is int for epoch in schedule)):
        # here: it brings Hydra, a quarter of a second
        from nc_runner.config.schema import analysed_epochs

        return analysed_epochs(schedule, epochs)
    return list(range(1, epochs + 1))


def _with_expectations(statuses: list[RunStatus]) -> list[RunStatus]:
    """Gives runs without a row the pace of the runs with the same loss, network and data, or else of all."""
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
    """Seconds until the last of the runs is done, if sweeps go on with as many at a time as they do now."""
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
