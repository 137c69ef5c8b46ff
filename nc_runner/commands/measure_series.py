"""The sources of ``nc-measure``, measured one after the other: what is done is kept, however it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from nc_runner.commands.ending import DONE, FAILED, complain
from nc_runner.commands.measure_sources import Task
from nc_runner.errors import NCRunnerError
from nc_runner.measurement.result import Measurement
from nc_runner.runs import record
from nc_runner.training.signals import StopRequested


@dataclass(frozen=True)
class Measured:
    """A task that is done, with the epoch of its row."""

    task: Task
    epoch: int
    measurement: Measurement

    @property
    def row(self) -> dict[str, float]:
        """With the epoch, where the source tells it."""
        row = self.measurement.row
        return row if self.task.epoch is None else {**row, "epoch": self.epoch}


def with_epochs(tasks: Sequence[Task]) -> list[tuple[int, Task]]:
    """The tasks of a series with their epochs: in the order of these where all differ, else 1, 2, ...

    A shell lists epoch-10.pt before epoch-5.pt.
    """
    known = [(task.epoch, task) for task in tasks if task.epoch is not None]
    if len({epoch for epoch, _ in known}) == len(tasks):
        return sorted(known, key=lambda one: one[0])
    return list(enumerate(tasks, start=1))


class Series:
    """``tasks`` with their epochs, of which those that are ``done`` have a row.

    Attributes:
        failed: labels of the sources that could not be measured.
        ended: what ended the series before all were tried; to be raised when the rows are out.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = with_epochs(tasks)
        self.done: list[Measured] = []
        self.failed: list[str] = []
        self.ended: BaseException | None = None

    def measure(self) -> None:
        """Measure all; say at once which cannot be measured. Raises only what ends a single source."""
        with _sigterm_raises():
            for epoch, task in self.tasks:
                try:
                    self.done.append(Measured(task, epoch, task.measure()))
                except NCRunnerError as error:
                    message = str(error) if task.label in str(error) else f"{task.label}: {error}"
                    if len(self.tasks) == 1:
                        raise type(error)(message) from error
                    self.failed.append(task.label)
                    complain("nc-measure", "; ".join(message.splitlines()))
                except BaseException as error:  # also of a bug: hours of rows must not be lost
                    self.ended = error
                    break
        if self.ended is not None and len(self.tasks) > 1:
            complain("nc-measure", f"stopped: {len(self.done)} of {len(self.tasks)} sources are measured")

    @property
    def state(self) -> str:
        """That of a run folder with the rows."""
        if isinstance(self.ended, (KeyboardInterrupt, StopRequested)):
            return record.INTERRUPTED
        return record.COMPLETE if self.ended is None and not self.failed else record.FAILED

    @property
    def reason(self) -> str | None:
        """Why not all sources have a row; None where they have."""
        if self.ended is not None:
            return f"{type(self.ended).__name__}: {self.ended}".removesuffix(": ")
        return f"not measured: {', '.join(self.failed)}" if self.failed else None

    @property
    def exit_code(self) -> int:
        return FAILED if self.failed else DONE


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Inside, SIGTERM raises StopRequested, as Ctrl-C raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():  # Python allows no handlers there
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StopRequested(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
