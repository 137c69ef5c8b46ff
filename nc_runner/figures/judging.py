"""Judges the paper's claims on measured runs, each by one number.

A claim is judged by comparing two measured rows, without smoothing and without a tolerance, except for
"negligible" (:data:`NEGLIGIBLE`) and "comparable" (:data:`COMPARABLE`). A run that did not finish, or that
did not reach the terminal phase, is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from nc_runner.figures import claims
from nc_runner.figures.claims import COMPARABLE, FAILS, HOLDS, INCONCLUSIVE, NEGLIGIBLE, Judgement, Overall
from nc_runner.figures.style import loss_name
from nc_runner.figures.summary import by_cell, terminal_phase_start
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

Values = Sequence[float]
Finding = tuple[str, float | None, str]  # verdict, number and reason of a judgement


def judge(runs: Sequence[Run]) -> list[Judgement]:
    """Every claim for every run, in the order of the figures; then MSE and CE for each cell."""
    ordered = by_cell(runs)
    return [judgement for run in ordered for judgement in judge_run(run)] + list(_compare_losses(ordered))


def judge_run(run: Run) -> Iterator[Judgement]:
    """The claims about one run alone. The paper claims that L_perp is negligible for MSE only."""
    rows = run.rows
    start = terminal_phase_start(rows)
    phase = rows.loc[rows["epoch"] >= (math.inf if start is None else start)]
    unfinished = _unfinished(run)
    no_phase = unfinished or _no_phase(run, start)
    single = "only one epoch was measured" if len(rows) == 1 else None
    for column, (training, in_phase) in claims.FALLS.items():
        yield Judgement(training, *_find(_fall, rows[column], unfinished or single), run.cell, run)
        yield Judgement(in_phase, *_find(_fall, phase[column], no_phase), run.cell, run)
    if run.cell[2] == "mse":
        shares = phase["mse_perp"] / phase["mse_ls"]
        yield Judgement(claims.PERP, *_find(_negligible, shares, no_phase), run.cell, run)
    gain = _find(_gain, phase["test_accuracy"], no_phase)
    yield Judgement(claims.TEST_ACCURACY, *gain, run.cell, run)


def overall(judgements: Iterable[Judgement]) -> list[Overall]:
    """Each claim that was judged, over all its runs, in the order of :data:`claims.CLAIMS`."""
    judgements = list(judgements)
    result = []
    for claim in claims.CLAIMS:
        mine = [judgement for judgement in judgements if judgement.claim is claim]
        if not mine:
            continue
        holds, fails, inconclusive = (sum(j.verdict == verdict for j in mine) for verdict in claims.VERDICTS)
        numbers = [judgement.number for judgement in mine if judgement.number is not None]
        verdict = FAILS if fails else HOLDS if holds else INCONCLUSIVE
        result.append(
            Overall(claim, verdict, holds, fails, inconclusive, median(numbers) if numbers else None)
        )
    return result


def _find(decide: Callable[[Values], Finding], column: pd.Series[float], inconclusive: str | None) -> Finding:
    """What ``decide`` finds in ``column``, unless there is a reason why the run is inconclusive."""
    return _none(inconclusive) if inconclusive is not None else decide(column.tolist())


def _none(reason: str) -> Finding:
    return INCONCLUSIVE, None, reason


def _verdict(holds: bool) -> str:
    return HOLDS if holds else FAILS


def _fall(values: Values) -> Finding:
    first, last = values[0], values[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return _none("not a finite number")
    reason = f"{first:.3g} → {last:.3g}"
    if first == 0:
        return _none("it is 0 from the start") if last == 0 else (FAILS, math.inf, reason)
    return _verdict(last < first), last / first, reason


def _negligible(shares: Values) -> Finding:
    if not all(map(math.isfinite, shares)):
        return _none("not a finite number")
    worst = max(shares)
    return _verdict(worst < NEGLIGIBLE), worst, f"at most {worst:.3g}, at the end {shares[-1]:.3g}"


def _gain(accuracies: Values) -> Finding:
    first, last = accuracies[0], accuracies[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return _none("not a finite number")
    reason = f"{100 * first:.2f} % → {100 * last:.2f} %"
    return _verdict(last > first), 100 * (last - first), reason


def _unfinished(run: Run) -> str | None:
    if not len(run.rows):
        return "no epoch was measured"
    if run.state == COMPLETE:
        return None
    return f"the run is {run.state}, at epoch {run.rows['epoch'].iloc[-1]} of {run.epochs}"


def _no_phase(run: Run, start: int | None) -> str | None:
    if start is None:
        best = run.rows["train_accuracy"].max()
        return f"the terminal phase was not reached (train accuracy at most {100 * best:.2f} %)"
    if run.rows["epoch"].iloc[-1] == start:
        return "the terminal phase began with the last measured epoch"
    return None


def _compare_losses(ordered: Sequence[Run]) -> Iterator[Judgement]:
    """Medians over seeds at the end, for each network and data set with both losses."""
    for (net, data), group in groupby(ordered, key=lambda run: run.cell[:2]):
        members = list(group)
        mse, ce = ([run for run in members if run.cell[2] == loss] for loss in ("mse", "ce"))
        if mse and ce:
            yield Judgement(claims.MSE_AND_CE, *_comparison(mse, ce), (net, data, "mse"))


def _comparison(mse: Sequence[Run], ce: Sequence[Run]) -> Finding:
    reason = _incomparable(mse) or _incomparable(ce)
    if reason is not None:
        return _none(reason)
    a, b = (median(float(run.rows["test_accuracy"].iloc[-1]) for run in side) for side in (mse, ce))
    points = 100 * (a - b)
    return _verdict(points >= -COMPARABLE), points, f"MSE {100 * a:.2f} %, CE {100 * b:.2f} %"


def _incomparable(runs: Sequence[Run]) -> str | None:
    loss = loss_name(runs[0].cell[2])
    for run in runs:
        unfinished = _unfinished(run)
        if unfinished is not None:
            return f"{loss}: {unfinished}"
        if not math.isfinite(run.rows["test_accuracy"].iloc[-1]):
            return f"{loss}: no test accuracy at the end"
    if len({run.variant for run in runs}) > 1:
        return f"{loss}: runs with different settings (nc-plot --select best-test selects one setting)"
    return None
