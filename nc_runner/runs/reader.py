"""Reading run folders: runs as tables, whatever state their files are in. Imports no torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.columns import COLUMNS, LAYER_COLUMNS, TIME_COLUMNS
from nc_runner.errors import RunFolderError
from nc_runner.runs.record import CUT_SHORT, LAYERS_FILE, METRICS_FILE, REPLACED, RUN_FILE, read_run_file
from nc_runner.runs.tables import parse_numbers, whole_lines

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Run:
    """One run folder as read from disk.

    ``rows`` is the table of ``metrics.csv``: float columns but for an integer ``epoch``, sorted by it.
    ``warnings`` says in words what was not as it should be (a cut last line, a missing column).
    """

    folder: Path
    state: str
    settings: dict[str, Any]
    record: dict[str, Any]
    rows: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    layers: pd.DataFrame | None = (
        None  # the table of layers.csv, by epoch and depth; None where there is none
    )
    layer_warnings: list[str] = field(default_factory=list)

    @property
    def cell(self) -> tuple[str, str, str]:
        """(network, data set, loss): the run's place in a figure.

        A run on the central path is no run of its loss by gradient: its loss is called ``mse_path``.
        """
        net, data, loss = (str(self.settings[group]["name"]) for group in ("net", "data", "loss"))
        return net, data, f"{loss}_path" if self.settings.get("classifier") == "least_squares" else loss

    @property
    def variant(self) -> str:
        """Equal for runs that differ in their seed alone."""
        deciding = self.record.get("deciding") or self.settings
        return json.dumps({k: v for k, v in deciding.items() if k != "seed"}, sort_keys=True, default=str)

    @property
    def num_classes(self) -> int:
        return 1 + sum(column.startswith("snr_") for column in self.rows.columns)


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """All run folders at or below ``paths``, sorted, each once.

    Those that overwrite=true replaced are left out, unless named themselves.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if not path.is_dir():
            raise RunFolderError(f"{path} is not a folder")
        if (path / RUN_FILE).exists():
            found.add(path.resolve())
            continue
        for record in path.rglob(RUN_FILE):
            if not any(REPLACED in part for part in record.parent.relative_to(path).parts):
                found.add(record.parent.resolve())
    return sorted(found)


def read_run(folder: Path) -> Run:
    """Read one run folder. Raises :class:`RunFolderError` with the reason where it cannot be read."""
    record = read_run_file(folder)
    settings = record.get("settings")
    groups = ("net", "data", "loss")
    if not isinstance(settings, dict) or not all(
        isinstance(settings.get(group), dict) and "name" in settings[group] for group in groups
    ):
        raise RunFolderError(f"{folder / RUN_FILE} is damaged: it does not hold the run's settings")
    rows, warnings = read_rows(folder / METRICS_FILE)
    layers, layer_warnings = read_layers(folder / LAYERS_FILE)
    return Run(folder, record["state"], settings, record, rows, warnings, layers, layer_warnings)


def read_rows(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """``metrics.csv`` as a table, and what was wrong with it.

    A last line without its newline was cut and is dropped; lines that are not a row are dropped; of two
    rows for one epoch the later one holds. Raises :class:`RunFolderError` where no row can be read.
    """
    import pandas as pd

    warnings: list[str] = []
    try:
        lines, cut = whole_lines(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} has no {METRICS_FILE} yet") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
    if cut:
        warnings.append(CUT_SHORT)
    header = lines[0].split(",") if lines else []
    if "epoch" not in header or len(set(header)) != len(header):
        raise RunFolderError(f"{path} does not start with the header of an nc-run table")
    kept: dict[int, list[float]] = {}
    dropped = 0
    for line in lines[1:]:
        values = parse_numbers(line.split(","), len(header))
        epoch = values[header.index("epoch")] if values else -1.0
        if values is None or not epoch >= 1 or epoch != int(min(epoch, 2.0**53)):
            dropped += 1
            continue
        kept[int(epoch)] = values
    warnings += _unreadable(dropped)
    rows = pd.DataFrame([kept[epoch] for epoch in sorted(kept)], columns=header, dtype=float)
    rows["epoch"] = rows["epoch"].astype("int64")
    absent = [column for column in (*COLUMNS, *TIME_COLUMNS) if column not in header]
    for column in absent:
        rows[column] = float("nan")
    if absent:
        warnings.append(f"it lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return rows, warnings


def read_layers(path: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """``layers.csv`` as a table sorted by epoch and depth, and what was wrong with it; None without a file.

    Lines that were cut or cannot be read are left out; of two for one layer and epoch the later one holds.
    """
    import pandas as pd

    try:
        lines, cut = whole_lines(path.read_bytes())
    except FileNotFoundError:
        return None, []
    except OSError as error:
        return None, [f"it cannot be read: {error.strerror or error}"]
    if not lines or tuple(lines[0].split(",")) != LAYER_COLUMNS:
        return None, ["it does not start with the header of a table of layers"]
    rows = [_layer_row(line) for line in lines[1:]]
    kept = {(row["epoch"], row["layer"]): row for row in rows if row}
    table = pd.DataFrame(list(kept.values()), columns=list(LAYER_COLUMNS))
    table = table.sort_values(["epoch", "depth"], ignore_index=True)
    return table, [CUT_SHORT] * cut + _unreadable(rows.count(None))


def _layer_row(line: str) -> dict[str, Any] | None:
    try:
        cells = dict(zip(LAYER_COLUMNS, next(csv.reader([line])), strict=True))
        whole = {column: int(cells[column]) for column in ("epoch", "depth", "features")}
        measures = {column: float(cells[column]) for column in LAYER_COLUMNS[4:]}
    except (ValueError, StopIteration, csv.Error):
        return None
    return {**cells, **whole, **measures} if 0 < min(whole.values()) <= max(whole.values()) < 2**53 else None


def _unreadable(dropped: int) -> list[str]:
    verb = "are" if dropped > 1 else "is"
    return [f"{dropped} of its lines could not be read and {verb} left out"] if dropped else []
