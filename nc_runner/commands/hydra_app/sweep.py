"""A sweep: its runs are listed, checked and launched."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from socket import gethostname
from types import FrameType
from typing import Any

from hydra._internal.callbacks import (
    Callbacks,  # Hydra's launchers need one, and Hydra offers it nowhere else
)
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from nc_runner.commands.attempt import check_custom_callables, check_owner, has_nothing_to_do, lacking_weights
from nc_runner.commands.hydra_app import ray, slurm
from nc_runner.commands.hydra_app.compose import CONFIG_NAME, Job, sweep_jobs
from nc_runner.commands.hydra_app.light import DropSettings
from nc_runner.commands.hydra_app.task import BASIC_LAUNCHER, BASIC_SWEEPER, Task
from nc_runner.commands.shares import runs_at_a_time
from nc_runner.errors import ConfigError, NCRunnerError
from nc_runner.runs.record import RUNNING
from nc_runner.runs.sweeps import SweepArchive
from nc_runner.training.signals import STOPPING, StopRequested


class LauncherError(NCRunnerError):
    """Not a run failed, but what should have carried it out (exit code 1)."""


@dataclass
class Sweep:
    """The runs that ``nc-run -m`` asks for.

    Args:
        app: Hydra's application object.
        overrides: all that the command line gives.
        composed: the sweep's configuration.
        archive: where its list and attempts are kept.
    """

    app: Any
    overrides: list[str]
    composed: DictConfig
    archive: SweepArchive
    jobs: list[Job] = field(default_factory=list)

    @property
    def searches(self) -> bool:
        """Whether another sweeper than Hydra's basic one chooses the runs as it goes."""
        return not str(self.composed.hydra.sweeper.get("_target_", "")).endswith(BASIC_SWEEPER)

    @property
    def in_this_process(self) -> bool:
        """Whether the runs are carried out one after the other in the command's own process."""
        return str(self.composed.hydra.launcher.get("_target_", "")).endswith(BASIC_LAUNCHER)

    @property
    def by_slurm(self) -> bool:
        """Whether the runs are jobs of Slurm's, which outlive the command."""
        return str(self.composed.hydra.launcher.get("_target_", "")).endswith(f".{slurm.TARGET}")

    @property
    def at_a_time(self) -> int | None:
        """How many runs the launcher carries out at once; None where that is not known."""
        launcher = self.composed.hydra.launcher
        name = str(launcher.get("_target_", "")).rpartition(".")[2]
        if self.in_this_process:
            return 1
        if name == "JoblibLauncher":
            return runs_at_a_time(max(int(launcher.n_jobs), 0))
        if self.by_slurm:
            return int(launcher.array_parallelism)
        return max(1, len(self.jobs)) if name == "LocalLauncher" else None

    @property
    def folder(self) -> Path:
        return Path(str(self.composed.hydra.sweep.dir))

    def prepare(self) -> None:
        """Find all runs and check their settings; a search checks each as it comes. Raises ConfigError."""
        if self.by_slurm:
            _check_time_limit(self.composed.hydra.launcher)
            slurm.check_partition(self.composed.hydra.launcher)
        if not self.searches:
            self.jobs = sweep_jobs(self.app, self.composed)

    def unfinished(self) -> list[int]:
        """The numbers of the runs that have something to do, checked before anything is written.

        Raises RunFolderError for the folder of another run, ConfigError for a custom callable or a cluster
        that is not there.
        """
        todo = [
            number
            for number, job in enumerate(self.jobs)
            if job.config.overwrite or not has_nothing_to_do(job.folder, job.config)
        ]
        for job in self.jobs:
            check_owner(job.folder, job.config)
        for number in todo:
            check_custom_callables(self.jobs[number].config)
        if todo or self.searches:
            ray.check_address(self.composed.hydra.launcher)
        return todo

    def lacking_weights(self, todo: Sequence[Job]) -> int:
        """How many of the finished runs lack weights that ``keep_checkpoints`` asks for."""
        folders = {job.folder for job in todo}
        finished = (job for job in self.jobs if job.folder not in folders)
        return sum(bool(lacking_weights(job.folder, job.config)) for job in finished)

    def only(self, numbers: Sequence[int]) -> list[Job]:
        """The runs of these numbers."""
        return [self.jobs[number] for number in numbers]

    def launch(self, todo: Sequence[Job], task: Task) -> None:
        """Have the runs carried out by Hydra's launcher, or by a search's sweeper.

        Raises:
            StopRequested: a signal came, and all runs are stopped with their state saved.
            LauncherError: the launcher itself failed.
        """
        with nullcontext() if self.in_this_process else _passing_on(self.archive, self.by_slurm) as stop:
            try:
                if self.searches:
                    self.app.multirun(CONFIG_NAME, task, self.overrides)
                else:
                    self._launch(todo, task)
            except KeyboardInterrupt:
                raise StopRequested((stop and stop.signum) or signal.SIGINT) from None
            except Exception as error:
                if stop is not None and stop.signum is not None:
                    raise StopRequested(stop.signum) from None
                if self.in_this_process or self.searches:
                    raise
                raise LauncherError(_lost(self.composed, error)) from error
        if stop is not None and stop.signum is not None:
            raise StopRequested(stop.signum)

    @contextmanager
    def callbacks(self) -> Iterator[None]:
        """Within, the sweep's rounds are launched: Hydra's callbacks hear of its start and its end."""
        self._callbacks.on_multirun_start(config=self.composed, config_name=CONFIG_NAME)
        yield
        self._callbacks.on_multirun_end(config=self.composed, config_name=CONFIG_NAME)

    @cached_property
    def _callbacks(self) -> Callbacks:
        """Those of the settings, each made once for all rounds, and our own."""
        callbacks = Callbacks(self.composed)
        callbacks.callbacks.append(DropSettings())
        return callbacks

    def _launch(self, todo: Sequence[Job], task: Task) -> None:
        context = HydraContext(config_loader=self.app.config_loader, callbacks=self._callbacks)
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.composed, self.folder / "multirun.yaml")
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task, config=self.composed
        )
        if self.by_slurm and not self.searches:
            slurm.launch(launcher, todo, self.archive, self.label)
        else:
            launcher.launch([job.overrides for job in todo], initial_job_idx=0)

    def label(self, folder: Path) -> str:
        """Which of the runs this is, such as ``[2/4]``."""
        number = next(number for number, job in enumerate(self.jobs) if job.folder == folder)
        return f"[{number + 1}/{len(self.jobs)}]"


def _check_time_limit(launcher: DictConfig) -> None:
    """A Slurm job that is warned when it starts would be requeued for ever, without progress."""
    minutes, warning = launcher.get("timeout_min"), launcher.get("signal_delay_s")
    if minutes and warning and 60 * minutes <= warning:
        raise ConfigError(
            f"launcher.hours gives a time limit of {60 * minutes} s, and Slurm's warning comes {warning} s "
            "before the limit: no job would get any further\ngive a longer launcher.hours"
        )


@dataclass
class _Stop:
    signum: int | None = None


@contextmanager
def _passing_on(sweep: SweepArchive, outlived: bool) -> Iterator[_Stop]:
    """Within, a stopping signal is passed on to the processes that have a run: they save its state.

    Jobs by which the command is ``outlived`` go on, and those that wait will begin.

    Runs that wait their turn find that a stop was asked for, and do not begin. A second signal ends the
    command. Processes without a run get no signal: one that ends while it waits for work leaves joblib's
    queue locked, and the command would wait for ever for the others.
    """
    stop = _Stop()

    def pass_on(signum: int, frame: FrameType | None) -> None:
        if stop.signum is not None:
            raise KeyboardInterrupt
        stop.signum = signum
        if outlived:
            raise KeyboardInterrupt
        sweep.ask_to_stop()
        children = {child.pid for child in multiprocessing.active_children()}
        for attempt in sweep.attempts():
            if attempt.state == RUNNING and attempt.host == gethostname() and attempt.pid in children:
                os.kill(attempt.pid, signal.SIGTERM)
        if not children:  # the launcher's processes are not ours: Slurm's, or Ray's
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [int(getattr(signal, name)) for name in STOPPING if hasattr(signal, name)]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lost(composed: DictConfig, error: Exception) -> str:
    name = str(composed.hydra.launcher.get("_target_", "")).rpartition(".")[2]
    what = " ".join(str(error).split())
    unreachable = isinstance(error, OSError)  # a ConnectionError is one: the cluster, not a worker
    advice = "is the cluster up?" if unreachable else "killed for memory? use fewer launcher.jobs"
    return (
        f"the launcher {name} failed: {type(error).__name__}: {what[:300]}\n"
        f"the same command resumes what is not finished ({advice})"
    )
