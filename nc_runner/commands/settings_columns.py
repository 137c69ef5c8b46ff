"""The settings in which runs differ, as columns of a table and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nc_runner.commands.grid import Column, printable
from nc_runner.runs.groups import Cell
from nc_runner.runs.reader import Record
from nc_runner.runs.varying import CELL, Varying, is_number

SEED = "seed"
_SAID_BESIDE = "epochs"  # the column epoch has it, as in 12/350
_FIRST = 2  # so many settings give way only after other columns


class SettingsColumns:
    """Columns of the settings that tell runs apart: loss, net and data where they differ, seed, then others.

    Args:
        varying: of all runs in the table.
        groups: the runs below each heading of the table; what all runs of a heading have in common is not
            told of loss, net and data: headings name these.
    """

    def __init__(self, varying: Varying, groups: Sequence[Sequence[Record]]) -> None:
        self._varying = varying
        records = [record for group in groups for record in group]
        cell = [key for key in CELL if key != SEED]
        self._cell = [key for key in cell if any(varying.differing(group, (key,)) for group in groups)]
        others = [key for key in varying.telling() if key != _SAID_BESIDE]
        self.keys = [*self._cell, SEED, *others] if records else []
        self._numbers = {key: all(_numeric(varying.value(one, key)) for one in records) for key in self.keys}

    def columns(self, beside: int) -> list[Column]:
        """The columns. Where space is short, most give way before ``beside`` others, the last one first."""
        count, kept = len(self.keys), len(self._cell) + 1 + _FIRST
        turns = [count - place + (beside if place < kept else 0) for place in range(count)]
        return [
            Column(
                printable(self._varying.heading(key)),
                right=self._numbers[key], leaves=turn, cut=True,
            )
            for key, turn in zip(self.keys, turns, strict=True)
        ]  # fmt: skip

    def cells(self, record: Record | None) -> list[str]:
        """The values of one run; a dash for each where they are not known."""
        if record is None:
            return ["-"] * len(self.keys)
        return [self._varying.text(record, key) for key in self.keys]


def settings_data(varying: Varying, record: Record | None) -> Mapping[str, Cell]:
    """The settings of a run as ``read_runs`` has them: loss, net, data, seed, and what varies by dotted key.

    Empty where they are not known.
    """
    if record is None:
        return {}
    cell = {short: varying.value(record, key) for key, short in CELL.items()}
    return cell | {key: varying.value(record, key) for key in varying.keys}


def _numeric(value: Cell) -> bool:
    return value is None or is_number(value)
