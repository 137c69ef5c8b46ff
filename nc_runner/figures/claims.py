"""The paper's statements, judged on measured runs, each with the number that decides. Imports no torch.

The statements are those of Han, Papyan & Donoho (ICLR 2022). Each is judged by a comparison of two measured
rows, without smoothing and without a tolerance, but for the two words that need a limit: "negligible"
(:data:`NEGLIGIBLE`) and "comparable" (:data:`COMPARABLE`). A run that was not finished, or that did not
reach the terminal phase, shows nothing: then a statement cannot be told.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nc_runner.figures.style import data_set_name, loss_name, network_name
from nc_runner.figures.summary import by_cell, terminal_phase_start
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.tables import write_atomically

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

CLAIMS_FILE = "claims.csv"
HOLDS, FAILS, UNTOLD = "holds", "fails", "cannot be told"
VERDICTS = (HOLDS, FAILS, UNTOLD)

NEGLIGIBLE = 0.1  # L_perp / L_LS below this, at every row of the terminal phase
COMPARABLE = 1.0  # points of test accuracy that MSE may lie below cross-entropy

TRAINING, PHASE = "over training", "in the terminal phase"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    ``subject`` and ``aspect`` together are its name ("NC1", "over training"); ``number`` says in words what
    the deciding number is, and ``holds_if`` when it speaks for the statement.
    """

    key: str
    subject: str
    aspect: str
    statement: str
    number: str
    holds_if: str


@dataclass(frozen=True)
class Judgement:
    """One claim about one run, or about the runs of one network and data set.

    ``number`` decides; None where there is none. ``reason`` puts it in words ("1.34 → 0.0122"), or says why
    the claim cannot be told. ``run`` is None for a comparison of losses.
    """

    claim: Claim
    verdict: str
    number: float | None
    reason: str
    cell: tuple[str, str, str]
    run: Run | None = None


@dataclass(frozen=True)
class Overall:
    """One claim over all runs: it holds where it holds in every run in which it can be told."""

    claim: Claim
    verdict: str
    holds: int
    fails: int
    untold: int
    median: float | None  # of the deciding numbers


MEASURES = {  # column: what to call it, for short and in a sentence
    "nc1": ("NC1", "NC1"),
    "nc2_equinorm_means": ("NC2 equal norms, means", "NC2, the spread of the class means' norms,"),
    "nc2_equinorm_classifier": ("NC2 equal norms, classifier", "NC2, the spread of the classifier's norms,"),
    "nc2_equiangular_means": ("NC2 equal angles, means", "NC2, the spread of the class means' angles,"),
    "nc2_equiangular_classifier": (
        "NC2 equal angles, classifier",
        "NC2, the spread of the classifier's angles,",
    ),
    "nc2_maxangle_means": (
        "NC2 maximal angles, means",
        "NC2, the class means' distance from maximal angles,",
    ),
    "nc2_maxangle_classifier": (
        "NC2 maximal angles, classifier",
        "NC2, the classifier's distance from maximal angles,",
    ),
    "nc3_self_duality": ("NC3 self-duality", "NC3, the distance from self-duality,"),
    "nc4_ncc_mismatch": ("NC4 nearest class mean", "NC4, the mismatch with the nearest class mean,"),
}


def _falls(column: str) -> tuple[Claim, Claim]:
    subject, measure = MEASURES[column]
    return (
        Claim(
            f"{column}_falls",
            subject,
            TRAINING,
            f"{measure} falls over training",
            "last / first epoch",
            "below 1",
        ),
        Claim(
            f"{column}_falls_in_phase",
            subject,
            PHASE,
            f"{measure} goes on falling after the terminal phase began",
            "last epoch / first of the phase",
            "below 1",
        ),
    )


FALLS = {column: _falls(column) for column in MEASURES}
PERP = Claim(
    "perp_negligible",
    "L_perp beside L_LS",
    PHASE,
    "L_perp is negligible beside L_LS during the terminal phase (trained with MSE)",
    "largest L_perp / L_LS of the phase",
    f"below {NEGLIGIBLE:g}",
)
TEST_ACCURACY = Claim(
    "test_accuracy_rises_in_phase",
    "Test accuracy",
    PHASE,
    "Test accuracy rises from the start of the terminal phase to the end",
    "points of test accuracy",
    "above 0",
)
MSE_AND_CE = Claim(
    "mse_comparable_to_ce",
    "MSE beside CE",
    "at the end",
    "Test accuracy with MSE is comparable to that with cross-entropy, or better",
    "points of test accuracy, MSE - CE",
    f"at least -{COMPARABLE:g}",
)
CLAIMS = (*(claim for pair in FALLS.values() for claim in pair), PERP, TEST_ACCURACY, MSE_AND_CE)


def judge(runs: Sequence[Run]) -> list[Judgement]:
    """Every claim about every run, in the order of the figures; then MSE beside CE for each cell."""
    ordered = by_cell(runs)
    return [judgement for run in ordered for judgement in judge_run(run)] + list(_compare_losses(ordered))


def judge_run(run: Run) -> list[Judgement]:
    """The claims about one run alone. That of L_perp is made for MSE, of which the paper says it."""
    result = []

    def add(claim: Claim, verdict: str, number: float | None, reason: str) -> None:
        result.append(Judgement(claim, verdict, number, reason, run.cell, run))

    rows = run.rows
    start = terminal_phase_start(rows)
    unfinished = _unfinished(run)
    no_phase = unfinished or _no_phase(run, start)
    phase = rows.loc[rows["epoch"] >= start] if start is not None else rows.iloc[:0]
    for column, (training, in_phase) in FALLS.items():
        values, later = rows[column].tolist(), phase[column].tolist()
        single = None if len(values) > 1 else "only one epoch was measured"
        add(training, *_fall(values, unfinished or single))
        add(in_phase, *_fall(later, no_phase))
    if run.cell[2] == "mse":
        shares = (phase["mse_perp"] / phase["mse_ls"]).tolist()
        add(PERP, *_negligible(shares, no_phase))
    accuracies = phase["test_accuracy"].tolist()
    add(TEST_ACCURACY, *_gain(accuracies, no_phase))
    return result


def _unfinished(run: Run) -> str | None:
    if run.state == COMPLETE and len(run.rows):
        return None
    if not len(run.rows):
        return "no epoch was measured"
    return f"the run is {run.state}, at epoch {run.rows['epoch'].iloc[-1]} of {run.settings.get('epochs')}"


def _no_phase(run: Run, start: int | None) -> str | None:
    if start is None:
        best = run.rows["train_accuracy"].max() if len(run.rows) else math.nan
        return f"the terminal phase was not reached (train accuracy {100 * best:.2f} % at best)"
    if run.rows["epoch"].iloc[-1] == start:
        return "the terminal phase began with the last measured epoch"
    return None


def _fall(values: Sequence[float], unknown: str | None) -> tuple[str, float | None, str]:
    if unknown is not None:
        return UNTOLD, None, unknown
    first, last = values[0], values[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return UNTOLD, None, "not a finite number"
    reason = f"{first:.3g} → {last:.3g}"
    if first == 0:
        return (UNTOLD, None, "it is 0 from the start") if last == 0 else (FAILS, math.inf, reason)
    return (HOLDS if last < first else FAILS), last / first, reason


def _negligible(shares: Sequence[float], unknown: str | None) -> tuple[str, float | None, str]:
    if unknown is not None:
        return UNTOLD, None, unknown
    if not all(math.isfinite(share) for share in shares):
        return UNTOLD, None, "not a finite number"
    worst = max(shares)
    return (
        (HOLDS if worst < NEGLIGIBLE else FAILS),
        worst,
        f"at most {worst:.3g}, at the end {shares[-1]:.3g}",
    )


def _gain(accuracies: Sequence[float], unknown: str | None) -> tuple[str, float | None, str]:
    if unknown is not None:
        return UNTOLD, None, unknown
    first, last = accuracies[0], accuracies[-1]
    if not (math.isfinite(first) and math.isfinite(last)):
        return UNTOLD, None, "not a finite number"
    gain = 100 * (last - first)
    return (HOLDS if last > first else FAILS), gain, f"{100 * first:.2f} % → {100 * last:.2f} %"


def _compare_losses(ordered: Sequence[Run]) -> Iterator[Judgement]:
    """Medians over seeds, of the runs at the end, for each network and data set with both losses."""
    for (net, data), group in groupby(ordered, key=lambda run: run.cell[:2]):
        members = list(group)
        sides = {loss: [run for run in members if run.cell[2] == loss] for loss in ("mse", "ce")}
        if not all(sides.values()):
            continue
        cell = (net, data, "mse")
        unknown = next(filter(None, (_incomparable(loss, side) for loss, side in sides.items())), None)
        if unknown is not None:
            yield Judgement(MSE_AND_CE, UNTOLD, None, unknown, cell)
            continue
        mse, ce = (median(float(run.rows["test_accuracy"].iloc[-1]) for run in s) for s in sides.values())
        number = 100 * (mse - ce)
        reason = f"MSE {100 * mse:.2f} %, CE {100 * ce:.2f} %"
        yield Judgement(MSE_AND_CE, HOLDS if number >= -COMPARABLE else FAILS, number, reason, cell)


def _incomparable(loss: str, runs: Sequence[Run]) -> str | None:
    for run in runs:
        unfinished = _unfinished(run)
        if unfinished is not None:
            return f"{loss_name(loss)}: {unfinished}"
        if not math.isfinite(run.rows["test_accuracy"].iloc[-1]):
            return f"{loss_name(loss)}: no test accuracy at the end"
    if len({run.variant for run in runs}) > 1:
        return f"{loss_name(loss)}: runs of several settings (one of them: nc-plot --select best-test)"
    return None


def overall(judgements: Iterable[Judgement]) -> list[Overall]:
    """Each claim that was judged, over all its runs, in the order of :data:`CLAIMS`."""
    judgements = list(judgements)
    result = []
    for claim in CLAIMS:
        mine = [judgement for judgement in judgements if judgement.claim is claim]
        if not mine:
            continue
        holds, fails, untold = (sum(j.verdict == verdict for j in mine) for verdict in VERDICTS)
        numbers = [judgement.number for judgement in mine if judgement.number is not None]
        verdict = FAILS if fails else HOLDS if holds else UNTOLD
        result.append(Overall(claim, verdict, holds, fails, untold, median(numbers) if numbers else None))
    return result


def write_claims(judgements: Sequence[Judgement], out: Path) -> Path:
    """Write ``claims.csv`` into ``out``: a line for each judgement. Raises :class:`OSError` if it cannot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("claim", "statement", "net", "data", "loss", "lr", "seed", "verdict", "number", "number_is",
         "holds_if", "reason", "folder")
    )  # fmt: skip
    for judgement in judgements:
        claim, run = judgement.claim, judgement.run
        settings = run.settings if run else {}
        writer.writerow(
            (claim.key, claim.statement, *judgement.cell, settings.get("lr"), settings.get("seed"),
             judgement.verdict, judgement.number, claim.number, claim.holds_if, judgement.reason,
             run.folder if run else None)
        )  # fmt: skip
    path = out / CLAIMS_FILE
    write_atomically(path, text.getvalue().encode("utf-8", errors="backslashreplace"))
    return path


def print_claims(overalls: Sequence[Overall], console: Console) -> None:
    """Each claim's verdict over all runs, for the terminal; nothing where nothing was judged."""
    from rich.table import Table
    from rich.text import Text

    if not overalls:
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("the paper's claims", width=30, no_wrap=True, overflow="ellipsis")
    table.add_column("falls over training", width=23, no_wrap=True)
    table.add_column("in the terminal phase", width=23, no_wrap=True)
    for subject, group in groupby(overalls, key=lambda line: line.claim.subject):
        cells = {line.claim.aspect == TRAINING: line for line in group}
        table.add_row(Text(subject), *(_verdict_cell(cells.get(first)) for first in (True, False)))
    console.print()
    console.print(table)
    console.print(
        "holds: in all runs that can tell; beside it in how many of them, and the median\n"
        f"of the number that decides. Each verdict, its number and reason: {CLAIMS_FILE}",
        style="dim",
        highlight=False,
    )


def _verdict_cell(line: Overall | None) -> Text:
    from rich.text import Text

    if line is None:
        return Text("")
    told = line.holds + line.fails
    if not told:
        return Text(line.verdict, style="dim")
    number = "" if line.median is None else f"  {line.median:.2g}"
    style = "green" if line.verdict == HOLDS else "red"
    return Text.assemble((f"{line.verdict:<5}", style), f" {line.holds}/{told}{number}")


def where(judgement: Judgement) -> str:
    """The run, or the comparison, in words: "ResNet8 on Digits, MSE, lr 0.1, seed 0"."""
    net, data, loss = judgement.cell
    place = f"{network_name(net)} on {data_set_name(data)}"
    if judgement.run is None:
        return place
    settings = judgement.run.settings
    return f"{place}, {loss_name(loss)}, lr {settings.get('lr')}, seed {settings.get('seed')}"
