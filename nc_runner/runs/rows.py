"""Reads ``metrics.csv`` and ``layers.csv`` as tables, whatever state they are in. Imports no torch.

A table that nc-run wrote is read by pandas' parser. Where anything in it is unusual (a damaged line, an empty
cell, two rows of one epoch) it is read line by line instead, which is slower and gives the same numbers.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nc_runner.columns import COLUMNS, LAYER_COLUMNS, TIME_COLUMNS
from nc_runner.errors import RunFolderError
from nc_runner.runs.record import CUT_SHORT, METRICS_FILE
from nc_runner.runs.tables import parse_numbers, read_whole, whole_lines

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    FloatArray: TypeAlias = npt.NDArray[np.float64]

_OF_NUMBERS = b"0123456789.+-einaf"  # the bytes of numbers as Python writes them, "nan" and "inf" included
_LARGEST_EPOCH = 2.0**53


def read_rows(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """``metrics.csv`` as a table, and what was wrong with it.

    A last line without its newline was cut and is dropped; lines that are not a row are dropped; of two
    rows for one epoch the later one is used. Raises :class:`RunFolderError` where no row can be read.
    """
    try:
        content = read_whole(path)
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} has no {METRICS_FILE} yet") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
    whole, _, cut = content.rpartition(b"\n")
    first = whole.partition(b"\n")[0]
    header = first.decode("utf-8", errors="replace").split(",")
    if "epoch" not in header or len(set(header)) != len(header):
        raise RunFolderError(f"{path} does not start with the header of an nc-run table")
    body = whole[len(first) :]  # each line of it comes after a newline
    rows, dropped = rows_at_once(header, body), 0
    if rows is None:
        rows, dropped = rows_by_line(header, body)
    rows["epoch"] = rows["epoch"].astype("int64")
    absent = [column for column in (*COLUMNS, *TIME_COLUMNS) if column not in header]
    for column in absent:
        rows[column] = float("nan")
    warnings = [CUT_SHORT] * bool(cut) + _unreadable(dropped)
    if absent:
        warnings.append(f"it lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return rows, warnings


def rows_at_once(header: list[str], body: bytes) -> pd.DataFrame | None:
    """The rows of ``body`` where each is whole and their epochs rise; None where it is not so.

    ``body``: the lines below the header, with a newline before each. The numbers are those that ``float``
    makes of the cells, to the last bit.
    """
    import numpy as np
    import pandas as pd

    separators = body.translate(None, _OF_NUMBERS)
    lines = len(separators) // len(header)
    if not lines or separators != (b"\n" + b"," * (len(header) - 1)) * lines:
        return None
    try:
        cells = pd.read_csv(
            io.BytesIO(body[1:].replace(b",", b"\n")),  # one column: many have their price
            header=None,
            names=["cell"],
            index_col=False,
            dtype=np.float64,
            keep_default_na=False,
            na_values=["nan"],  # an empty cell is an error here
            skip_blank_lines=False,
            low_memory=False,
            **_exact(),
        )
    except ValueError:  # pandas' own errors are ValueErrors too
        return None
    if len(cells) != lines * len(header):
        return None
    table = np.asfortranarray(cells["cell"].to_numpy().reshape(lines, len(header)))
    epochs = table[:, header.index("epoch")]
    in_order = (epochs == np.floor(epochs)).all() and (np.diff(epochs) > 0).all()
    if not in_order or epochs[0] < 0 or epochs[-1] > _LARGEST_EPOCH:
        return None
    rows: pd.DataFrame = pd.DataFrame(table, columns=header, copy=False)
    return rows


def rows_by_line(header: list[str], body: bytes) -> tuple[pd.DataFrame, int]:
    """The lines of ``body`` that are rows, by epoch, and how many are not."""
    import pandas as pd

    kept: dict[int, list[float]] = {}
    dropped = 0
    for line in body.decode("utf-8", errors="replace").split("\n")[1:]:
        values = parse_numbers(line.split(","), len(header))
        epoch = values[header.index("epoch")] if values else -1.0
        if values is None or not epoch >= 0 or epoch != int(min(epoch, _LARGEST_EPOCH)):
            dropped += 1
            continue
        kept[int(epoch)] = values
    return pd.DataFrame([kept[epoch] for epoch in sorted(kept)], columns=header, dtype=float), dropped


def _exact() -> dict[str, Any]:
    """The option with which pandas reads floats to the last bit; from 3.1 on it always does."""
    import pandas as pd

    major, minor = (int(part) for part in pd.__version__.split(".")[:2])
    return {} if (major, minor) >= (3, 1) else {"float_precision": "round_trip"}


def columns_of(rows: pd.DataFrame) -> dict[str, FloatArray]:
    """Each column as an array (T,) of float64: much faster than to ask the table for one after the other."""
    return dict(zip(rows.columns.tolist(), rows.to_numpy("float64").T, strict=True))


def read_layers(path: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """``layers.csv`` as a table sorted by epoch and depth, and what was wrong with it; None without a file.

    Lines that were cut or cannot be read are left out; of two for one layer and epoch the later
    one is used.
    """
    import pandas as pd

    try:
        lines, cut = whole_lines(read_whole(path))
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


def _layer_row(line: str) -> dict[str, str | int | float] | None:
    try:
        cells = dict(zip(LAYER_COLUMNS, next(csv.reader([line])), strict=True))
        whole = {column: int(cells[column]) for column in ("epoch", "depth", "features")}
        measures = {column: float(cells[column]) for column in LAYER_COLUMNS[4:]}
    except (ValueError, StopIteration, csv.Error):
        return None
    good = whole["epoch"] >= 0 and min(whole["depth"], whole["features"]) > 0 and max(whole.values()) < 2**53
    return {**cells, **whole, **measures} if good else None


def _unreadable(dropped: int) -> list[str]:
    verb = "are" if dropped > 1 else "is"
    return [f"{dropped} of its lines could not be read and {verb} left out"] if dropped else []
