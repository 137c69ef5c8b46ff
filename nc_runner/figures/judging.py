"""The paper's claims (claims.py), judged on measured runs, each by one number; and ``claims.csv``.

A run that did not finish, or that did not reach the terminal phase, is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nc_runner.columns import ROBUSTNESS_COLUMN
from nc_runner.figures.claims import (
    FALLS,
    MSE_AND_CE,
    ORDER,
    PERP,
    PERP_AT_END,
    ROBUSTNESS,
    TEST_ACCURACY,
    Claim,
    Thresholds,
    with_thresholds,
)
from nc_runner.figures.perp import PerpShares
from nc_runner.figures.style import data_set_name, loss_name, network_name
from nc_runner.figures.summary import Summary, by_cell, run_title, terminal_phase_start, write_lines
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.rows import columns_of

if TYPE_CHECKING:
    from nc_runner.figures.scales import FloatArray

CLAIMS_FILE = "claims.csv"
HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"
VERDICTS = (HOLDS, FAILS, INCONCLUSIVE)
_ROUNDING = 1e-6  # a measure that never moves, below this, is 0 by construction


@dataclass(frozen=True)
class Judgement:
    """A verdict on a claim for one run, or for the runs of one network and data set (``run`` None).

    ``number`` decides; None where there is none. ``reason`` shows it ("1.34 → 0.0122"), or explains why the
    rows are inconclusive.
    """

    claim: Claim
    verdict: str
    number: float | None
    reason: str
    cell: tuple[str, str, str]
    run: Run | None = None

    @property
    def where(self) -> str:
        """The run, or the comparison, in words: "ResNet8 on Digits, MSE, lr 0.1, seed 0"."""
        if self.run is None:
            return f"{network_name(self.cell[0])} on {data_set_name(self.cell[1])}"
        return run_title(self.run)


@dataclass(frozen=True)
class Overall:
    """One claim over all runs: it holds where it holds in every run that is not inconclusive."""

    claim: Claim
    verdict: str
    holds: int
    fails: int
    inconclusive: int
    median: float | None  # of the numbers that decide


Values = Sequence[float]
Finding = tuple[str, float | None, str]  # verdict, number and reason of a judgement
Ranges = Mapping[str, Mapping[str, tuple[int, float]]]  # of a variant and column: how many seeds, their range


def judge(runs: Sequence[Run], thresholds: Thresholds | None = None) -> list[Judgement]:
    """Every claim for every run, in the order of the figures; then MSE and CE for each cell."""
    thresholds = thresholds or Thresholds()
    ordered, ranges = by_cell(runs), _ranges(runs)
    alone = [judgement for run in ordered for judgement in judge_run(run, thresholds, ranges)]
    return alone + list(_compare_losses(ordered, thresholds))


def judge_run(run: Run, thresholds: Thresholds, ranges: Ranges) -> Iterator[Judgement]:
    """The claims about one run alone. The paper claims that L_perp is negligible for MSE only.

    They are about training: a row of epoch 0, the network at initialisation, decides nothing.
    """
    columns, cell = columns_of(run.rows), run.cell
    start = terminal_phase_start(columns)
    from_epoch = columns["epoch"].searchsorted
    training_rows, phase_rows = from_epoch(1), from_epoch(math.inf if start is None else start)
    unfinished = _unfinished(run)
    no_phase = unfinished or _no_phase(run, start)
    single = "only one epoch was measured" if len(columns["epoch"]) - training_rows == 1 else None
    seeds = ranges.get(run.variant, {})
    for column, (training, in_phase) in FALLS.items():
        values, fall = columns[column], partial(_fall, seeds=seeds.get(column))
        yield Judgement(training, *_find(fall, values[training_rows:], unfinished or single), cell, run)
        yield Judgement(in_phase, *_find(fall, values[phase_rows:], no_phase), cell, run)
    if cell[2] == "mse":
        shares = PerpShares.of(columns, start, thresholds.negligible)
        at_end, whole = (with_thresholds(claim, thresholds) for claim in (PERP_AT_END, PERP))
        yield Judgement(at_end, *_negligible(shares.end, shares, unfinished), cell, run)
        yield Judgement(whole, *_negligible(shares.worst, shares, no_phase), cell, run)
    gain = _find(_gain, columns["test_accuracy"][phase_rows:], no_phase)
    yield Judgement(TEST_ACCURACY, *gain, cell, run)
    if ROBUSTNESS_COLUMN in columns:
        rise = _find(_rise, columns[ROBUSTNESS_COLUMN][phase_rows:], no_phase)
        yield Judgement(ROBUSTNESS, *rise, cell, run)


def overall(judgements: Iterable[Judgement]) -> list[Overall]:
    """Each claim that was judged, over all its runs, in the order of the claims."""
    by_claim: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        by_claim.setdefault(judgement.claim.key, []).append(judgement)
    result = []
    for key in ORDER:
        mine = by_claim.get(key)
        if not mine:
            continue
        holds, fails, inconclusive = (sum(j.verdict == verdict for j in mine) for verdict in VERDICTS)
        numbers = [judgement.number for judgement in mine if judgement.number is not None]
        verdict = FAILS if fails else HOLDS if holds else INCONCLUSIVE
        middle = median(numbers) if numbers else None
        result.append(Overall(mine[0].claim, verdict, holds, fails, inconclusive, middle))
    return result


def _find(decide: Callable[[Values], Finding], values: FloatArray, inconclusive: str | None) -> Finding:
    """What ``decide`` finds in ``values``, unless there is a reason why the run is inconclusive."""
    return _none(inconclusive) if inconclusive is not None else decide(values.tolist())


def _none(reason: str) -> Finding:
    return INCONCLUSIVE, None, reason


def _verdict(holds: bool) -> str:
    return HOLDS if holds else FAILS


def _fall(values: Values, seeds: tuple[int, float] | None) -> Finding:
    first, last = values[0], values[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return _none("not a finite number")
    reason = f"{first:.3g} → {last:.3g}"
    if seeds is not None and last >= first:
        count, width = seeds
        where = "inside" if last - first <= width else "outside"
        reason += f", a rise {where} the range of {count} seeds ({width:.2g})"
    if first == last < _ROUNDING:
        return _none("it is 0 from the start")  # as of a fixed simplex ETF
    if first == 0:
        return FAILS, math.inf, reason
    return _verdict(last < first), last / first, reason


def _ranges(runs: Sequence[Run]) -> Ranges:
    """How far the final values of finished runs that differ in their seed alone are apart."""
    variants: dict[str, list[Run]] = {}
    for run in runs:
        if run.state == COMPLETE and len(run.rows):
            variants.setdefault(run.variant, []).append(run)
    found = {}
    for variant, members in variants.items():
        if len(members) > 1:
            ends = {column: [float(columns_of(run.rows)[column][-1]) for run in members] for column in FALLS}
            found[variant] = {column: (len(members), max(some) - min(some)) for column, some in ends.items()}
    return found


def _negligible(number: float, shares: PerpShares, inconclusive: str | None) -> Finding:
    if inconclusive is not None:
        return _none(inconclusive)
    if not shares.finite or not math.isfinite(number):
        return _none("not a finite number")
    return _verdict(number < shares.negligible), number, shares.words


def _gain(accuracies: Values) -> Finding:
    first, last = accuracies[0], accuracies[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return _none("not a finite number")
    reason = f"{100 * first:.2f} % → {100 * last:.2f} %"
    return _verdict(last > first), 100 * (last - first), reason


def _rise(values: Values) -> Finding:
    first, last = values[0], values[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return _none("not a finite number")
    return _verdict(last > first), last - first, f"{first:.3g} → {last:.3g}"


def _unfinished(run: Run) -> str | None:
    if not len(run.rows) or run.rows["epoch"].iloc[-1] < 1:
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


def _compare_losses(ordered: Sequence[Run], thresholds: Thresholds) -> Iterator[Judgement]:
    """Medians over seeds at the end, for each network and data set with both losses."""
    for (net, data), group in groupby(ordered, key=lambda run: run.cell[:2]):
        members = list(group)
        mse, ce = ([run for run in members if run.cell[2] == loss] for loss in ("mse", "ce"))
        if mse and ce:
            claim = with_thresholds(MSE_AND_CE, thresholds)
            yield Judgement(claim, *_comparison(mse, ce, thresholds.comparable), (net, data, "mse"))


def _comparison(mse: Sequence[Run], ce: Sequence[Run], comparable: float) -> Finding:
    reason = _incomparable(mse) or _incomparable(ce)
    if reason is not None:
        return _none(reason)
    a, b = (median(float(run.rows["test_accuracy"].iloc[-1]) for run in side) for side in (mse, ce))
    points = 100 * (a - b)
    return _verdict(points >= -comparable), points, f"MSE {100 * a:.2f} %, CE {100 * b:.2f} %"


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


def write_claims(judgements: Sequence[Judgement], out: Path) -> None:
    """Write ``claims.csv`` into ``out``: a line for each judgement. Raises :class:`OSError` if it cannot."""
    lines: list[Summary] = []
    for one in judgements:
        net, data, loss = one.cell
        lines.append(
            {
                "claim": one.claim.key,
                "statement": one.claim.statement,
                "net": net,
                "data": data,
                "loss": loss,
                "lr": one.run.lr if one.run else None,
                "seed": one.run.seed if one.run else None,
                "verdict": one.verdict,
                "number": one.number,
                "number_is": one.claim.number,
                "holds_if": one.claim.holds_if,
                "reason": one.reason,
                "folder": str(one.run.folder) if one.run else None,
            }
        )
    write_lines(lines, out / CLAIMS_FILE)
