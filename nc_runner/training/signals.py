"""Signals that ask a run to stop: noted at once, obeyed at the next safe moment. Imports no torch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

# SIGHUP: the terminal was closed. The last two: Slurm's warning before the time limit, as a batch script or
# submitit asks for it.
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class StopRequested(BaseException):
    """Raised by a run that was asked to stop, after its checkpoint is written; on all ranks at one step."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signal.Signals(signum).name)

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for the others, the shell's codes."""
        return 130 if self.signum == signal.SIGINT else 143

    @property
    def advice(self) -> str:
        return "give the same command again to resume"


class StopSignals:
    """While this context is entered, a stopping signal is noted in ``received`` and does not end the process.

    A second SIGINT ends the process at once, with exit code 130. SIGHUP stays ignored where it is ignored
    already, as under nohup. Outside the main thread, where Python allows no handlers, nothing is changed.
    Contexts nest: an inner one starts with what the outer one has received.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for name in STOPPING:
                number = getattr(signal, name, None)
                if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                    continue
                before = signal.signal(number, self._note)
                self._before[int(number)] = before
                outer = getattr(before, "__self__", None)
                if isinstance(outer, StopSignals) and outer.received is not None:
                    self.received = outer.received
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            os._exit(130)
        self.received = number

    def pause(self) -> None:
        """Raise StopRequested if a signal has come."""
        if self.received is not None:
            raise StopRequested(self.received)
