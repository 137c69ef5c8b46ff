"""Settings by cell: an experiment's table of what each data set and network family is trained with.

``conf/cells/NAME.yaml`` holds the table, an experiment loads it, and ``${nc_cell:KEY}`` in a setting looks
KEY up for the chosen data set, network and loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nc_runner.errors import ConfigError


@dataclass(frozen=True)
class Cell:
    """One data set, network family and loss; ``depth`` and ``net`` are those of the chosen network."""

    data: str
    family: str
    loss: str
    depth: int | None
    net: str


def look_up(table: Mapping[str, Any], key: str, cell: Cell) -> Any:
    """The value of ``key`` for a cell: in the cell, there for the loss, or for the whole data set; else None.

    Raises ConfigError for the learning rate of another depth than the chosen network's.
    """
    value = _value(table, key, cell)
    if key == "lr" and value is not None:
        depth = _value(table, "depth", cell)
        if depth is not None and depth != cell.depth:
            raise ConfigError(
                f"this experiment's learning rate for {cell.data} is that of {cell.family}{depth}, not of "
                f"{cell.net}\ngive net={cell.family} for the table's depth, or lr=VALUE"
            )
    return value


def missing(table: Mapping[str, Any], key: str, cell: Cell) -> ConfigError:
    """The error for a key that the table does not have for a cell."""
    known = ", ".join(f"{data}: {'/'.join(_families(row))}" for data, row in table.items())
    return ConfigError(
        f"this experiment's table has no {key} for {cell.family} on {cell.data} with {cell.loss}"
        f"\ngive {_setting(key)}=VALUE, or one of its cells ({known})"
    )


def _value(table: Mapping[str, Any], key: str, cell: Cell) -> Any:
    row = table.get(cell.data) or {}
    value = (row.get(cell.family) or {}).get(key, row.get(key))
    return value.get(cell.loss) if isinstance(value, Mapping) else value


def _families(row: Mapping[str, Any]) -> list[str]:
    return [str(key) for key, value in row.items() if isinstance(value, Mapping)]


def _setting(key: str) -> str:
    return {"samples_per_class": "data.samples_per_class", "depth": "net.depth"}.get(key, key)
