"""The figures and tables of docs/results.md, of the runs of the miniature study and its search.

    python scripts/study_figures.py RUNS [--images DIR] [--data DIR] [--tables]

RUNS holds the runs of ``experiment=miniature_lr`` and ``experiment=miniature``. Written are
miniature_lr_*.png into --images, and into --data miniature_lr.csv, a line for each run. --tables prints the
tables from that CSV alone, without RUNS.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_runner.figures.claims import Thresholds
from nc_runner.figures.perp import PerpShares
from nc_runner.figures.style import BLUE, ORANGE, data_set_name, network_name
from nc_runner.figures.summary import by_cell, summarise, terminal_phase_start
from nc_runner.runs.reader import Run, find_runs, read_run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.rows import columns_of

PAPER_RATES = (
    0.00188,
    0.09402,
)  # the least and largest recorded for the paper's 15 MSE cells (conf/cells/paper.yaml)
NETS, DATA = ("vgg6", "resnet8", "densenet10"), ("digits", "fashionmnist")
COLOURS = {"mse": BLUE, "ce": ORANGE}
CSV = "miniature_lr.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="?", help="folder of the runs")
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--data", type=Path, default=Path("docs/results_data"))
    parser.add_argument("--tables", action="store_true", help="only print the tables of the CSV")
    given = parser.parse_args()
    if not given.tables:
        if given.runs is None:
            parser.error("give the folder of the runs, or --tables")
        runs = [run for run in map(read_run, find_runs([given.runs])) if run.state == COMPLETE]
        pd.DataFrame([line_of(run) for run in by_cell(runs)]).to_csv(
            given.data / CSV, index=False, float_format="%.5g"
        )
    table = pd.read_csv(given.data / CSV)
    if not given.tables:
        for name, (draw, label) in FIGURES.items():
            drawn(table, draw, label).savefig(given.images / f"miniature_lr_{name}.png", dpi=100)
    for title, text in tables(table).items():
        print(f"\n{title}\n\n{text}")


def line_of(run: Run) -> dict[str, object]:
    """What the study says of a run."""
    found, columns = summarise(run), columns_of(run.rows)
    start = terminal_phase_start(columns)
    shares = PerpShares.of(columns, start, Thresholds().negligible)
    anew = {"mse_perp": columns["mse_perp_recomputed"], "mse_ls": columns["mse_ls_recomputed"]}
    without_lag = PerpShares.of({**columns, **anew}, start, Thresholds().negligible)
    place = -1 if start is None else int(columns["epoch"].searchsorted(start))
    nothing = math.nan
    drops = (*shares.after_drops, nothing, nothing, nothing)[:3]
    return {
        **{key: found[key] for key in ("net", "data", "loss", "lr", "seed")},
        "phase_epoch": start,
        **{key: found[key] for key in ("train_accuracy", "test_accuracy", "nc1", "nc2_maxangle_means")},
        **{key: found[key] for key in ("nc3_self_duality", "nc4_ncc_mismatch", "phi_advance_cv")},
        "perp_end": shares.end,
        "perp_worst": shares.worst,
        "perp_share_below": shares.share,
        **{f"perp_worst_rate{number}": value for number, value in enumerate(drops, start=1)},
        "perp_end_recomputed": without_lag.end,
        "perp_worst_recomputed": without_lag.worst,
        "test_accuracy_gain": nothing if start is None else 100 * float(np.subtract(
            columns["test_accuracy"][-1], columns["test_accuracy"][place])),
        "robustness_start": nothing if start is None else float(columns["robustness"][place]),
        "robustness": float(columns["robustness"][-1]),
    }  # fmt: skip


def searched(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of the search: seed 0."""
    found: pd.DataFrame = table[table["seed"] == 0]
    return found


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The runs, with all seeds, at the rate of each cell with the best test accuracy of the search."""
    order = searched(table).sort_values(["test_accuracy", "lr"], ascending=[False, True])
    best = (
        order.groupby(["net", "data", "loss"], sort=False)
        .first()
        .reset_index()[["net", "data", "loss", "lr"]]
    )
    return table.merge(best, on=["net", "data", "loss", "lr"])


def cells(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for data in DATA:
        for net in NETS:
            yield (net, data), table[(table["net"] == net) & (table["data"] == data)]


Draw = Callable[[Axes, pd.DataFrame, pd.DataFrame], None]


def drawn(table: pd.DataFrame, draw: Draw, label: str) -> Figure:
    """Networks as columns, data sets as rows; the paper's range of rates is shaded."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.6), layout="constrained", sharex=True)
    for axis, ((net, data), runs) in zip(axes.flat, cells(searched(table)), strict=True):
        axis.axvspan(*PAPER_RATES, color="0.93", lw=0, zorder=0)
        axis.set_xscale("log")
        axis.spines[["top", "right"]].set_visible(False)
        if axis in axes[:, 0]:
            axis.set_ylabel(label, fontsize=9)
        axis.set_title(f"{network_name(net)} on {data_set_name(data)}", fontsize=10)
        draw(axis, runs.sort_values("lr"), chosen(table))
    axes[-1, 1].set_xlabel("learning rate; grey: those recorded for the paper's 15 MSE cells", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def draw_perp(axis: Axes, runs: pd.DataFrame, best: pd.DataFrame) -> None:
    mse = runs[runs["loss"] == "mse"]
    axis.plot(mse["lr"], mse["perp_worst"], "o--", color=BLUE, ms=4, mfc="white", label="worst of the phase")
    axis.plot(mse["lr"], mse["perp_end"], "o-", color=BLUE, ms=4, label="end")
    axis.plot(
        mse["lr"], mse["perp_worst_recomputed"], "^:", color=ORANGE, ms=4, mfc="white",
        label="worst, batch norm recomputed",
    )  # fmt: skip
    axis.axhline(Thresholds().negligible, color="0.4", lw=0.8, ls="dotted")
    axis.set_yscale("log")
    axis.set_ylim(0.009, 5)  # the same in all panels


def draw_accuracy(axis: Axes, runs: pd.DataFrame, best: pd.DataFrame) -> None:
    for loss, style in (("mse", "o-"), ("ce", "s--")):
        mine = runs[runs["loss"] == loss]
        axis.plot(
            mine["lr"], 100 * mine["test_accuracy"], style, color=COLOURS[loss], ms=4, label=loss.upper()
        )
        found = best[(best["loss"] == loss) & best["net"].isin(runs["net"]) & best["data"].isin(runs["data"])]
        axis.plot(
            found["lr"], 100 * found["test_accuracy"], "x", color=COLOURS[loss], ms=6,
            label=f"{loss.upper()}, chosen rate, each seed",
        )  # fmt: skip


def draw_law(axis: Axes, runs: pd.DataFrame, best: pd.DataFrame) -> None:
    mse = runs[runs["loss"] == "mse"]
    axis.plot(mse["lr"], mse["phi_advance_cv"], "o-", color=BLUE, ms=4, label="MSE; 0 under the law")
    axis.set_ylim(0)


FIGURES: dict[str, tuple[Draw, str]] = {
    "perp": (draw_perp, "L_perp / L_LS"),
    "accuracy": (draw_accuracy, "test accuracy, %"),
    "law": (draw_law, "spread of Phi's advance"),
}


def tables(table: pd.DataFrame) -> dict[str, str]:
    """The tables of the page, in Markdown."""
    best = chosen(table)
    return {
        "the chosen rates": markdown(
            [
                {
                    "cell": f"{network_name(net)} on {data_set_name(data)}, {str(loss).upper()}",
                    "lr": f"{runs['lr'].iloc[0]:g}",
                    "seeds": str(len(runs)),
                    "test, %": spread(100 * runs["test_accuracy"], 1),
                    "gain in the phase": spread(runs["test_accuracy_gain"], 2),
                    "robustness": f"{spread(runs['robustness_start'], 3)} → {spread(runs['robustness'], 3)}",
                    "NC1": spread(runs["nc1"], 2, significant=True),
                }
                for (net, data, loss), runs in best.groupby(["net", "data", "loss"], sort=False)
            ]
        ),
        "L_perp at the chosen rates": markdown(
            [
                {
                    "cell": f"{network_name(net)} on {data_set_name(data)}",
                    "lr": f"{runs['lr'].iloc[0]:g}",
                    "end": spread(runs["perp_end"], 2, significant=True),
                    "worst of the phase": spread(runs["perp_worst"], 2, significant=True),
                    "epochs below 0.1": spread(100 * runs["perp_share_below"], 0) + " %",
                    "worst, batch norm recomputed": spread(
                        runs["perp_worst_recomputed"], 2, significant=True
                    ),
                }
                for (net, data), runs in best[best["loss"] == "mse"].groupby(["net", "data"], sort=False)
            ]
        ),
        "L_perp in the search": markdown(
            [
                {"cell": f"{network_name(net)} on {data_set_name(data)}"}
                | {
                    f"{lr:g}": f"{run['perp_end']:.2g} / {number(run['perp_worst'])}"
                    for lr, run in runs[runs["loss"] == "mse"].sort_values("lr").set_index("lr").iterrows()
                }
                for (net, data), runs in cells(searched(table))
            ]
        ),
    }


def number(value: float) -> str:
    """Two digits; a dash where there is no terminal phase."""
    return "–" if math.isnan(value) else f"{value:.2g}"


def spread(values: pd.Series[float], digits: int, significant: bool = False) -> str:
    """The median, and in brackets the range where there are several different values."""
    kind = "g" if significant else "f"
    median, low, high = (f"{getattr(values, how)():.{digits}{kind}}" for how in ("median", "min", "max"))
    return median if low == high else f"{median} ({low} to {high})"


def markdown(lines: list[dict[str, str]]) -> str:
    keys = list(dict.fromkeys(key for line in lines for key in line))
    rows = [keys, ["---"] * len(keys), *([line.get(key, "") for key in keys] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
