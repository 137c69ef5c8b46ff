"""The figures and tables of docs/results.md, of the runs of the miniature study and its search.

    python scripts/study_figures.py [RUNS] [--docs DIR]

RUNS holds the runs of ``experiment=miniature_lr`` and ``experiment=miniature``. Written below --docs (docs):
images/miniature_lr_*.png; results_data/miniature_lr.csv, a line for each run; miniature_claims.csv beside it,
the paper's claims judged for the chosen runs; and the tables of results.md and of the README in the folder
above, each between its marks. Without RUNS, the tables alone are made anew from the two CSVs.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_tables import CELL, CLAIMS_CSV, CSV, cells, chosen, filled, in_short, searched, tables

from nc_runner.figures.claims import Thresholds
from nc_runner.figures.judging import CLAIMS_FILE, judge, write_claims
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
COLOURS = {"mse": BLUE, "ce": ORANGE}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="?", help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    given = parser.parse_args()
    data = given.docs / "results_data"
    if given.runs is not None:
        runs = [run for run in map(read_run, find_runs([given.runs])) if run.state == COMPLETE]
        lines = pd.DataFrame([line_of(run) for run in by_cell(runs)])
        lines.to_csv(data / CSV, index=False, float_format="%.5g")
        claims_of(runs, chosen(lines)).to_csv(data / CLAIMS_CSV, index=False, float_format="%.5g")
        table = pd.read_csv(data / CSV)
        for name, (draw, label) in FIGURES.items():
            drawn(table, draw, label).savefig(given.docs / "images" / f"miniature_lr_{name}.png", dpi=100)
    table = pd.read_csv(data / CSV)
    pages = {
        given.docs / "results.md": tables(table, pd.read_csv(data / CLAIMS_CSV)),
        given.docs.parent / "README.md": {"results": in_short(table)},
    }
    for page, made in pages.items():
        page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")


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


def claims_of(runs: Sequence[Run], best: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims, judged as ``nc-plot`` does, for the runs of ``best``; folders are left out."""
    keys = {tuple(line) for line in best[[*CELL, "lr", "seed"]].itertuples(index=False)}
    mine = [run for run in runs if (*run.cell, run.lr, run.seed) in keys]
    with tempfile.TemporaryDirectory() as folder:
        write_claims(judge(mine), Path(folder))
        return pd.read_csv(Path(folder) / CLAIMS_FILE).drop(columns="folder")


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


if __name__ == "__main__":
    main()
