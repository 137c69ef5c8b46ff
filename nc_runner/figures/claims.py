"""The claims of the paper, judged on measured runs, each by one number; and ``claims.csv``.

The claims are those of Han, Papyan & Donoho (ICLR 2022). A claim is judged by comparing two measured rows,
without smoothing and without a tolerance, except for "negligible" (:data:`NEGLIGIBLE`) and "comparable"
(:data:`COMPARABLE`). A run that did not finish, or that did not reach the terminal phase, is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from nc_runner.figures.style import cell_name, data_set_name, loss_name, network_name
from nc_runner.figures.summary import Summary, by_cell, terminal_phase_start, write_lines
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.rows import columns_of

if TYPE_CHECKING:
    from nc_runner.figures.scales import FloatArray

CLAIMS_FILE = "claims.csv"
HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"
VERDICTS = (HOLDS, FAILS, INCONCLUSIVE)

NEGLIGIBLE = 0.1  # L_perp / L_LS below this, at every row of the terminal phase
COMPARABLE = 1.0  # points by which the test accuracy with MSE may be lower than with cross-entropy

TRAINING, PHASE = "over training", "in the terminal phase"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    ``subject`` and ``aspect`` together are its name ("NC1", "over training"). ``number`` says in words which
    number decides, and ``holds_if`` for which values the claim holds.
    """

    key: str
    subject: str
    aspect: str
    statement: str
    number: str
    holds_if: str


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
        return f"{cell_name(self.cell)}, lr {self.run.lr}, seed {self.run.seed}"


@dataclass(frozen=True)
class Overall:
    """One claim over all runs: it holds where it holds in every run that is not inconclusive."""

    claim: Claim
    verdict: str
    holds: int
    fails: int
    inconclusive: int
    median: float | None  # of the numbers that decide


MEASURES = {  # column: its short name, and its name in a sentence
    "nc1": ("NC1", "NC1"),
    "nc2_equinorm_means": ("NC2 equal norms, means", "NC2, the spread of the class means' norms,"),
    "nc2_equinorm_classifier": ("NC2 equal norms, classifier", "NC2, the spread of the classifier's norms,"),
    "nc2_equiangular_means": ("NC2 equal angles, means", "NC2, the spread of the class means' angles,"),
    "nc2_equiangular_classifier": (
        "NC2 equal angles, classifier", "NC2, the spread of the classifier's angles,"
    ),
    "nc2_maxangle_means": (
        "NC2 maximal angles, means", "NC2, the class means' distance from maximal angles,"
    ),
    "nc2_maxangle_classifier": (
        "NC2 maximal angles, classifier", "NC2, the classifier's distance from maximal angles,"
    ),
    "nc3_self_duality": ("NC3 self-duality", "NC3, the distance from self-duality,"),
    "nc4_ncc_mismatch": ("NC4 nearest class mean", "NC4, the mismatch with the nearest class mean,"),
}  # fmt: skip


def _falls(column: str) -> tuple[Claim, Claim]:
    name, measure = MEASURES[column]
    training = f"{measure} falls over training", "last / first epoch", "below 1"
    phase = f"{measure} continues to fall in the terminal phase", "last / first epoch of the phase", "below 1"
    return (
        Claim(f"{column}_falls", name, TRAINING, *training),
        Claim(f"{column}_falls_in_phase", name, PHASE, *phase),
    )


FALLS = {column: _falls(column) for column in MEASURES}
PERP = Claim(
    "perp_negligible", "L_perp relative to L_LS", PHASE,
    "L_perp is negligible relative to L_LS in the terminal phase (trained with MSE)",
    "largest L_perp / L_LS of the phase", f"below {NEGLIGIBLE:g}",
)  # fmt: skip
TEST_ACCURACY = Claim(
    "test_accuracy_rises_in_phase", "Test accuracy", PHASE,
    "Test accuracy rises from the start of the terminal phase to the end",
    "points of test accuracy", "above 0",
)  # fmt: skip
MSE_AND_CE = Claim(
    "mse_comparable_to_ce", "MSE compared with CE", "at the end",
    "Test accuracy with MSE is comparable to that with cross-entropy, or better",
    "points of test accuracy, MSE - CE", f"at least -{COMPARABLE:g}",
)  # fmt: skip
CLAIMS = (*(claim for pair in FALLS.values() for claim in pair), PERP, TEST_ACCURACY, MSE_AND_CE)

Values = Sequence[float]
Finding = tuple[str, float | None, str]  # verdict, number and reason of a judgement


def judge(runs: Sequence[Run]) -> list[Judgement]:
    """Every claim for every run, in the order of the figures; then MSE and CE for each cell."""
    ordered = by_cell(runs)
    return [judgement for run in ordered for judgement in judge_run(run)] + list(_compare_losses(ordered))


def judge_run(run: Run) -> Iterator[Judgement]:
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
    for column, (training, in_phase) in FALLS.items():
        values = columns[column]
        yield Judgement(training, *_find(_fall, values[training_rows:], unfinished or single), cell, run)
        yield Judgement(in_phase, *_find(_fall, values[phase_rows:], no_phase), cell, run)
    if cell[2] == "mse":
        with np.errstate(all="ignore"):
            shares = (columns["mse_perp"] / columns["mse_ls"])[phase_rows:]
        yield Judgement(PERP, *_find(_negligible, shares, no_phase), cell, run)
    gain = _find(_gain, columns["test_accuracy"][phase_rows:], no_phase)
    yield Judgement(TEST_ACCURACY, *gain, cell, run)


def overall(judgements: Iterable[Judgement]) -> list[Overall]:
    """Each claim that was judged, over all its runs, in the order of :data:`CLAIMS`."""
    judgements = list(judgements)
    result = []
    for claim in CLAIMS:
        mine = [judgement for judgement in judgements if judgement.claim is claim]
        if not mine:
            continue
        holds, fails, inconclusive = (sum(j.verdict == verdict for j in mine) for verdict in VERDICTS)
        numbers = [judgement.number for judgement in mine if judgement.number is not None]
        verdict = FAILS if fails else HOLDS if holds else INCONCLUSIVE
        result.append(
            Overall(claim, verdict, holds, fails, inconclusive, median(numbers) if numbers else None)
        )
    return result


def _find(decide: Callable[[Values], Finding], values: FloatArray, inconclusive: str | None) -> Finding:
    """What ``decide`` finds in ``values``, unless there is a reason why the run is inconclusive."""
    return _none(inconclusive) if inconclusive is not None else decide(values.tolist())


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


def _compare_losses(ordered: Sequence[Run]) -> Iterator[Judgement]:
    """Medians over seeds at the end, for each network and data set with both losses."""
    for (net, data), group in groupby(ordered, key=lambda run: run.cell[:2]):
        members = list(group)
        mse, ce = ([run for run in members if run.cell[2] == loss] for loss in ("mse", "ce"))
        if mse and ce:
            yield Judgement(MSE_AND_CE, *_comparison(mse, ce), (net, data, "mse"))


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
