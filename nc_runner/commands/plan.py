"""What ``nc-run --plan`` says: what a command would do with each run, and how long. Imports no torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nc_runner.commands.attempt import (
    check_custom_callables,
    check_owner,
    is_finished,
    lacking_weights,
    state_of,
)
from nc_runner.commands.trackers import is_told
from nc_runner.config.identity import identity
from nc_runner.config.learning_rates import depends_on_epochs
from nc_runner.config.schedules import analysed_epochs
from nc_runner.config.schema import Config
from nc_runner.runs.finished import apart_from_epochs, finished_runs
from nc_runner.runs.locks import is_held
from nc_runner.runs.pace import Pace, typical
from nc_runner.runs.reader import Record
from nc_runner.runs.record import (
    CHECKPOINT_FILE,
    COMPLETE,
    DIVERGED,
    LOCK_FILE,
    PREVIOUS_CHECKPOINT_FILE,
    RUN_FILE,
)
from nc_runner.status import NOT_STARTED, RunStatus, overview

# What would happen to a run
NEW = "new"
CONTINUES = "continues"  # begins with the last epoch of a finished run that differs in having fewer epochs
RESUMES = "resumes"
ANEW = "anew"  # overwrite=true: the earlier run is kept beside it
DONE = "done"
FAILS = "fails"  # it diverged before: it is not trained again
BUSY = "busy"  # another process writes it now: it fails here
ACTIONS = (NEW, CONTINUES, RESUMES, ANEW, DONE, FAILS, BUSY)
TRAINED = (NEW, CONTINUES, RESUMES, ANEW)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command. ``before``: its state, empty where it was never begun; ``epoch``: where it is.

    ``seconds``: of its training; None: not known. ``reason``: why it failed before. ``lacks_weights`` and
    ``lacks_tracker``: it is done, without weights that are asked for, or untold to a tracker.
    """

    folder: Path
    record: Record
    action: str
    before: str = ""
    epoch: int = 0
    epochs: int = 0
    seconds: float | None = None
    reason: str | None = None
    lacks_weights: bool = False
    lacks_tracker: bool = False


@dataclass(frozen=True)
class Plan:
    """All runs of a command. ``at_a_time``: how many its launcher carries out at once; None: not known."""

    runs: list[PlannedRun]
    at_a_time: int | None = 1

    @property
    def counts(self) -> dict[str, int]:
        counted = Counter(run.action for run in self.runs)
        return {action: counted[action] for action in ACTIONS if counted[action]}

    @property
    def trained(self) -> list[PlannedRun]:
        """The runs that have something to train."""
        return [run for run in self.runs if run.action in TRAINED]

    @property
    def known(self) -> list[float]:
        """The seconds of those of them of which they are known."""
        return [run.seconds for run in self.trained if run.seconds is not None]

    @property
    def seconds(self) -> float | None:
        """Until the last run is done; None where that is not known."""
        known = self.known
        if self.at_a_time is None or len(known) < len(self.trained):
            return None
        return max(sum(known) / self.at_a_time, max(known, default=0.0))


def plan(
    jobs: Sequence[tuple[Path, Config, Mapping[str, Any]]], outputs: Path, at_a_time: int | None
) -> Plan:
    """What would happen to the runs ``jobs``: folder, settings, and the same as their record has them.

    Nothing is written. ``outputs``: where runs are looked for whose pace tells how long these take.

    Raises:
        RunFolderError: the command would end at once: a folder holds another run.
        ConfigError: the same for a custom callable.
    """
    root = outputs.absolute()
    elsewhere = (folder for folder, *_ in jobs if not folder.is_relative_to(root))
    seen = overview([path for path in (root, *elsewhere) if path.is_dir()])
    planner = _Planner({run.folder: run for run in seen.runs})
    return Plan([planner.planned(*job) for job in jobs], at_a_time)


@dataclass
class _Planner:
    statuses: dict[Path, RunStatus]
    _finished: dict[Path, list[tuple[dict[str, Any], int]]] = field(default_factory=dict)

    @cached_property
    def _paces(self) -> _Paces:
        return _Paces(self.statuses.values())

    def planned(self, folder: Path, config: Config, settings: Mapping[str, Any]) -> PlannedRun:
        check_owner(folder, config)
        record = Record({"settings": dict(settings)})
        status = self.statuses.get(folder.resolve())
        action, epoch = self._action(folder, config, status)
        run = PlannedRun(folder, record, action, epoch=epoch, epochs=config.epochs)
        if status is not None and status.state != NOT_STARTED:
            run = replace(run, before=status.state, reason=status.reason)
        if action in TRAINED:
            check_custom_callables(config)
            return replace(run, seconds=self._paces.seconds(record, config, epoch))
        if action != DONE:
            return run
        told = is_told(folder, config)
        return replace(run, lacks_weights=bool(lacking_weights(folder, config)), lacks_tracker=not told)

    def _action(self, folder: Path, config: Config, status: RunStatus | None) -> tuple[str, int]:
        """What would happen, and the epoch that the run is at then."""
        reached = status.epoch if status else 0
        if is_held(folder / LOCK_FILE):
            return BUSY, reached
        began = (folder / RUN_FILE).exists()
        if began and config.overwrite:
            return ANEW, 0
        state = state_of(folder)
        if state == DIVERGED:
            return FAILS, reached
        if state == COMPLETE and is_finished(folder):
            return DONE, config.epochs
        checkpoint = any((folder / name).exists() for name in (CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE))
        if began and checkpoint:
            return RESUMES, reached
        if shorter := self._shorter(folder, config):
            return CONTINUES, shorter
        return (RESUMES if began else NEW), 0

    def _shorter(self, folder: Path, config: Config) -> int:
        """The epochs of the longest finished run that this one would continue, if its data are the same."""
        if config.overwrite or depends_on_epochs(config):
            return 0
        if folder.parent not in self._finished:
            self._finished[folder.parent] = [
                (run.apart_from_epochs, run.epochs)
                for run in finished_runs(folder.parent)
                if (run.folder / CHECKPOINT_FILE).exists()
            ]
        asked = apart_from_epochs(identity(config))
        found = (epochs for held, epochs in self._finished[folder.parent] if held == asked)
        return max((epochs for epochs in found if epochs < config.epochs), default=0)


class _Paces:
    """The pace of the runs so far that are most alike."""

    def __init__(self, runs: Iterable[RunStatus]) -> None:
        self._paces: dict[str, list[Pace]] = defaultdict(list)
        for run in runs:
            if run.pace is not None and run.record is not None:
                for key in _alike(run.record):
                    self._paces[key].append(run.pace)

    def seconds(self, record: Record, config: Config, epoch: int) -> float | None:
        """The time that training after ``epoch`` takes; None where no run has that network and data set."""
        paces = next((self._paces[key] for key in _alike(record) if key in self._paces), None)
        if paces is None:
            return None
        epochs = max(config.epochs - epoch, 0)
        analysed = analysed_epochs(config.analysis.schedule, config.epochs)
        refits = config.classifier == "least_squares"  # a part of a measurement, after every epoch
        return typical(paces).seconds(epochs, epochs if refits else sum(after > epoch for after in analysed))


def _alike(record: Record) -> Iterator[str]:
    """Equal for runs that take about as long; from the closest likeness to network and data set alone."""
    settings = record.settings
    net, data, loss = (record.group(name) for name in ("net", "data", "loss"))
    cell = (net.get("name"), data.get("name"), data.get("samples_per_class"))
    measured = {key: value for key, value in record.group("analysis").items() if key != "schedule"}
    costs = [
        settings.get(key) for key in ("precision", "compile", "classifier", "optimizer", "device", "threads")
    ]
    batch = settings.get("batch_size")
    yield repr((*cell, batch, loss.get("name"), costs, measured))
    yield repr((*cell, batch, loss.get("name")))
    yield repr((*cell, batch))
    yield repr(cell)
