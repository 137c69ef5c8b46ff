"""What ``nc-measure`` writes: a table, JSON or CSV on stdout, and a run folder."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nc_runner.columns import ASKED_COLUMNS, WIDER_COLUMNS, is_custom_name
from nc_runner.commands.ending import complain
from nc_runner.commands.measure_series import Measured, Series
from nc_runner.commands.measure_sources import number_or_name
from nc_runner.errors import ConfigError
from nc_runner.runs.measured import MeasuredFolder

SHOWN = ("nc1", "nc2_equiangular_means", "nc3_self_duality", "nc4_ncc_mismatch", "perp_share",
         "train_accuracy", "test_accuracy")  # fmt: skip  # of a series, in a table


def print_all(series: Series, *, as_json: bool, as_csv: bool) -> None:
    """The rows on stdout; cautions go to stderr unless they are in the table."""
    done, single = series.done, len(series.tasks) == 1
    if as_json:
        _print_json(done, single=single)
    elif as_csv:
        _print_csv(done)
    elif single:
        print(done[0].measurement)
        return
    else:
        _print_series(done)
    for caution in _cautions(done, single=single):
        complain("nc-measure", caution)


def _cautions(done: Sequence[Measured], *, single: bool) -> list[str]:
    """Each once, with how many of the sources it concerns.

    Those that differ in their numbers alone are one: of a series, the first source's numbers are shown.
    """
    if single:
        return [f"{done[0].task.label}: {caution}" for caution in done[0].measurement.cautions]
    found: dict[str, list[tuple[str, str]]] = {}  # (label, caution) of each source, by the words
    for one in done:
        for caution in one.measurement.cautions:
            found.setdefault(re.sub(r"[\d.,%]+", "", caution), []).append((one.task.label, caution))
    lines = []
    for concerned in found.values():
        label, first = concerned[0]
        same = all(caution == first for _, caution in concerned)
        numbers = "" if same else f"; the numbers are those of {label}"
        lines.append(f"{first} ({len(concerned)} of {len(done)} sources{numbers})")
    return lines


def _print_json(done: Sequence[Measured], *, single: bool) -> None:
    entries = []
    for one in done:
        row: dict[str, object] = {name: _finite(value) for name, value in one.row.items()}
        if one.measurement.layers:
            row["layers"] = [{k: _finite(v) for k, v in layer.items()} for layer in one.measurement.layers]
        entries.append(row)
    labelled = [{"source": one.task.label, **row} for one, row in zip(done, entries, strict=True)]
    print(json.dumps(entries[0] if single else labelled, indent=2))


def _finite(value: object) -> object:
    """JSON knows neither NaN nor infinity: they are null and a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _print_csv(done: Sequence[Measured]) -> None:
    columns = list(dict.fromkeys(name for one in done for name in one.measurement.row))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["source", *columns])
    for one in done:
        row = one.row
        writer.writerow([one.task.label, *(row.get(name, "") for name in columns)])


def _print_series(done: Sequence[Measured]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    names = [name for name in SHOWN if any(not math.isnan(one.measurement.row[name]) for one in done)]
    table.add_column("source", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for one in done:
        row = one.measurement.row
        table.add_row(Text(one.task.label), *(f"{row[name]:.4g}" for name in names))
    console = Console(no_color=True, highlight=False, width=None if sys.stdout.isatty() else 200)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    print("all columns: --csv, --json")


def write_folder(folder: Path, series: Series, ridge: str | None, *, overwrite: bool) -> None:
    """Write the rows as a run folder; ``ridge``: None for the run's own. Raises RunFolderError."""
    done = series.done
    first = done[0]
    if len({tuple(one.measurement.row) for one in done}) > 1:
        raise ConfigError("--out: the sources have different classes or columns\nmeasure them apart")
    row = first.measurement.row
    custom = [name for name in row if is_custom_name(name)]
    further = [name for name in row if name in (*WIDER_COLUMNS, *ASKED_COLUMNS)] + custom
    of_run = first.task.source.settings.get("analysis", {}).get("ridge")
    ridge_of_rows = number_or_name(ridge or of_run or "objective")
    source = replace(first.task.source, epochs=series.tasks[-1][0])
    with MeasuredFolder(
        folder, source, further, custom=custom, ridge=ridge_of_rows, overwrite=overwrite
    ) as written:
        for one in done:
            written.add(one.epoch, one.measurement.row, one.measurement.layers)
        written.close(series.state, series.reason)
