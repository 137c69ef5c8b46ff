"""The figures and tables of docs/experiments.md, of the runs of the named experiments.

    python scripts/experiment_figures.py FOLDER [--only NAME ...] [--images DIR] [--data DIR]

FOLDER holds a folder of runs for each experiment: FOLDER/adamw, FOLDER/losses, ... Written are
experiment_NAME.png into --images, and NAME.csv into --data: the last row of each setting, as median, least
and largest over the seeds. The tables are printed as Markdown. A setting is untrained where a seed ends below
99 % train accuracy: its points are hollow, and its measures of collapse say little.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nc_runner import read_runs
from nc_runner.figures.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

TRAINED = 0.99  # train accuracy
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Panel:
    """A column of metrics.csv on an axis; ``log``: a log axis; ``line``: a value to compare with."""

    column: str
    title: str
    log: bool = False
    line: float | None = None


@dataclass(frozen=True)
class View:
    """The figure and table of an experiment: columns against ``x``, a setting or the epoch, by ``hue``."""

    x: str
    hue: str
    panels: tuple[Panel, ...]
    settings: tuple[str, ...] = ()  # what identifies a line of the table; default: hue and x


NC1 = Panel("nc1", "NC1", log=True)
ANGLES = Panel("nc2_maxangle_means", "NC2: maximal angles, means")
DUALITY = Panel("nc3_self_duality", "NC3: self-duality")
TEST = Panel("test_accuracy", "test accuracy")
TRAIN = Panel("train_accuracy", "train accuracy")
NC4 = Panel("nc4_ncc_mismatch", "NC4: mismatch")
SHARES = ("train_accuracy", "test_accuracy", "nc4_ncc_mismatch")  # shown in per cent
FURTHER = (  # columns of the CSV files beside those of the panels
    *(
        "nc1",
        "nc2_equinorm_means",
        "nc2_equinorm_classifier",
        "nc2_maxangle_means",
        "nc2_maxangle_classifier",
    ),
    *("nc3_self_duality", "nc4_ncc_mismatch", "train_loss", "train_accuracy", "test_accuracy"),
)
ETF_COSINE = -1 / 9  # of ten classes

ORDER = (
    *("sgd", "adam", "adamw", "ce", "ce_smoothed", "focal", "hinge", "mse", "mse_imagenet"),
    *(
        f"{classifier}\nP = {features}"
        for classifier in ("trained", "ETF")
        for features in ("64", "10, linear")
    ),
)

VIEWS = {
    "adamw": View(
        "weight_decay",
        "optimizer",
        (NC1, ANGLES, DUALITY, Panel("row_sum_share", "NC0: ‖sum of rows‖ / ‖W‖", log=True), TRAIN, TEST),
    ),
    "losses": View("loss", "weight_decay", (NC1, ANGLES, DUALITY, TEST)),
    "etf_head": View("layer", "loss", (NC1, ANGLES, DUALITY, TEST)),
    "feature_dim": View(
        "head.features",
        "loss",
        (NC1, Panel("nc2_etf_error_means", "NC2: distance to an ETF, means"), DUALITY, TEST),
    ),
    "minority_collapse": View(
        "data.imbalance.ratio",
        "weight_decay",
        (
            Panel("minority_angle_classifier", "cosines of minority rows", line=ETF_COSINE),
            Panel("majority_angle_classifier", "cosines of majority rows", line=ETF_COSINE),
            Panel("minority_ratio", "norm of minority rows / others", line=1.0),
            TEST,
        ),
    ),
    "random_labels": View("epoch", "data.label_noise", (NC1, ANGLES, TRAIN, TEST), ("data.label_noise",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds a folder of runs for each experiment")
    parser.add_argument("--only", nargs="*", choices=VIEWS, default=list(VIEWS), metavar="NAME")
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--data", type=Path, default=Path("docs/results_data"))
    given = parser.parse_args()
    for folder in (given.images, given.data):
        folder.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        view = VIEWS[name]
        table = ordered(named(read_runs(given.folder / name)), view)
        drawn(view, table).savefig(given.images / f"experiment_{name}.png", dpi=100)
        summary(view, table).to_csv(file := given.data / f"{name}.csv", index=False, float_format="%.4g")
        print(f"\n{name}: {len(last_rows(table))} finished runs\n\n{page_table(name, pd.read_csv(file))}")


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table of runs with short names of what an experiment varies, and shares that it compares."""
    table = table.rename(columns={"optimizer._target_": "optimizer"})
    if "classifier" in table:
        features = table["head.features"].map(lambda width: "64" if pd.isna(width) else f"{width:g}, linear")
        table["layer"] = (
            table["classifier"].replace({"gradient": "trained", "etf": "ETF"}) + "\nP = " + features
        )
    if "nc2_row_sum" in table:
        table["row_sum_share"] = table["nc2_row_sum"] / table["weight_norm"]
    return table


def ordered(table: pd.DataFrame, view: View) -> pd.DataFrame:
    """Numbers in rising order; names of losses, optimizers and layers as they are in ORDER."""
    keys = list(dict.fromkeys(view.settings or (view.hue, view.x)))

    def rank(column: pd.Series[Any]) -> pd.Series[Any]:
        return column.map({name: place for place, name in enumerate(ORDER)}).fillna(column)

    rows: pd.DataFrame = table.sort_values([*keys, "seed", "epoch"], key=rank, kind="stable")
    return rows


def last_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of each finished run."""
    last: pd.DataFrame = table[table["state"] == "complete"].groupby("run", sort=False).tail(1)
    return last


def drawn(view: View, table: pd.DataFrame) -> Figure:
    """The panels of a view, with one legend below them."""
    columns = 3 if len(view.panels) > 4 else 2
    rows = -(-len(view.panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.2 + 3.0 * columns, 0.6 + 2.4 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(view.panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, view.panels, strict=False):
        (draw_curves if view.x == "epoch" else draw_points)(axis, view, panel, table)
        axis.set_title(panel.title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
        if panel.log:
            axis.set_yscale("log")
        if panel.line is not None:
            axis.axhline(panel.line, color="0.4", lw=0.8, ls="dotted")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    for axis in axes[-1]:
        axis.set_xlabel({"layer": "", "loss": ""}.get(view.x, view.x), fontsize=9)
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def groups(view: View, table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs of each colour, with its label."""
    several = table[view.hue].nunique() > 1 and view.hue != "optimizer"
    word = f"{view.hue.rpartition('.')[2]} " if several and view.hue != "loss" else ""
    return [
        (word + (f"{value:g}" if isinstance(value, float) else str(value)), rows)
        for value, rows in table.groupby(view.hue, sort=False)
    ]


def draw_curves(axis: Axes, view: View, panel: Panel, table: pd.DataFrame) -> None:
    """The median over seeds against the epoch, its range shaded."""
    for (label, rows), colour in zip(groups(view, table), COLOURS, strict=False):
        at = rows.groupby("epoch")[panel.column]
        axis.plot(at.median().index, at.median(), color=colour, lw=1.3, label=label)
        axis.fill_between(at.min().index, at.min(), at.max(), color=colour, alpha=0.2, lw=0)
    axis.set_xscale("log")


def draw_points(axis: Axes, view: View, panel: Panel, table: pd.DataFrame) -> None:
    """Median and range over seeds of the last row, at evenly spaced places along x; untrained ones hollow."""
    last = last_rows(table)
    found_places = dict.fromkeys(last[view.x])
    places = sorted(found_places) if pd.api.types.is_numeric_dtype(last[view.x]) else list(found_places)
    found = groups(view, last)
    for number, (label, rows) in enumerate(found):
        by_x = rows.groupby(view.x, sort=False)
        shift = 0.12 * (number - (len(found) - 1) / 2)
        x = np.array([places.index(value) + shift for value in by_x.groups])
        median, least, most = (
            getattr(by_x[panel.column], how)().to_numpy() for how in ("median", "min", "max")
        )
        trained = by_x["train_accuracy"].min().to_numpy() >= TRAINED
        colour, marker = COLOURS[number], MARKERS[number]
        axis.errorbar(x, median, (median - least, most - median), color=colour, lw=1, ls="none", zorder=1)
        axis.scatter(x[trained], median[trained], color=colour, marker=marker, s=28, label=label)
        axis.scatter(
            x[~trained], median[~trained], edgecolors=colour, facecolors="white", marker=marker, s=28
        )
    labels = [f"{place:g}" if isinstance(place, (int, float)) else str(place) for place in places]
    axis.set_xticks(range(len(places)), [label.replace("_", "\n") for label in labels], fontsize=8)


def summary(view: View, table: pd.DataFrame) -> pd.DataFrame:
    """Median, least and largest over seeds of the last row's columns, a line for each setting."""
    keys = list(view.settings or (view.hue, view.x))
    columns = [*dict.fromkeys((*(panel.column for panel in view.panels), *FURTHER))]
    at = last_rows(table).groupby(keys, sort=False, dropna=False)
    found = at[columns].agg(["median", "min", "max"])
    found.columns = ["_".join(parts) for parts in found.columns]
    found.insert(0, "seeds", at.size())
    summarised: pd.DataFrame = found.reset_index().replace("\n", ", ", regex=True)
    return summarised


def page_table(name: str, found: pd.DataFrame) -> str:
    """The table of the page, in Markdown, from the CSV file: median (least to largest) over the seeds."""
    keys = [key for key in found.columns[: found.columns.get_loc("seeds")] if found[key].nunique() > 1]
    columns = {panel.column: panel.title for panel in (*VIEWS[name].panels, NC4, TRAIN, TEST)}

    def cell(line: pd.Series[Any], column: str) -> str:
        share = column in SHARES
        median, least, most = (
            line[f"{column}_{how}"] * (100 if share else 1) for how in ("median", "min", "max")
        )
        if pd.isna(median):
            return "NaN"
        if share:
            return f"{median:.1f} ({least:.1f} to {most:.1f})"
        return f"{median:.2g} ({least:.2g} to {most:.2g})"

    titles = [f"{title}, %" if column in SHARES else title for column, title in columns.items()]
    lines = [f"| {' | '.join([*keys, *titles])} |", "|" + "---|" * (len(keys) + len(titles))]
    for _, line in found.iterrows():
        settings = [f"{line[key]:g}" if isinstance(line[key], float) else str(line[key]) for key in keys]
        lines.append(f"| {' | '.join([*settings, *(cell(line, column) for column in columns)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
