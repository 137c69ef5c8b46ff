"""Which of several runs of a cell are looked at: all, those of the best learning rate, or the latest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import median

from nc_runner.figures.style import data_set_name, loss_name, network_name
from nc_runner.figures.summary import by_cell
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE

ALL, BEST_TEST, LAST = "all", "best-test", "last"
RULES = (ALL, BEST_TEST, LAST)


def select(runs: Sequence[Run], rule: str) -> tuple[list[Run], list[str]]:
    """The runs of each cell (network, data set, loss) that ``rule`` picks, and what is to be said about it.

    ``best-test`` is the paper's rule: of the settings that were tried for a cell, usually learning rates, the
    one with the best test accuracy after the last epoch, in the median over its seeds; of equals that with
    the smallest learning rate. Runs that did not finish are not picked. ``last`` takes the setting
    of the run started last. All its seeds are kept. Ties, runs that did not finish and
    learning rates that other cells have are said.
    """
    if rule == ALL:
        return list(runs), []
    chosen: list[Run] = []
    said: list[str] = []
    grid = {_lr(run) for run in runs}
    for cell, group in groupby(by_cell(runs), key=lambda run: run.cell):
        members = list(group)
        name = f"{network_name(cell[0])} on {data_set_name(cell[1])}, {loss_name(cell[2])}"
        if rule == BEST_TEST:
            picked, words = _best(members)
            absent = sorted(grid - {_lr(run) for run in members})
            if absent and picked:
                words.append(f"not tried, but in other cells: lr {_listed(absent)}")
        else:
            picked, words = _latest(members), []
        chosen += picked
        said += [f"{name}: {word}" for word in words]
    return chosen, said


def _best(members: Sequence[Run]) -> tuple[list[Run], list[str]]:
    unfinished = [run for run in members if not _finished(run)]
    words = []
    if unfinished:
        which = ", ".join(
            f"lr {_lr(run):.4g} seed {run.settings.get('seed')} {run.state}" for run in unfinished[:4]
        )
        more = f" and {len(unfinished) - 4} more" if len(unfinished) > 4 else ""
        words.append(
            f"{len(unfinished)} of {len(members)} runs did not finish and are not picked ({which}{more})"
        )
    settings: dict[str, list[Run]] = {}
    for run in members:
        if _finished(run):
            settings.setdefault(run.variant, []).append(run)
    if not settings:
        return [], [*words, "no run is picked"]
    scores = {
        variant: median(float(run.rows["test_accuracy"].iloc[-1]) for run in runs)
        for variant, runs in settings.items()
    }
    best = max(scores.values())
    winners = sorted(
        (variant for variant in scores if scores[variant] == best), key=lambda v: _lr(settings[v][0])
    )
    picked = settings[winners[0]]
    seeds = {variant: len(runs) for variant, runs in settings.items()}
    if len(set(seeds.values())) > 1:
        words.append(f"its settings have {min(seeds.values())} to {max(seeds.values())} finished seeds")
    if len(winners) > 1:
        tied = _listed([_lr(settings[variant][0]) for variant in winners])
        words.append(f"a tie at {100 * best:.2f} % between lr {tied}")
    words.append(f"lr {_lr(picked[0]):.4g} of {len(settings)} is picked: test {100 * best:.2f} %")
    return picked, words


def _latest(members: Sequence[Run]) -> list[Run]:
    newest = max(members, key=lambda run: str(run.record.get("started") or ""))
    return [run for run in members if run.variant == newest.variant]


def _finished(run: Run) -> bool:
    return run.state == COMPLETE and len(run.rows) > 0 and math.isfinite(run.rows["test_accuracy"].iloc[-1])


def _lr(run: Run) -> float:
    value = run.settings.get("lr")
    return float(value) if isinstance(value, (int, float)) else math.nan


def _listed(rates: Sequence[float]) -> str:
    shown = [f"{rate:.4g}" for rate in rates]
    return ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:5])} and {len(shown) - 5} more"
