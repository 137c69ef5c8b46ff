"""What a tracker is, and all trackers of one run as one: a failure of one of them never stops the run."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nc_runner.runs.record import COMPLETE, DIVERGED
from nc_runner.runs.tracked import TrackedRun, ending

log = logging.getLogger("nc_runner")


class Tracker(Protocol):
    """One run in one tool. Made when the run begins or resumes: it then has the rows so far, and runs.

    ``where``: the tool's name, and how a user finds the run there, in one line.
    """

    where: str

    def add(self, row: Mapping[str, float]) -> None:
        """Take one row, by column. A row of an epoch that the tool has is not there twice afterwards."""

    def end(self, state: str, reason: str | None, figures: Sequence[Path]) -> None:
        """Take the state in which the run ended, with the reason, and its figures as PNG; then close."""


Opener = Callable[[TrackedRun], Tracker]
Drawing = Callable[[Path, Path], list[Path]]  # (run folder, folder for the pictures) -> pictures


class Trackers:
    """Hands what happens in one run to each of its trackers. Used by the one process that writes the run.

    A tracker that fails is left out from then on, with a warning; the same command makes up for it later.

    Args:
        folder: of the run, whose record and rows are there.
        openers: make the trackers, by place: where a run is told of, as ``trackers.json`` names it.
        draw: draws the figures of a run that has ended.
        say: shows a line to the user.
    """

    def __init__(
        self, folder: Path, openers: Mapping[str, Opener], draw: Drawing, say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._draw = draw
        self._open: dict[str, Tracker] = {}
        try:
            self._run = TrackedRun(folder)
        except Exception as error:  # a full disk; the run itself says more of it, if it cannot go on
            _warn(f"no tracker can be used: {_reason(error)}")
            return
        for place, opener in openers.items():
            self._open_one(place, opener, say)

    def add(self, row: Mapping[str, float]) -> None:
        for place in list(self._open):
            self._safely(place, "add", row)

    def close(self) -> None:
        """The run has ended, as its record says."""
        if not self._open:
            return
        try:
            state, reason = ending(self._folder)
        except Exception as error:
            _warn(f"trackers are not told how the run ended: {_reason(error)}")
            return
        with tempfile.TemporaryDirectory(prefix="nc-run-") as temporary:
            figures = self._figures(Path(temporary)) if state in (COMPLETE, DIVERGED) else []
            for place in list(self._open):
                self._safely(place, "end", state, reason, figures)
                if place in self._open:
                    self._remember(place, state)
        self._open.clear()

    def _open_one(self, place: str, opener: Opener, say: Callable[[str], None]) -> None:
        try:
            self._open[place] = opener(self._run)
        except Exception as error:
            _fail(place, error)
            return
        self._remember(place, "running")
        log.info(self._open[place].where)
        if self._run.memory.group is None:  # a sweep would say it for each of its runs
            say(self._open[place].where)

    def _remember(self, place: str, state: str) -> None:
        try:
            self._run.tell(place, state)
        except OSError as error:
            _fail(place, error)

    def _safely(self, place: str, method: str, *arguments: Any) -> None:
        try:
            getattr(self._open[place], method)(*arguments)
        except Exception as error:
            del self._open[place]
            _fail(place, error)

    def _figures(self, folder: Path) -> list[Path]:
        try:
            return self._draw(self._folder, folder)
        except Exception as error:
            _warn(f"trackers get no figures: {_reason(error)}")
            return []


def near(path: Path) -> Path:
    """``path`` as seen from the working directory, where it is below it."""
    absolute, here = path.resolve(), Path.cwd().resolve()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute


def _fail(place: str, error: Exception) -> None:
    _warn(
        f"{place.split()[0]} does not get this run any further: {_reason(error)}\n"
        "the run goes on; the same command, given again when it has ended, makes up for it"
    )


def _warn(message: str) -> None:
    log.warning(message.replace("\n", "; "))
    print(f"nc-run: {message}", file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    """The first line of an error, not too long."""
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line[:200]}".rstrip(": ")
