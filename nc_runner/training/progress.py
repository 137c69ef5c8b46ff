"""What a person sees of a run: one live line on a terminal, or one plain line for each analysed epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def choose_progress(kind: str, epochs: int) -> ProgressDisplay:
    """``auto`` is live on a terminal and plain elsewhere."""
    if kind == "auto":
        kind = "live" if sys.stdout.isatty() else "plain"
    return {"live": LiveProgress, "plain": PlainProgress, "none": ProgressDisplay}[kind](epochs)


def describe(row: Mapping[str, Any], epochs: int) -> str:
    """A row in one line of fewer than 100 characters."""
    share = row["mse_perp"] / row["mse_ls"] if row["mse_ls"] else float("nan")
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.3e}  "
        f"train {row['train_accuracy']:6.2%}  test {row['test_accuracy']:6.2%}  "
        f"NC1 {row['nc1']:.3e}  L_perp/L_LS {share:.1e}"
    )


class ProgressDisplay:
    """Shows nothing; the base of those that do."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, epochs_done: float) -> None:
        """Training has come this far; fractions of an epoch count."""

    def row(self, row: Mapping[str, Any]) -> None:
        """An epoch was measured."""


class PlainProgress(ProgressDisplay):
    def row(self, row: Mapping[str, Any]) -> None:
        # one write: the lines of runs side by side then stay whole, with unbuffered output too
        print(f"{describe(row, self.epochs)}\n", end="", flush=True)


class LiveProgress(ProgressDisplay):
    def __enter__(self) -> ProgressDisplay:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=Console(),
            refresh_per_second=4,
            expand=True,
        )
        self._task = self._bar.add_task(f"epoch 1/{self.epochs}", total=self.epochs, numbers="")
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, epochs_done: float) -> None:
        current = min(int(epochs_done) + 1, self.epochs)
        self._bar.update(self._task, completed=epochs_done, description=f"epoch {current}/{self.epochs}")

    def row(self, row: Mapping[str, Any]) -> None:
        numbers = (
            f"loss {row['train_loss']:.2e}  train {row['train_accuracy']:.1%}  "
            f"test {row['test_accuracy']:.1%}  NC1 {row['nc1']:.1e}"
        )
        self._bar.update(self._task, numbers=numbers)
