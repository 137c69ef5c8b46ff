"""Hydra's task function: one run, in the command's process or in one of a launcher's.

Importing this module registers what composing a run's settings needs: a launcher's processes get it by that.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nc_runner.commands import shares
from nc_runner.commands.attempt import (
    FolderBusyError,
    RunAttempt,
    check_custom_callables,
    exit_code,
    message_of,
    nearby,
    remove_if_nothing_began,
    result_line,
    state_of,
)
from nc_runner.commands.ending import complain
from nc_runner.commands.hydra_app import resolvers as resolvers
from nc_runner.commands.hydra_app.settings import settings_of
from nc_runner.config import plugins
from nc_runner.config.schema import Config
from nc_runner.distributed.group import ALONE, Group
from nc_runner.errors import GroupError, NCRunnerError
from nc_runner.runs.reader import read_record
from nc_runner.runs.record import COMPLETE, FAILED, INTERRUPTED, RUN_FILE, RUNNING, last_row
from nc_runner.runs.sweeps import ELSEWHERE, Attempt, SweepArchive
from nc_runner.training.progress import show
from nc_runner.training.signals import StopRequested, StopSignals

BASIC_LAUNCHER = ".BasicLauncher"  # Hydra's own: one run after the other, in the command's process
BASIC_SWEEPER = ".BasicSweeper"


class EndOfCommand(BaseException):
    """Ends the whole command: Hydra would take an Exception of one run for that run's alone."""

    def __init__(self, error: GroupError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True)
class Task:
    """What Hydra calls for each run. It can be sent to other processes.

    ``shows_tracebacks``: errors are raised as they are (HYDRA_FULL_ERROR=1); else they are told in two lines
    and recorded, and the sweep's other runs go on.
    """

    shows_tracebacks: bool
    group: Group = ALONE

    def __call__(self, config: DictConfig) -> float | Exception:
        """The run's objective, for a search; NaN where the run has none. For a single run also its error.

        Raises:
            StopRequested: the run was stopped, in the command's own process.
            EndOfCommand: the ranks can no longer compute together.
            NCRunnerError: the run failed and a search has to know.
        """
        hydra = HydraConfig.get()
        plugins.look_in(source.path for source in hydra.runtime.config_sources if source.schema == "file")
        folder = Path(hydra.runtime.output_dir)
        single = hydra.mode != RunMode.MULTIRUN
        launcher = str(hydra.launcher.get("_target_", ""))
        if single or launcher.endswith(BASIC_LAUNCHER):
            launcher = ""
        searching = not single and not str(hydra.sweeper.get("_target_", "")).endswith(BASIC_SWEEPER)
        sweep = SweepArchive(Path(hydra.sweep.dir), str(config.sweep)) if config.get("sweep") else None
        job = _Job(config, folder, sweep, launcher, self.group, searching)
        try:
            job.run()
        except FolderBusyError as error:
            if sweep is None:
                return error
            job.put_off(error)
        except Exception as error:
            job.failed(error, speaks=not single)
            if isinstance(error, GroupError):
                raise EndOfCommand(error) from error
            if self.shows_tracebacks or searching:
                raise
            return error if single else float("nan")
        return job.objective()


@dataclass
class _Job:
    """One run as Hydra hands it over. ``launcher``: empty in the command's own process.

    ``patient``: another process that writes the folder is waited for here: a search must know the result.
    """

    composed: DictConfig
    folder: Path
    sweep: SweepArchive | None
    launcher: str
    group: Group
    patient: bool = False
    config: Config | None = None

    def __post_init__(self) -> None:
        self.attempt = Attempt.begin(self.folder)
        self.label, self.title = self._names()

    def run(self) -> None:
        """Carry out the run, and record the attempt before and after."""
        if self.launcher.endswith("JoblibLauncher"):
            _ignore_sigterm_between_runs()
        try:
            with StopSignals() as signals:
                self._carry_out(signals)
        except StopRequested as stop:  # the launcher's own signal handlers are back: it may be theirs too
            self._stopped(stop)
        received = signals.received  # when the run was over, as while its figures are drawn for trackers
        in_this_process = self.sweep is not None and not self.launcher and self.group.world_size == 1
        if received is not None and in_this_process:
            raise StopRequested(received)  # else the next run of the sweep would begin

    def _carry_out(self, signals: StopSignals) -> None:
        again = self._was_begun()
        self._record(self.attempt)  # before the stop is asked for: the command looks in this order
        if self.sweep is not None and self.sweep.stop_was_asked():
            remove_if_nothing_began(self.folder)
            self._record(replace(self.attempt, state=INTERRUPTED, message="not begun", exit_code=143))
            return
        self.config = settings_of(self.composed)
        if again:  # requeued: overwrite=true was obeyed before
            self.config = self.config.model_copy(update={"overwrite": False})
        check_custom_callables(self.config)
        self.config = shares.with_threads(self.config)
        if self.config.launcher.name == "joblib" and self.sweep is not None:
            shares.take_gpu(self.sweep, shares.runs_at_a_time(self.config.launcher.jobs))
        attempt = RunAttempt(self.config, self.folder, self.group, self.label, self.title, self.patient)
        already = "" if attempt.carry_out(signals) else "already "
        self._record(replace(self.attempt, state=COMPLETE))
        result = result_line(self.folder)
        show(f"{self.label} {already}complete: {nearby(self.folder)}  {result}".lstrip())

    def _was_begun(self) -> bool:
        """Whether a process of this sweep has begun the run before: a job that was requeued."""
        before = self.sweep.attempt_at(self.folder) if self.sweep is not None else None
        if before is None or before.state not in (RUNNING, INTERRUPTED):
            return False
        started = read_record(self.folder).started if (self.folder / RUN_FILE).exists() else None
        return started is not None and started.timestamp() >= math.floor(before.started)

    def put_off(self, error: FolderBusyError) -> None:
        """Another process has the run: the command waits for it when the others have been begun."""
        what = str(error).splitlines()[0]
        self._record(replace(self.attempt, state=ELSEWHERE, message=what, exit_code=exit_code(error)))
        print(f"{self.label} elsewhere: {what}".lstrip(), file=sys.stderr, flush=True)

    def failed(self, error: Exception, speaks: bool) -> None:
        """Record a failure and, where the command does not, say it."""
        state = _recorded_state(self.folder)
        remove_if_nothing_began(self.folder)
        ended = replace(self.attempt, state=state, message=message_of(error), exit_code=exit_code(error))
        self._record(ended)
        if speaks:
            complain("nc-run", f"{nearby(self.folder)}\n{ended.message}")

    def objective(self) -> float:
        name = self.config.objective if self.config is not None else ""
        return last_row(self.folder).get(name, float("nan"))

    def _stopped(self, stop: StopRequested) -> None:
        self._record(replace(self.attempt, state=INTERRUPTED, message=stop.advice, exit_code=stop.exit_code))
        print(f"{self.label} interrupted: {nearby(self.folder)}".lstrip(), file=sys.stderr, flush=True)
        if not self.launcher:
            raise stop
        _hand_over(stop.signum)

    def _record(self, attempt: Attempt) -> None:
        if self.sweep is not None:
            self.sweep.record(attempt)

    def _names(self) -> tuple[str, str]:
        """Where the run is in its sweep: before each line of a run in parallel; else once, as its title."""
        if self.sweep is None:
            return "", ""
        planned = self.sweep.planned()
        number = HydraConfig.get().job.num
        if self.folder.resolve() in planned:
            number = planned.index(self.folder.resolve())
        total = f"/{len(planned)}" if planned else ""
        if self.launcher:
            return f"[{int(number) + 1}{total}]", ""
        return "", f"run {int(number) + 1}{total.replace('/', ' of ')}"


def _recorded_state(folder: Path) -> str:
    """How the run's record says that it ended; failed where there is none, or none that can be read."""
    try:
        return state_of(folder) or FAILED
    except NCRunnerError:
        return FAILED


def _ignore_sigterm_between_runs() -> None:
    """From here on SIGTERM means nothing to this process of a launcher's except while it has a run.

    A signal that was meant for a run, and comes when it has just ended, then does no harm.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _hand_over(signum: int) -> None:
    """Let the launcher's own handler hear the signal, now that the state is saved: submitit's requeues."""
    warning = [getattr(signal, name, None) for name in ("SIGUSR1", "SIGUSR2")]
    if signum in warning and callable(signal.getsignal(signum)):
        signal.raise_signal(signum)


def is_full_error() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"
