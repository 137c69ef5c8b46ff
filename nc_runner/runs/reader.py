"""Reads run folders, whatever state their files are in: ``run.json`` typed, rows as tables. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.errors import RunFolderError
from nc_runner.runs.folders import look_through
from nc_runner.runs.record import LAYERS_FILE, METRICS_FILE, RUN_FILE, read_run_file
from nc_runner.runs.rows import read_layers, read_rows

if TYPE_CHECKING:
    import pandas as pd

_GROUPS = ("net", "data", "loss")
_HUGE, _MOST_EPOCHS = 1e300, 10**7  # larger numbers are damage


@dataclass(eq=False)
class Record:
    """What ``run.json`` says, as far as others use it; None where an entry is missing or not of its type.

    Names of settings and entries in older folders are read too.
    """

    content: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings by group and key; empty where there are none."""
        return _table(self.content.get("settings"))

    def group(self, name: str) -> dict[str, Any]:
        """The settings of one group, such as ``analysis``."""
        return _table(self.settings.get(name))

    @property
    def state(self) -> str:
        return str(self.content.get("state"))

    @property
    def cell(self) -> tuple[str, str, str]:
        """(network, data set, loss): the run's place in a figure.

        With the least-squares classifier the loss is called ``mse_path``: the run stays on the central path.
        """
        net, data, loss = (str(self.group(name).get("name")) for name in _GROUPS)
        return net, data, f"{loss}_path" if self.refits else loss

    @property
    def trained_with_mse(self) -> bool:
        return self.group("loss").get("name") == "mse"

    @property
    def refits(self) -> bool:
        """Whether the classifier is the least-squares one, fitted after every epoch."""
        return self.settings.get("classifier") == "least_squares"

    @property
    def variant(self) -> str:
        """Equal for runs that differ only in their seed."""
        older = self.content.get("deciding")
        identity = self.content.get("identity") or older or self.settings
        return json.dumps({k: v for k, v in identity.items() if k != "seed"}, sort_keys=True, default=str)

    @property
    def lr(self) -> float | None:
        value = self.settings.get("lr")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if abs(value) < _HUGE else None

    @property
    def seed(self) -> int | None:
        return _whole(self.settings.get("seed"))

    @property
    def epochs(self) -> int | None:
        """How many the run has when it is complete."""
        epochs = _whole(self.settings.get("epochs"))
        return epochs if epochs is not None and 0 < epochs < _MOST_EPOCHS else None

    @property
    def schedule(self) -> str | list[int]:
        """``analysis.schedule``: ``every``, ``paper`` or a list of epochs; ``every`` where it is damaged."""
        value = self.group("analysis").get("schedule")
        if isinstance(value, list) and all(type(epoch) is int for epoch in value):
            return value
        return "paper" if value == "paper" else "every"

    @property
    def ridge_rule(self) -> str:
        """``analysis.ridge``: ``objective``, ``notebook`` or a number."""
        return str(self.group("analysis").get("ridge", "unknown"))

    @property
    def custom_columns(self) -> list[str]:
        """The columns of custom metrics."""
        analysis = self.group("analysis")
        return list(_table(analysis.get("custom") or analysis.get("own")))  # own: its older name

    @property
    def started(self) -> datetime | None:
        return _time(self.content.get("started"))

    @property
    def ended(self) -> datetime | None:
        return _time(self.content.get("ended"))

    @property
    def reason(self) -> str | None:
        """Why the run failed or diverged."""
        return str(self.content["reason"]) if self.content.get("reason") else None

    @property
    def host(self) -> str | None:
        return str(self.content["host"]) if self.content.get("host") else None


@dataclass(eq=False)
class Run(Record):
    """One run folder as read from disk.

    ``rows`` is the table of ``metrics.csv``: float columns, and an integer ``epoch`` by which it is sorted.
    ``layers`` is the table of ``layers.csv`` by epoch and depth, None without that file. The warnings say
    what is wrong with the two files (a cut last line, a missing column).
    """

    folder: Path
    rows: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    layers: pd.DataFrame | None = None
    layer_warnings: list[str] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        return 1 + sum(column.startswith("snr_") for column in self.rows.columns)


def read_record(folder: Path) -> Record:
    """Read ``run.json``. Raises :class:`RunFolderError` where it is missing or not one of nc-runner's."""
    return Record(read_run_file(folder))


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """All run folders at or below ``paths``, sorted, each once. Raises :class:`RunFolderError`.

    Folders that ``overwrite=true`` replaced are left out, unless ``paths`` names them.
    """
    return sorted(look_through(map(Path, paths)).runs)


def read_run(folder: Path) -> Run:
    """Read one run folder. Raises :class:`RunFolderError` with the reason where it cannot be read."""
    return run_of(folder, read_record(folder))


def run_of(folder: Path, record: Record) -> Run:
    """The run of a folder whose record was read. Raises :class:`RunFolderError` as :func:`read_run` does."""
    if not all("name" in record.group(name) for name in _GROUPS):
        raise RunFolderError(f"{folder / RUN_FILE} is damaged: it does not hold the run's settings")
    rows, warnings = read_rows(folder / METRICS_FILE)
    layers, layer_warnings = read_layers(folder / LAYERS_FILE)
    return Run(record.content, folder, rows, warnings, layers, layer_warnings)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
