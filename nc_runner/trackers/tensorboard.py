"""TensorBoard: rows, settings, state and figures as events in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nc_runner.runs.tracked import TrackedRun
from nc_runner.trackers.base import near

PLACE = "tensorboard"


class TensorBoard:
    """Logs rows under their column names, the epoch as the step.

    Rows that a resumed run computes again replace those logged before: the new file of events begins with
    the step from on which older ones no longer count. A run that was begun without TensorBoard gets the
    rows it has. Events hold 32-bit numbers; ``metrics.csv`` has all digits.
    """

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here: few runs pay its second of imports

        rows = run.rows()
        begun = any(run.folder.glob("events.out.tfevents.*"))
        self.where = f"TensorBoard: tensorboard --logdir {near(run.folder)}"
        self._epoch = int(rows[-1]["epoch"]) if rows else 0
        following = self._epoch + 1 if rows else 0
        self._writer = SummaryWriter(str(run.folder), purge_step=following if begun else None)
        if not begun:
            for row in rows:
                self.add(row)
        if PLACE not in run.memory.told:
            self._writer.add_text("settings", run.table({"run": run.name, **run.settings, **run.facts}), 0)
        self._state("running")

    def add(self, row: Mapping[str, float]) -> None:
        """Log one row; it is in the file when this returns, so before any checkpoint that counts on it."""
        self._epoch = int(row["epoch"])
        for column, value in row.items():
            if column != "epoch":
                self._writer.add_scalar(column, value, self._epoch)
        self._writer.flush()

    def end(self, state: str, reason: str | None, figures: Sequence[Path]) -> None:
        import numpy as np
        from PIL import Image

        for path in figures:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            self._writer.add_image(f"figures/{path.stem}", pixels, self._epoch, dataformats="HWC")
        self._state(f"{state}: {reason}" if reason else state)
        self._writer.close()

    def _state(self, text: str) -> None:
        self._writer.add_text("state", text, self._epoch)
        self._writer.flush()
