"""The numbers at the end of each run: ``summary.csv``, complete, and a short table for the terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from nc_runner.columns import COLUMNS, TIME_COLUMNS, snr_columns
from nc_runner.figures.advance import phi_advance_spread
from nc_runner.figures.seeds import SeedGroup
from nc_runner.figures.style import (
    data_set_name,
    data_set_order,
    loss_name,
    loss_order,
    network_name,
    network_order,
)
from nc_runner.runs.reader import Run
from nc_runner.runs.tables import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

SUMMARY_FILE = "summary.csv"
TERMINAL_ACCURACY = 0.999  # the terminal phase of training starts at the first epoch with this train accuracy

_METRICS = tuple(column for column in COLUMNS if column not in ("epoch", "lr"))


def terminal_phase_start(rows: pd.DataFrame) -> int | None:
    """The first epoch whose train accuracy is at least :data:`TERMINAL_ACCURACY`, or None."""
    reached = rows.loc[rows["train_accuracy"] >= TERMINAL_ACCURACY, "epoch"]
    return int(reached.iloc[0]) if len(reached) else None


def by_cell(runs: Sequence[Run]) -> list[Run]:
    """``runs`` in the order of the figures: network, data set, loss, then learning rate and seed."""

    def key(run: Run) -> tuple[Any, ...]:
        net, data, loss = run.cell
        return (
            network_order(net),
            data_set_order(data),
            loss_order(loss),
            _number(run.settings.get("lr")),
            _number(run.settings.get("seed")),
            str(run.folder),
        )

    return sorted(runs, key=key)


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) and value == value else math.inf


def summarise(run: Run) -> dict[str, Any]:
    """One line of ``summary.csv``. Metrics are those of the last row; None where there is no number."""
    net, data, loss = run.cell
    rows = run.rows
    start = terminal_phase_start(rows)
    last = {column: _finite(rows[column].iloc[-1]) if len(rows) else None for column in _METRICS}
    at_start = rows.loc[rows["epoch"] == start, "test_accuracy"] if start is not None else ()
    perp, least_squares = last["mse_perp"], last["mse_ls"]
    return {
        "folder": str(run.folder),
        "net": net,
        "data": data,
        "loss": loss,
        "seed": run.settings.get("seed"),
        "lr": run.settings.get("lr"),
        "state": run.state,
        "epochs_done": int(rows["epoch"].iloc[-1]) if len(rows) else 0,
        "epochs": run.settings.get("epochs"),
        **last,
        "terminal_phase_epoch": start,
        "terminal_phase_test_accuracy": _finite(at_start.iloc[0]) if len(at_start) else None,  # type: ignore[union-attr]
        "perp_over_ls": perp / least_squares if perp is not None and least_squares else None,
        # spread over j of Phi(omega_j)'s advance since the terminal phase began, or else since the first row
        "phi_advance_cv": _finite(phi_advance_spread(rows, run.num_classes, start)),
        "phi_advance_cv_raw": _finite(phi_advance_spread(rows, run.num_classes, start, "raw")),
        **{column: _finite(rows[column].iloc[-1]) if len(rows) else None for column in _further(run)},
    }


def _further(run: Run) -> list[str]:
    """The run's columns beyond those that every table has: path distances, and the wider set."""
    spectrum = snr_columns(run.num_classes)
    usual = {*COLUMNS, *TIME_COLUMNS, *spectrum}
    return [column for column in run.rows.columns if column not in usual]


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def write_summary(runs: Sequence[Run], out: Path) -> Path:
    """Write ``summary.csv`` into ``out``: a line for each run. Raises :class:`OSError` if it cannot."""
    lines = [summarise(run) for run in runs]
    text = io.StringIO()
    columns = list(dict.fromkeys(column for line in lines for column in line))
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path = out / SUMMARY_FILE
    write_atomically(path, text.getvalue().encode("utf-8", errors="backslashreplace"))
    return path


# Heading, width, and the summary's column with its factor and format. Fits 80 columns.
_SHOWN = (
    ("loss", 8, "loss", 1.0, ""),
    ("lr", 7, "lr", 1.0, ".4g"),
    ("seed", 4, "seed", 1.0, ""),
    ("state", 11, "state", 1.0, ""),
    ("epoch", 5, "epochs_done", 1.0, ""),
    ("test%", 5, "test_accuracy", 100.0, ".2f"),
    ("NC1", 7, "nc1", 1.0, ".2g"),
    ("NC2", 7, "nc2_maxangle_means", 1.0, ".2g"),
    ("NC3", 7, "nc3_self_duality", 1.0, ".2g"),
    ("perp/LS", 7, "perp_over_ls", 1.0, ".2g"),
    ("TPT", 4, "terminal_phase_epoch", 1.0, ""),
)


def spread(run: Run) -> list[dict[str, Any]]:
    """The lines of a run for people: its own; of a group of seeds the median, the least and the greatest."""
    if not isinstance(run, SeedGroup):
        return [summarise(run)]
    lines = [summarise(member) for member in run.members]
    result = []
    for name, over in (("median", median), ("lowest", min), ("highest", max)):
        line = {**lines[0], "state": name, "seed": f"{len(lines)}×" if over is median else ""}
        for column in set(lines[0]) - {"seed", "lr", "epochs", "epochs_done"}:
            values: list[Any] = [entry.get(column) for entry in lines]
            if all(isinstance(value, (int, float)) for value in values):
                number = over(values)
                line[column] = int(number) if column == "terminal_phase_epoch" else number
            elif isinstance(lines[0][column], (int, float)):
                line[column] = None  # not every seed has a number
        result.append(line)
    return result


_NAMING = ("loss", "lr", "seed", "epochs_done")  # said in the first line of a group alone


def print_table(runs: Sequence[Run], console: Console) -> None:
    """The essential numbers of each run, under a heading for each network and data set.

    Of a group of seeds three lines: the median of each number, the least and the greatest.
    """
    from rich.text import Text

    header = _table()
    header.show_header = True
    console.print(header)
    for (net, data), members in groupby(runs, key=lambda run: run.cell[:2]):
        console.print(Text(f"{network_name(net)} on {data_set_name(data)}", style="bold"))
        table = _table()
        for run in members:
            for i, line in enumerate(spread(run)):
                names = {"loss": loss_name(run.cell[2])} if i == 0 else dict.fromkeys(_NAMING, "")
                cells = (
                    _shown((line | names)[column], factor, form) for _, _, column, factor, form in _SHOWN
                )
                table.add_row(*map(Text, cells), style="" if i == 0 else "dim")
        console.print(table)
    console.print(
        "test%: accuracy at the end. NC2: mean |cos + 1/(C-1)| of the class means.\n"
        f"TPT: first epoch with {100 * TERMINAL_ACCURACY:g} % train accuracy. All metrics: {SUMMARY_FILE}",
        style="dim",
        highlight=False,
    )


def _table() -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    for heading, width, column, _, _ in _SHOWN:
        justify: Any = "left" if column in ("loss", "state") else "right"
        table.add_column(heading, width=width, justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def _shown(value: Any, factor: float, form: str) -> str:
    if value is None:
        return "-"
    if form and isinstance(value, (int, float)):
        return format(factor * value, form)
    return str(value)
