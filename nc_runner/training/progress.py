"""What a person sees of a run: one live line on a terminal, or one plain line for each analysed epoch.

Output that nobody reads any more, as after ``| head`` or when the terminal was closed, is dropped: it must
not end a run.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def choose_progress(kind: str, epochs: int, label: str = "", *, path: bool = True) -> ProgressDisplay:
    """The display of a run of so many ``epochs``.

    Args:
        kind: ``live``, ``plain``, ``none``, or ``auto``: live on a terminal, plain elsewhere.
        label: put in front of every line, such as ``[2/4]`` for a run of a sweep.
        path: whether lines show L_perp/L_LS, which says something of runs trained with MSE only.
    """
    if kind == "auto":
        kind = "live" if sys.stdout.isatty() else "plain"
    return {"live": LiveProgress, "plain": PlainProgress, "none": ProgressDisplay}[kind](epochs, label, path)


def describe(row: Mapping[str, float], epochs: int, *, path: bool = True) -> str:
    """A row in one line of fewer than 100 characters; ``path``: with L_perp/L_LS."""
    line = (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.3e}  "
        f"train {row['train_accuracy']:6.2%}"
    )
    if not math.isnan(row["test_accuracy"]):  # there is a test set
        line += f"  test {row['test_accuracy']:6.2%}"
    line += f"  NC1 {row['nc1']:.3e}"
    if not path:
        return line
    share = row["mse_perp"] / row["mse_ls"] if row["mse_ls"] else float("nan")
    return f"{line}  L_perp/L_LS {share:.1e}"


def show(line: str) -> None:
    """Print a line in one write: lines of runs side by side stay whole. Drop it where nobody reads."""
    try:
        print(f"{line}\n", end="", flush=True)
    except OSError:
        drop_output()


def drop_output() -> None:
    """From here on, what this process prints on stdout goes nowhere: its reader is gone."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class OutputConsole(Console):
    """Does not end the process where nobody reads its output, as rich's own does."""

    def on_broken_pipe(self) -> None:
        drop_output()


class ProgressDisplay:
    """Shows nothing; the base of those that do."""

    def __init__(self, epochs: int, label: str = "", path: bool = True) -> None:
        self.epochs = epochs
        self.label = f"{label} " if label else ""
        self.path = path

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, epochs_done: float) -> None:
        """Training has come this far; fractions of an epoch count."""

    def row(self, row: Mapping[str, float]) -> None:
        """An epoch was measured."""


class PlainProgress(ProgressDisplay):
    def row(self, row: Mapping[str, float]) -> None:
        show(f"{self.label}{describe(row, self.epochs, path=self.path)}")


class LiveProgress(ProgressDisplay):
    def __enter__(self) -> ProgressDisplay:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=OutputConsole(),
            refresh_per_second=4,
            expand=True,
        )
        self._task = self._bar.add_task(self._described(1), total=self.epochs, numbers="")
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._bar.stop()
        except OSError:
            drop_output()

    def _described(self, epoch: int) -> str:
        return f"{self.label}epoch {epoch}/{self.epochs}"

    def step(self, epochs_done: float) -> None:
        current = min(int(epochs_done) + 1, self.epochs)
        self._bar.update(self._task, completed=epochs_done, description=self._described(current))

    def row(self, row: Mapping[str, float]) -> None:
        numbers = (
            f"loss {row['train_loss']:.2e}  train {row['train_accuracy']:.1%}  "
            f"test {row['test_accuracy']:.1%}  NC1 {row['nc1']:.1e}"
        )
        self._bar.update(self._task, numbers=numbers)
