"""``summary.csv``: the numbers at the end of each run; and the order of runs in all tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nc_runner.columns import COLUMNS, TIME_COLUMNS, snr_columns
from nc_runner.figures.about import with_settings
from nc_runner.figures.advance import phi_advance_spread
from nc_runner.figures.style import cell_name, data_set_order, loss_order, network_order, printable
from nc_runner.runs.reader import Run
from nc_runner.runs.rows import columns_of
from nc_runner.runs.tables import write_atomically
from nc_runner.runs.varying import Varying, sort_key

if TYPE_CHECKING:
    from nc_runner.figures.advance import Columns
    from nc_runner.figures.scales import FloatArray

Value = str | int | float | None
Summary = dict[str, Value]

SUMMARY_FILE = "summary.csv"
TERMINAL_ACCURACY = 0.999  # the terminal phase of training starts at the first epoch with this train accuracy

_METRICS = tuple(column for column in COLUMNS if column not in ("epoch", "lr"))


def run_title(run: Run, *settings: str) -> str:
    """Such as "ResNet8 on Digits, MSE, lr 0.1, seed 0", with further ``settings`` before the seed.

    Without learning rate and seed where there are none, as of features that were measured.
    """
    lr = [] if run.lr is None else [f"lr {run.lr}"]
    seed = [] if run.seed is None else [f"seed {run.seed}"]
    return printable(", ".join((cell_name(run.cell), *lr, *settings, *seed)))


def terminal_phase_start(rows: Columns) -> int | None:
    """The first epoch, from 1 on, whose train accuracy is at least :data:`TERMINAL_ACCURACY`, or None.

    ``rows``: a table, or arrays by column.
    """
    epochs = np.asarray(rows["epoch"])
    reached = (np.asarray(rows["train_accuracy"]) >= TERMINAL_ACCURACY) & (epochs >= 1)
    return int(epochs[reached.argmax()]) if reached.any() else None


def by_cell(runs: Sequence[Run]) -> list[Run]:
    """``runs`` in the order of the figures: network, data set, loss, then what varies, and the seed."""
    varying = Varying(runs)
    keys = [name for name in varying.telling() if name != "lr"]

    def key(run: Run) -> tuple[object, ...]:
        net, data, loss = run.cell
        settings = [sort_key(varying.value(run, name)) for name in keys]
        lr, seed = (math.inf if number is None else number for number in (run.lr, run.seed))
        cell = (network_order(net), data_set_order(data), loss_order(loss))
        return *cell, lr, settings, seed, str(run.folder)

    return sorted(runs, key=key)


def summarise(run: Run) -> Summary:
    """One line of ``summary.csv``. Metrics are those of the last row; None where there is no number."""
    net, data, loss = run.cell
    columns = columns_of(run.rows)
    start = terminal_phase_start(columns)
    at_end = _row(columns, -1)
    at_start = {} if start is None else _row(columns, int(columns["epoch"].searchsorted(start)))
    last = {column: at_end.get(column) for column in _METRICS}
    perp, least_squares = last["mse_perp"], last["mse_ls"]
    return {
        "folder": str(run.folder),
        "net": net,
        "data": data,
        "loss": loss,
        "seed": run.seed,
        "lr": run.lr,
        "state": run.state,
        "epochs_done": int(at_end["epoch"] or 0) if at_end else 0,
        "epochs": run.epochs,
        **last,
        "terminal_phase_epoch": start,
        "terminal_phase_test_accuracy": at_start.get("test_accuracy"),
        "perp_over_ls": perp / least_squares if perp is not None and least_squares else None,
        # spread over j of Phi(omega_j)'s advance since the terminal phase began, or else the first epoch
        "phi_advance_cv": _finite(phi_advance_spread(columns, run.num_classes, start)),
        "phi_advance_cv_raw": _finite(phi_advance_spread(columns, run.num_classes, start, "raw")),
        **{column: at_end.get(column) for column in _further(run)},
    }


def displayed(run: Run) -> Summary:
    """The summary as people see it: L_perp / L_LS only where MSE was trained, where it can be judged."""
    line = summarise(run)
    return line if run.trained_with_mse else {**line, "perp_over_ls": None}


def _further(run: Run) -> list[str]:
    """The run's columns beyond those of every table: path distances, wider and custom metrics."""
    spectrum = snr_columns(run.num_classes)
    usual = {*COLUMNS, *TIME_COLUMNS, *spectrum}
    return [column for column in run.rows.columns if column not in usual]


def _row(columns: Mapping[str, FloatArray], place: int) -> dict[str, float | None]:
    """The finite numbers of one row; empty where there are no rows."""
    if not len(columns["epoch"]):
        return {}
    return {name: _finite(values[place]) for name, values in columns.items()}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def write_summary(runs: Sequence[Run], out: Path) -> None:
    """Write ``summary.csv`` into ``out``: a line for each run. Raises :class:`OSError` if it cannot."""
    write_lines(with_settings(Varying(runs), runs, [summarise(run) for run in runs]), out / SUMMARY_FILE)


def write_lines(lines: Sequence[Summary], path: Path) -> None:
    """Write a CSV file; a cell is empty where a line has no value."""
    import pandas as pd

    text = pd.DataFrame(lines, dtype=object).to_csv(index=False, lineterminator="\n")
    write_atomically(path, text.encode("utf-8", errors="backslashreplace"))
