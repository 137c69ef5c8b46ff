"""Selects runs of each cell: all, those of the best learning rate, or the latest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import median

from nc_runner.figures.style import cell_name
from nc_runner.figures.summary import by_cell
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.varying import Varying

ALL, BEST_TEST, LAST = "all", "best-test", "last"
RULES = (ALL, BEST_TEST, LAST)


def select(runs: Sequence[Run], rule: str) -> tuple[list[Run], list[str]]:
    """The runs of each cell (network, data set, loss) that ``rule`` selects, and remarks for the user.

    ``best-test`` is the paper's rule: of the settings that were tried for a cell, usually learning rates, it
    selects the one with the best test accuracy after the last epoch, in the median over its seeds; of equal
    ones that with the smallest learning rate. Runs that did not finish are not selected. ``last`` selects the
    setting of the run started last. All seeds of the setting are kept. The remarks name ties, runs that did
    not finish and learning rates that were only tried in other cells.
    """
    if rule == ALL:
        return list(runs), []
    cells = [(cell, list(group)) for cell, group in groupby(by_cell(runs), key=lambda run: run.cell)]
    if rule == LAST:
        return [run for _, members in cells for run in _latest(members)], []
    selected: list[Run] = []
    remarks: list[str] = []
    rates = {_lr(run) for run in runs}
    varying = Varying(runs)
    telling = varying.telling()
    for cell, members in cells:
        best, about = _best(members, varying, telling)
        absent = sorted(rates - {_lr(run) for run in members})
        if absent and best:
            about.append(f"only tried in other cells: lr {_listed(f'{rate:.4g}' for rate in absent)}")
        selected += best
        remarks += [f"{cell_name(cell)}: {remark}" for remark in about]
    return selected, remarks


def _best(members: Sequence[Run], varying: Varying, telling: Sequence[str]) -> tuple[list[Run], list[str]]:
    remarks = []
    differing = varying.differing(members, telling)
    unfinished = [run for run in members if not _finished(run)]
    if unfinished:
        names = (f"{_name(run, varying, differing)} seed {run.seed} {run.state}" for run in unfinished[:4])
        which = ", ".join(names)
        more = f" and {len(unfinished) - 4} more" if len(unfinished) > 4 else ""
        counts = f"{len(unfinished)} of {len(members)} runs"
        are = "is" if len(unfinished) == 1 else "are"
        remarks.append(f"{counts} did not finish and {are} not selected ({which}{more})")
    variants: dict[str, list[Run]] = {}
    for run in members:
        if _finished(run):
            variants.setdefault(run.variant, []).append(run)
    if not variants:
        return [], [*remarks, "no run is selected"]
    settings = sorted(variants.values(), key=lambda runs: _lr(runs[0]))
    scores = [median(_test_accuracy(run) for run in runs) for runs in settings]
    best = max(scores)
    winners = [runs for runs, score in zip(settings, scores, strict=True) if score == best]
    seeds = {len(runs) for runs in settings}
    if len(seeds) > 1:
        remarks.append(f"its settings have {min(seeds)} to {max(seeds)} finished seeds")
    if len(winners) > 1:
        tied = _listed((_name(runs[0], varying, differing) for runs in winners), "; ")
        remarks.append(f"a tie at {100 * best:.2f} % between {tied}")
    which = f"{_name(winners[0][0], varying, differing)} of {len(settings)}"
    remarks.append(f"{which} is selected: test {100 * best:.2f} %")
    return winners[0], remarks


def _latest(members: Sequence[Run]) -> list[Run]:
    newest = max(members, key=lambda run: run.started.timestamp() if run.started else -math.inf)
    return [run for run in members if run.variant == newest.variant]


def _finished(run: Run) -> bool:
    return run.state == COMPLETE and len(run.rows) > 0 and math.isfinite(_test_accuracy(run))


def _test_accuracy(run: Run) -> float:
    return float(run.rows["test_accuracy"].iloc[-1])


def _lr(run: Run) -> float:
    return math.inf if run.lr is None else run.lr


def _name(run: Run, varying: Varying, differing: Sequence[str]) -> str:
    """What tells the settings of a cell apart, such as "lr 0.1, weight_decay 0.0005"."""
    return varying.label(run, differing) or f"lr {_lr(run):.4g}"


def _listed(names: Iterable[str], between: str = ", ") -> str:
    shown = list(names)
    return between.join(shown if len(shown) <= 6 else [*shown[:5], f"and {len(shown) - 5} more"])
