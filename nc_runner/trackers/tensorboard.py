"""TensorBoard: the numbers of each row as events in the run folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from nc_runner.runs.record import last_rows


class TensorBoard:
    """Logs rows under their column names, the epoch as the step. Used by the one process that writes the run.

    Rows that a resumed run computes again replace those logged before: the new file of events begins with
    the step from on which older ones no longer count. A run that was begun without TensorBoard gets the
    rows it has. Events hold 32-bit numbers; ``metrics.csv`` has all digits.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here: few runs pay its second of imports

        rows = last_rows(folder, sys.maxsize)
        begun = any(folder.glob("events.out.tfevents.*"))
        following = int(rows[-1]["epoch"]) + 1 if rows else 0
        self._writer = SummaryWriter(str(folder), purge_step=following if begun else None)
        if not begun:
            for row in rows:
                self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Log one row; it is in the file when this returns, so before any checkpoint that counts on it."""
        for column, value in row.items():
            if column != "epoch":
                self._writer.add_scalar(column, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
