"""A run in plain words: what collapsed, how far, and what the paper says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nc_runner.columns import ROBUSTNESS_COLUMN
from nc_runner.figures.claims import PERP, Thresholds
from nc_runner.figures.perp import PerpShares
from nc_runner.figures.style import cell_name
from nc_runner.figures.summary import TERMINAL_ACCURACY, terminal_phase_start
from nc_runner.runs.reader import Run
from nc_runner.runs.rows import columns_of

if TYPE_CHECKING:
    from nc_runner.figures.advance import Columns

_COLLAPSES = (
    ("nc1", "NC1", "the features of a class gather at their mean: their spread beside that of the means"),
    ("nc2_maxangle_means", "NC2", "the class means take equal, largest angles: their distance from these"),
    ("nc3_self_duality", "NC3", "the classifier's rows line up with the class means: their distance"),
)


def in_words(run: Run, thresholds: Thresholds | None = None, name: str = "") -> list[str]:
    """The lines about one run; the first names it, and is alone where no epoch of training is measured."""
    columns = columns_of(run.rows)
    trained = columns["epoch"] >= 1
    told = f"{cell_name(run.cell)}, lr {run.lr:g}, seed {run.seed}" if run.lr else cell_name(run.cell)
    title = name or told
    if not trained.any():
        return [f"{title}: no epoch of training is measured yet"]
    columns = {name: values[trained] for name, values in columns.items()}
    return [f"{title}, in words:", *_lines(run, columns, thresholds or Thresholds())]


def _lines(run: Run, columns: Columns, thresholds: Thresholds) -> Iterator[str]:
    start = terminal_phase_start(columns)
    last = int(columns["epoch"][-1])
    if start is None:
        reached = 100 * columns["train_accuracy"].max()
        yield (
            f"the terminal phase, from {100 * TERMINAL_ACCURACY:.1f} % train accuracy on, is not reached: "
            f"{reached:.1f} % in {last} epoch{'s' * (last != 1)}. "
            "The paper's claims are about that phase; train longer"
        )
    else:
        yield (
            f"from epoch {start} of {last} on (almost) no train image is wrong: this is the terminal phase, "
            "which the paper is about"
        )
    for column, name, meaning in _COLLAPSES:
        if fall := _fall(columns, column):
            yield f"{name}: {meaning} {fall}"
    mismatch = columns["nc4_ncc_mismatch"][-1]
    if math.isfinite(mismatch):
        yield (
            "NC4: the network decides as the nearest class mean does: "
            f"otherwise for {100 * mismatch:.2g} % of the train images"
        )
    if run.trained_with_mse:
        yield from _off_the_path(columns, start, thresholds)
    if start is not None:
        yield from _benefits(columns, start)


def _off_the_path(columns: Columns, start: int | None, thresholds: Thresholds) -> Iterator[str]:
    shares = PerpShares.of(columns, start, thresholds.negligible)
    if not math.isfinite(shares.end):
        return
    line = "L_perp, the distance from the least-squares classifier, is "
    line += f"{_percent(shares.end)} of L_LS at the end"
    if math.isfinite(shares.worst):
        line += f", at most {_percent(shares.worst)} in that phase"
    yield f'{line} (the paper: "{PERP.words}"; here: below {_percent(thresholds.negligible)})'


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if 1 <= share < 100 else f"{100 * share:.3g} %"


def _fall(columns: Columns, column: str) -> str:
    """Such as "falls 82-fold, from 1.2 to 0.0146"; empty where there are no two numbers."""
    first, last = columns[column][0], columns[column][-1]
    positive = math.isfinite(first) and math.isfinite(last) and first > 0 and last > 0
    if len(columns[column]) < 2 or not positive:
        return ""
    if last >= first:
        return f"rises, from {first:.3g} to {last:.3g}: this is not what the paper says"
    times = first / last
    return f"falls {times:.{0 if times >= 10 else 1}f}-fold, from {first:.3g} to {last:.3g}"


def _benefits(columns: Columns, start: int) -> Iterator[str]:
    """What the paper calls the benefits of the terminal phase."""
    place = int(columns["epoch"].searchsorted(start))
    before, after = (100 * columns["test_accuracy"][at] for at in (place, -1))
    if math.isfinite(before + after):  # there is a test set
        yield f"test accuracy in that phase: {before:.1f} % at its start, {after:.1f} % at the end"
    if ROBUSTNESS_COLUMN in columns:
        low, high = (columns[ROBUSTNESS_COLUMN][at] for at in (place, -1))
        yield f"robustness in that phase: {low:.3g} at its start, {high:.3g} at the end"
