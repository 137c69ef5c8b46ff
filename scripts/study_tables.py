"""The tables of docs/results.md, in Markdown, from the CSVs that study_figures.py writes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from nc_runner.figures.style import data_set_name, network_name

NETS, DATA = ("vgg6", "resnet8", "densenet10"), ("digits", "fashionmnist")
CSV, CLAIMS_CSV = "miniature_lr.csv", "miniature_claims.csv"
CELL = ["net", "data", "loss"]


def searched(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of the search: seed 0."""
    found: pd.DataFrame = table[table["seed"] == 0]
    return found


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The runs, with all seeds, at the rate of each cell with the best test accuracy of the search."""
    order = searched(table).sort_values(["test_accuracy", "lr"], ascending=[False, True])
    best = order.groupby(CELL, sort=False).first().reset_index()[[*CELL, "lr"]]
    return table.merge(best, on=[*CELL, "lr"])


def cells(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for data in DATA:
        for net in NETS:
            yield (net, data), table[(table["net"] == net) & (table["data"] == data)]


def tables(table: pd.DataFrame, claims: pd.DataFrame) -> dict[str, str]:
    """The tables of the page, in Markdown."""
    best = chosen(table)
    mse = best[best["loss"] == "mse"]
    made = {
        "the chosen rates": [rate_line(name, runs) for name, runs in best.groupby(CELL, sort=False)],
        "claims": list(claim_lines(claims)),
        "the terminal phase's benefits": [*benefit_lines(mse)],
        "MSE beside CE": [loss_line(name, runs) for name, runs in best.groupby(CELL[:2], sort=False)],
        "L_perp at the chosen rates": [
            perp_line(name, runs) for name, runs in mse.groupby(CELL[:2], sort=False)
        ],
        "L_perp in the search": [search_line(name, runs) for name, runs in cells(searched(table))],
    }
    return {title: markdown(lines) for title, lines in made.items()}


def in_short(table: pd.DataFrame) -> str:
    """The README's table: medians over the seeds at the chosen rates."""
    return markdown([short_line(name, runs) for name, runs in cells(chosen(table))])


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with each table between its marks; a mark without a table, or the reverse, is an error."""
    marked = re.findall(r"<!-- table: (.*?) -->", page)
    if sorted(marked) != sorted(made):
        raise ValueError(f"the page has marks for {marked}, and there are tables for {list(made)}")
    for title, text in made.items():
        begin = f"<!-- table: {title} -->\n"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{text}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return page


def cell_title(name: Sequence[str]) -> str:
    return f"{network_name(name[0])} on {data_set_name(name[1])}" + "".join(
        f", {loss.upper()}" for loss in name[2:]
    )


def rate_line(name: tuple[str, ...], runs: pd.DataFrame) -> dict[str, str]:
    return {
        "cell": cell_title(name),
        "lr": f"{runs['lr'].iloc[0]:g}",
        "test accuracy, %": spread(100 * runs["test_accuracy"], 1),
        "gain in the phase, points": spread(runs["test_accuracy_gain"], 2),
        "robustness, start → end of the phase": f"{digits(runs['robustness_start'])} → "
        f"{digits(runs['robustness'])}",
        "NC1": digits(runs["nc1"]),
        "NC2": digits(runs["nc2_maxangle_means"]),
        "NC3": digits(runs["nc3_self_duality"]),
    }


def claim_lines(claims: pd.DataFrame) -> Iterator[dict[str, str]]:
    """A line for each claim: over training and in the phase, as ``nc-plot`` prints them."""
    for statement, judged in claims.groupby("statement", sort=False):
        counted = judged[judged["verdict"] != "inconclusive"]
        holds = int((counted["verdict"] == "holds").sum())
        verdict = "inconclusive" if counted.empty else "holds" if holds == len(counted) else "**fails**"
        yield {
            "claim": str(statement),
            "in how many runs": f"{verdict} {holds}/{len(counted)}",
            "inconclusive": str(len(judged) - len(counted)),
            "median": number(counted["number"].median()),
            "of": f"{judged['number_is'].iloc[0]} ({judged['holds_if'].iloc[0]})",
        }


def benefit_lines(mse: pd.DataFrame) -> Iterator[dict[str, str]]:
    """What the phase adds, of each cell the median seed; beside the paper's 15 MSE cells."""
    gains = {
        "test accuracy, points": (mse["test_accuracy_gain"], 0.96, 1.83),
        "robustness": (mse["robustness"] - mse["robustness_start"], 0.1762, 0.9278),
    }
    for title, (values, paper_median, paper_mean) in gains.items():
        by_cell = values.groupby([mse["net"], mse["data"]], sort=False).median().dropna()
        yield {
            "rise in the phase": title,
            "cells": str(len(by_cell)),
            "median": f"{by_cell.median():.3g}",
            "mean": f"{by_cell.mean():.3g}",
            "paper: median": f"{paper_median:g}",
            "paper: mean": f"{paper_mean:g}",
        }


def loss_line(name: tuple[str, ...], runs: pd.DataFrame) -> dict[str, str]:
    mse, ce = (runs[runs["loss"] == loss] for loss in ("mse", "ce"))
    points = 100 * (mse["test_accuracy"].median() - ce["test_accuracy"].median())
    return {
        "cell": cell_title(name),
        "MSE, %": spread(100 * mse["test_accuracy"], 1),
        "CE, %": spread(100 * ce["test_accuracy"], 1),
        "MSE - CE, points": f"{points:+.2f}",
        "NC1, MSE": digits(mse["nc1"]),
        "NC1, CE": digits(ce["nc1"]),
        "robustness, MSE": digits(mse["robustness"]),
        "robustness, CE": digits(ce["robustness"]),
    }


def perp_line(name: tuple[str, ...], runs: pd.DataFrame) -> dict[str, str]:
    return {
        "cell": cell_title(name),
        "lr": f"{runs['lr'].iloc[0]:g}",
        "end": digits(runs["perp_end"]),
        "worst of the phase": digits(runs["perp_worst"]),
        "epochs below 0.1, %": spread(100 * runs["perp_share_below"], 0),
        "worst at each rate of the phase, in turn": ", ".join(
            number(runs[f"perp_worst_rate{place}"].median()) for place in (1, 2, 3)
        ),
        "worst, batch norm recomputed": digits(runs["perp_worst_recomputed"]),
    }


def short_line(name: tuple[str, str], runs: pd.DataFrame) -> dict[str, str]:
    mse, ce = (runs[runs["loss"] == loss].median(numeric_only=True) for loss in ("mse", "ce"))
    return {
        "network, data set": cell_title(name),
        "NC1": number(mse["nc1"]),
        "NC2: maximal angles": number(mse["nc2_maxangle_means"]),
        "L_perp / L_LS: end": number(mse["perp_end"]),
        "largest in the terminal phase": number(mse["perp_worst"]),
        "test accuracy, %": f"{100 * mse['test_accuracy']:.1f}",
        "with cross-entropy, %": f"{100 * ce['test_accuracy']:.1f}",
    }


def search_line(name: tuple[str, str], runs: pd.DataFrame) -> dict[str, str]:
    mse = runs[runs["loss"] == "mse"].sort_values("lr").set_index("lr")
    found = {f"{lr:g}": f"{run['perp_end']:.2g} / {number(run['perp_worst'])}" for lr, run in mse.iterrows()}
    return {"cell": cell_title(name), **found}


def number(value: float) -> str:
    """Two digits; a dash where there is no terminal phase."""
    return "–" if math.isnan(value) else f"{value:.2g}"


def spread(values: pd.Series[float], decimals: int) -> str:
    """The median, and in brackets the range where there are several different values."""
    return _range(values, f".{decimals}f")


def digits(values: pd.Series[float]) -> str:
    """The same, with two significant digits."""
    return _range(values, ".2g")


def _range(values: pd.Series[float], form: str) -> str:
    median, low, high = (format(value, form) for value in (values.median(), values.min(), values.max()))
    return median if low == high else f"{median} ({low} to {high})"


def markdown(lines: list[dict[str, str]]) -> str:
    keys = list(dict.fromkeys(key for line in lines for key in line))
    rows = [keys, ["---"] * len(keys), *([line.get(key, "") for key in keys] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
