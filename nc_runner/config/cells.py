"""Settings by cell: an experiment's table of what each data set and network family is trained with.

``conf/cells/NAME.yaml`` holds the table, an experiment loads it, and ``${nc_cell:KEY}`` in a setting looks
KEY up for the chosen data set, network and loss. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nc_runner.errors import ConfigError


def register() -> None:
    """Make ``${nc_cell:KEY}`` and ``${nc_cell:KEY,DEFAULT}`` known to OmegaConf."""
    OmegaConf.register_new_resolver("nc_cell", _look_up, replace=True)


def _look_up(key: str, *default: Any, _root_: DictConfig) -> Any:
    """The value of ``key`` for this configuration's cell; the default where no table is loaded.

    Raises :class:`ConfigError` where a table is loaded but does not say, or says it for another depth.
    """
    table = _root_.get("cells")
    if table is None and default:
        return default[0]
    data, loss = str(_root_.data.name), str(_root_.loss.name)
    family = str(_root_.net._target_).rpartition(".")[2]
    value = cell_value(table or {}, key, data, family, loss)
    if value is None and default:
        return default[0]
    if value is None:
        known = ", ".join(f"{data}: {'/'.join(_families(row))}" for data, row in (table or {}).items())
        raise ConfigError(
            f"this experiment's table has no {key} for {family} on {data} with {loss}"
            f"\ngive {_setting(key)}=VALUE, or one of its cells ({known})"
        )
    if key == "lr":
        depth = cell_value(table, "depth", data, family, loss)
        if depth is not None and depth != _root_.net.get("depth"):
            raise ConfigError(
                f"this experiment's learning rate for {data} is that of {family}{depth}, not of "
                f"{_root_.net.name}\ngive net={family} for the table's depth, or lr=VALUE"
            )
    return value


def cell_value(table: Mapping[str, Any], key: str, data: str, family: str, loss: str) -> Any:
    """What a table says of ``key``: in the cell, there for the loss, or for the whole data set; else None."""
    row = table.get(data) or {}
    cell = row.get(family) or {}
    value = cell.get(key, row.get(key))
    return value.get(loss) if isinstance(value, (Mapping, DictConfig)) else value


def _families(row: Any) -> list[str]:
    return [str(key) for key, value in row.items() if isinstance(value, (Mapping, DictConfig))]


def _setting(key: str) -> str:
    return {"samples_per_class": "data.samples_per_class", "depth": "net.depth"}.get(key, key)
