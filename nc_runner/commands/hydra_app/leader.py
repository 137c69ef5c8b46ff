"""A sweep in rounds: what nobody has is launched, what another process has is waited for.

A run may be in other hands: those of a second command on the same outputs folder, or of jobs that outlive the
command that started them. A round launches the runs that are in nobody's; the next one comes when some of the
others are let go unfinished. So no run is trained twice, and the last lines have them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nc_runner.commands.attempt import LOOK_AGAIN, RunAttempt, has_nothing_to_do, holder, nearby, result_line
from nc_runner.commands.hydra_app.compose import Job
from nc_runner.commands.hydra_app.sweep import Sweep
from nc_runner.commands.hydra_app.task import Task
from nc_runner.commands.report import Line, lines_of
from nc_runner.commands.slurm import going_on
from nc_runner.distributed.group import Group
from nc_runner.errors import GroupError, NCRunnerError
from nc_runner.runs.locks import is_held
from nc_runner.runs.record import LOCK_FILE, SWEEPS_FOLDER
from nc_runner.runs.sweeps import ELSEWHERE, forget_jobs, jobs_in_queues
from nc_runner.training.progress import show
from nc_runner.training.signals import StopRequested, StopSignals

_ASK_AGAIN = 10.0  # seconds between two questions to Slurm's controller
_ROUNDS_OF_RANKS = 60.0  # seconds after which waiting ranks hear from rank 0: fewer than their patience


class Leader:
    """The sweep on rank 0: it decides which runs each round has.

    Args:
        task: what is called for each run, on the group of this rank.
    """

    def __init__(self, sweep: Sweep, task: Task) -> None:
        self.sweep = sweep
        self.task = task
        self.planned = [job.folder for job in sweep.jobs]
        self._jobs: dict[Path, str] | None = None
        self._asked = -_ASK_AGAIN
        self._told = False

    def announce(self, todo: Sequence[int]) -> None:
        """Write the list of the runs, and say what of it needs no work."""
        sweep, jobs = self.sweep, self.sweep.jobs
        if jobs:
            epochs = {job.folder: job.config.epochs for job in jobs}
            settings = {job.folder: job.settings() for job in jobs}
            sweep.archive.plan(epochs, any(job.config.overwrite for job in jobs), settings)
        if len(todo) < len(jobs):
            show(f"already complete: {len(jobs) - len(todo)} of {len(jobs)} runs")
        if lacking := sweep.lacking_weights(sweep.only(todo)):
            show(
                f"without weights that keep_checkpoints asks for: {lacking} of them; "
                "it keeps them only while a run trains; overwrite=true trains it again"
            )

    def carry_out(self, todo: Sequence[int]) -> None:
        """Have the runs of these numbers carried out, here or by who has them already.

        Raises as :meth:`Sweep.launch`.
        """
        with self.sweep.callbacks():
            if self.sweep.searches:
                self.sweep.launch([], self.task)
            else:
                self._rounds(list(todo))
        self._tell_ranks(None)

    def lines(self) -> list[Line]:
        """How every run of the sweep ended, or who has it still."""
        self._asked = -_ASK_AGAIN
        return lines_of(self.sweep.archive, self.planned, self._hands(range(len(self.planned))))

    def _rounds(self, left: list[int]) -> None:
        while left:
            hands = self._hands(left)
            free = [number for number in left if self.planned[number] not in hands]
            if free:
                self._tell(hands)
                self._tell_ranks(free)
                self.sweep.launch(self.sweep.only(free), self.task)
                put_off = self._put_off(free)
                left = [number for number in left if number not in free or number in put_off]
            if left:
                self._wait(left)
                left = [number for number in left if not self._ended(number)]

    def _tell(self, hands: dict[Path, str]) -> None:
        """Say once who has runs that are waited for."""
        if hands and not self._told:
            show(_told(list(hands.values()), len(self.planned)))
        self._told |= bool(hands)

    def _put_off(self, numbers: Sequence[int]) -> set[int]:
        """Those of the runs that another process had; not where locks cannot be seen: that is an error."""
        states = {Path(attempt.folder): attempt.state for attempt in self.sweep.archive.attempts()}
        return {
            number
            for number in numbers
            if states.get(self.planned[number].resolve()) == ELSEWHERE
            and is_held(self.planned[number] / LOCK_FILE) is not None
        }

    def _hands(self, numbers: Sequence[int]) -> dict[Path, str]:
        """The folders that another process writes, or that Slurm has a job for, and who that is."""
        folders = [self.planned[number] for number in numbers]
        queued = self._queued()
        hands = {folder: queued[folder] for folder in folders if folder in queued}
        return hands | {folder: holder(folder) for folder in folders if is_held(folder / LOCK_FILE)}

    def _queued(self) -> dict[Path, str]:
        """The folders of runs that jobs in Slurm's queue have, or will have, from any command.

        Raises NCRunnerError where Slurm does not say whether it has such jobs.
        """
        if time.monotonic() - self._asked >= _ASK_AGAIN:
            root = self.sweep.archive.root
            jobs = jobs_in_queues(root)
            alive = going_on(jobs)
            if alive is None and self._jobs is None:
                raise NCRunnerError(
                    "Slurm does not answer, and may have jobs for these runs in its queue\n"
                    f"try again later, or remove {nearby(root / SWEEPS_FOLDER)} if it has none"
                )
            if alive is not None:
                forget_jobs(root, jobs, alive)
                self._jobs = {Path(folder): f"Slurm's job {name}" for name, folder in alive.items()}
            self._asked = time.monotonic()
        return self._jobs or {}

    def _wait(self, numbers: Sequence[int]) -> None:
        """Until one of the runs is in nobody's hands; rank 0 alone, which the other ranks must hear from.

        Raises StopRequested.
        """
        heard = time.monotonic()
        with StopSignals() as signals:
            self._tell(self._hands(numbers))  # a signal from here on ends the waiting
            while True:
                end = time.monotonic() + LOOK_AGAIN
                while time.monotonic() < end:
                    self._paused(signals.pause)
                    time.sleep(0.1)
                if len(self._hands(numbers)) < len(numbers):
                    return
                if time.monotonic() - heard > min(_ROUNDS_OF_RANKS, self._patience() / 2):
                    self._tell_ranks([])
                    heard = time.monotonic()

    def _paused(self, pause: Callable[[], None]) -> None:
        try:
            pause()
        except StopRequested:
            self._tell_ranks(None)
            raise

    def _patience(self) -> float:
        return self.sweep.jobs[0].config.rank_timeout_seconds

    def _ended(self, number: int) -> bool:
        """Whether the run that another process had is finished, for all trackers too: then it is said."""
        folder, job = self.planned[number], self.sweep.jobs[number]
        if (
            folder in self._hands([number])
            or job.config.overwrite
            or not has_nothing_to_do(folder, job.config)
        ):
            return False
        label = self.sweep.label(folder)
        show(f"{label} complete elsewhere: {nearby(folder)}  {result_line(folder)}".rstrip())
        return True

    def _tell_ranks(self, numbers: list[int] | None) -> None:
        """The runs of the next round; None: there are no more."""
        self.task.group.broadcast(numbers)


def follow(sweep: Sweep, group: Group) -> None:
    """What the other ranks do in a sweep: each run in turn; an error of all ranks ends that run alone."""
    nothing: list[int] | None = None
    while (numbers := group.broadcast(nothing)) is not None:
        for job in sweep.only(numbers):
            _follow_run(job, group)


def _follow_run(job: Job, group: Group) -> None:
    try:
        with StopSignals() as signals:
            RunAttempt(job.config, job.folder, group).carry_out(signals)
    except GroupError:
        raise
    except NCRunnerError:
        pass  # rank 0 tells


def _told(hands: Sequence[str], total: int) -> str:
    """Who has the runs that are waited for, in a line."""
    names = list(dict.fromkeys(hands))
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    runs = "run is" if len(hands) == 1 else "runs are"
    return f"waiting: {len(hands)} of {total} {runs} in other hands ({some})"
