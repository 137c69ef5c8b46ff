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
    the step from on which older ones no longer count. Rows of a time without TensorBoard are made up for.
    Events hold 32-bit numbers; ``metrics.csv`` has all digits.
    """

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here: few runs pay its second of imports

        rows = run.rows()
        last = _last_step(run.folder)
        self.where = f"TensorBoard: tensorboard --logdir {near(run.folder)}"
        lacking = [row for row in rows if last is None or row["epoch"] > last]
        self._epoch = int(rows[-1]["epoch"]) if rows else 0
        following = self._epoch + 1 if rows else 0
        first = int(lacking[0]["epoch"]) if lacking else following
        self._writer = SummaryWriter(str(run.folder), purge_step=None if last is None else first)
        for row in lacking:
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


def _last_step(folder: Path) -> int | None:
    """The last step that the events in a run folder have; -1 where they have no row, None without events."""
    if not any(folder.glob("events.out.tfevents.*")):
        return None
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    return max((int(events.Scalars(tag)[-1].step) for tag in events.Tags()["scalars"]), default=-1)
