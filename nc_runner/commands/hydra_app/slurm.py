"""A round of a sweep as jobs of Slurm: submitted through submitit, and watched with squeue.

Hydra's launcher has the jobs' command, their parameters and what a requeued job does. It would also wait for
them, by ``sacct``. Without accounting that answers nothing, and a job that was cancelled while it was
pending, or was lost with its node, would be waited for for ever. With accounting the first such job would end
the command while the others go on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from nc_runner.commands.attempt import is_finished, nearby, result_line
from nc_runner.commands.hydra_app.compose import Job
from nc_runner.commands.slurm import QueuedJob, jobs_of_user, time_limit
from nc_runner.errors import ConfigError
from nc_runner.runs.record import COMPLETE, FAILED
from nc_runner.runs.sweeps import Attempt, SweepArchive
from nc_runner.training.progress import show

TARGET = "SlurmLauncher"
_LOOK_AGAIN = 5.0  # seconds between two questions to Slurm's controller
_SETTLED = 10.0  # seconds until files of another host are seen here
_BASE = (
    "timeout_min",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "mem_gb",
    "nodes",
    "name",
    "stderr_to_stdout",
)


def check_partition(launcher: DictConfig) -> None:
    """Raise ConfigError where the partition allows less than ``launcher.hours``: jobs would wait for ever."""
    limit = time_limit(launcher.get("partition"))
    minutes = launcher.get("timeout_min")
    if limit is not None and minutes and minutes > limit:
        name = launcher.get("partition") or "that Slurm chooses"
        raise ConfigError(
            f"launcher.hours={minutes / 60:g} is more than the {limit / 60:.4g} hours that the partition "
            f"{name} allows: the jobs would wait for ever\n"
            f"give launcher.hours={math.floor(limit) / 60:.4g} or less, or another launcher.partition"
        )


def launch(launcher: Any, todo: Sequence[Job], archive: SweepArchive, labels: Callable[[Path], str]) -> None:
    """Submit the runs, and wait until the last of their jobs has ended, however it did.

    Args:
        launcher: Hydra's own, set up: its ``params`` are of the configuration, and it is what a job calls.
        archive: is told the ids of the jobs while there are any, so that a later command finds them.
        labels: of a run folder, as at the start of its lines.
    """
    jobs = _submit(launcher, todo)
    folders = {job.job_id: run.folder for job, run in zip(jobs, todo, strict=True)}
    archive.submitted({name: str(folder) for name, folder in folders.items()})
    outputs = {job.job_id: job.paths.stderr for job in jobs}
    first = jobs[0].job_id.partition("_")[0]
    show(f"{len(jobs)} job{'s' * (len(jobs) > 1)} submitted to Slurm: {first} (scancel {first} ends all)")
    _Watch(archive, folders, outputs, labels).wait()
    archive.submitted({})


def _submit(launcher: Any, todo: Sequence[Job]) -> list[Any]:
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    given = {
        key: value
        for key, value in launcher.params.items()
        if key not in ("submitit_folder", "max_num_timeout")
    }
    executor = submitit.AutoExecutor(
        folder=launcher.params["submitit_folder"],
        cluster="slurm",
        slurm_max_num_timeout=launcher.params["max_num_timeout"],
    )
    executor.update_parameters(
        **{key if key in _BASE else f"slurm_{key}": value for key, value in given.items()}
    )
    state = Singleton.get_state()
    calls = [
        (list(run.overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", state)
        for number, run in enumerate(todo)
    ]
    return list(executor.map_array(launcher, *zip(*calls, strict=True)))


class _Watch:
    """Waits for jobs: says which runs have ended, and which jobs cannot start."""

    def __init__(
        self,
        archive: SweepArchive,
        folders: Mapping[str, Path],
        outputs: Mapping[str, Path],
        labels: Callable[[Path], str],
    ) -> None:
        self.archive = archive
        self.folders = folders
        self.outputs = outputs
        self.labels = labels
        self.left = dict(folders)
        self.gone: dict[str, float] = {}  # when a job was first seen to have ended
        self.told: set[str] = set()

    def wait(self) -> None:
        while self.left:
            time.sleep(_LOOK_AGAIN)
            found = jobs_of_user()
            if found is None:
                self._tell("Slurm does not answer; the command goes on asking (squeue)")
                continue
            for name in list(self.left):
                job = found.get(name)
                if job is not None and not job.ended:
                    self.gone.pop(name, None)
                    if job.may_wait_for_ever:
                        self._tell(
                            f"job {name.partition('_')[0]} waits: {job.why}; look at squeue, or scancel it"
                        )
                elif time.monotonic() - self.gone.setdefault(name, time.monotonic()) >= self._patience(name):
                    self._end(name, job)

    def _patience(self, name: str) -> float:
        """Seconds that a job which is gone may be on its way back to the queue, or its files on theirs."""
        folder = self.folders[name]
        done = self.archive.attempt_at(folder) is not None and is_finished(folder)
        return 0.0 if done else _SETTLED

    def _end(self, name: str, job: QueuedJob | None) -> None:
        folder = self.left.pop(name)
        attempt = self.archive.attempt_at(folder)
        if attempt is None and not is_finished(folder):
            how = job.state.lower().replace("_", " ") if job is not None else "gone from the queue"
            message = f"Slurm's job {name} did not begin the run: {how} ({nearby(self.outputs[name])})"
            self.archive.record(
                Attempt(str(folder.resolve()), FAILED, message, exit_code=1, started=time.time())
            )
            state, detail = "not begun", f"({how})"
        else:
            state = COMPLETE if is_finished(folder) else attempt.state if attempt is not None else COMPLETE
            detail = result_line(folder)
            state = "lost" if state == "running" else state
        show(f"{self.labels(folder)} {state}: {nearby(folder)}  {detail}".rstrip())

    def _tell(self, line: str) -> None:
        if line not in self.told:
            self.told.add(line)
            show(line)
