"""Collapse against depth: a measure of each layer, in forward order, a line for each of some epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nc_runner.figures.advance import FloatArray
from nc_runner.figures.catalogue import Curve, Entry
from nc_runner.figures.grid import LegendEntry, Scale, linear_scale, log_scale, panel_grid
from nc_runner.figures.panel import spectrum_colours
from nc_runner.figures.style import (
    LINE_STYLES,
    data_set_name,
    data_set_order,
    loss_name,
    network_name,
    network_order,
    printable,
)
from nc_runner.runs.reader import Run

LAYER_CATALOGUE = (
    Entry(
        "layers_nc1",
        "NC1 by layer",
        r"$\mathrm{Tr}(\Sigma_W\,\Sigma_B^{+})\,/\,C$",
        (Curve("nc1"),),
        log=True,
        per_loss=True,
        by_layer=True,
        reading="NC1 of inner layers in forward order, a line for each of some epochs.",
    ),
    Entry(
        "layers_nc2_maxangle",
        "NC2 by layer: maximal angles",
        r"mean of $|\cos + 1/(C-1)|$",
        (Curve("nc2_maxangle_means"),),
        per_loss=True,
        by_layer=True,
        reading="Angles between the class means of inner layers against the widest possible, a line for "
        "each of some epochs.",
    ),
    Entry(
        "layers_ncc_accuracy",
        "Nearest class mean by layer",
        "accuracy (%)",
        (
            Curve("ncc_accuracy", "train", "solid", factor=100.0),
            Curve("test_ncc_accuracy", "test", "dashed", factor=100.0),
        ),
        per_loss=True,
        by_layer=True,
        reading="Images nearest to their own class mean, layer by layer, a line for each of some epochs.",
    ),
)
_EPOCHS = 5  # lines of one run and curve: more are hard to tell apart
_LETTER = 0.062  # inches, of a tick label
_CAPTION_LETTERS = 64


def has_layers(run: Run) -> bool:
    return run.layers is not None and len(run.layers) > 0


def draw_layers(entry: Entry, loss: str | None, runs: Sequence[Run]) -> Figure | None:
    """The figure of ``entry`` for runs of one loss, networks as rows, data sets as columns; None if empty."""
    epochs = shown_epochs(runs)
    lines = [line for run in runs for line in _lines(entry, run, epochs)]
    if not lines:
        return None
    networks = sorted({run.cell[0] for run in runs}, key=network_order)
    data_sets = sorted({run.cell[1] for run in runs}, key=data_set_order)
    values = np.concatenate([y[np.isfinite(y)] for *_, y in lines])
    low, high = float(values.min()), float(values.max())
    names = _common_names(runs)
    width = {1: 2.7, 2: 2.1}.get(len(data_sets), 1.3)
    x_scales = [
        _depth_scale([run for run in runs if run.cell[1] == data], names, width) for data in data_sets
    ]
    colours = dict(zip(epochs, spectrum_colours()(np.linspace(0.0, 0.9, len(epochs))), strict=True))
    figure, panels = panel_grid(
        [network_name(name) for name in networks],
        [data_set_name(name) for name in data_sets],
        title=entry.title if loss is None else f"{entry.title}, trained with {loss_name(loss)}",
        y_label=entry.y_label,
        x_label="layer" if _fits(names, width) else "depth of the layer",
        caption="; ".join(_captions(entry, names, width)),
        legend=[
            LegendEntry(Line2D([], [], color=colour, linewidth=1.4), f"{'' if i else 'epoch '}{epoch}")
            for i, (epoch, colour) in enumerate(colours.items())
        ],
        x_scales=x_scales,
        y_scales=[log_scale(low, high) if entry.log else linear_scale(min(low, 0.0), high)] * len(data_sets),
    )
    for i, network in enumerate(networks):
        for j, data in enumerate(data_sets):
            here = [line for line in lines if line[0].cell[:2] == (network, data)]
            if not here:
                panels[i][j].set_facecolor("0.965")
                panels[i][j].grid(False)
            crowd = len({id(run) for run, *_ in here})
            for _, curve, epoch, x, y in here:
                _draw(panels[i][j], curve, colours[epoch], x, y, crowd)
    return figure


def shown_epochs(runs: Sequence[Run]) -> list[int]:
    """A few of the measured epochs, about equally far apart on a log scale, first and last included."""
    measured = sorted({int(epoch) for run in runs if run.layers is not None for epoch in run.layers["epoch"]})
    if len(measured) <= _EPOCHS:
        return measured
    logs = np.log(measured)
    targets = np.linspace(logs[0], logs[-1], _EPOCHS)
    return sorted({measured[int(np.abs(logs - target).argmin())] for target in targets})


def _lines(
    entry: Entry, run: Run, epochs: Sequence[int]
) -> Iterator[tuple[Run, Curve, int, FloatArray, FloatArray]]:
    """(run, curve, epoch, depths, values) of each line, what cannot be drawn masked as NaN."""
    for epoch in epochs if run.layers is not None else ():
        assert run.layers is not None
        table = run.layers[run.layers["epoch"] == epoch]
        for curve in entry.curves:
            y = curve.offset + curve.factor * table[curve.column].to_numpy(dtype=np.float64)
            good = np.isfinite(y) & (np.abs(y) < 1e200) & ((y > 1e-200) if entry.log else True)
            if good.any():
                yield run, curve, epoch, table["depth"].to_numpy(np.float64), np.where(good, y, np.nan)


def _draw(panel: Axes, curve: Curve, colour: Any, x: FloatArray, y: FloatArray, crowd: int) -> None:
    panel.add_artist(
        Line2D(
            x,
            y,
            color=colour,
            linestyle=LINE_STYLES[curve.style or "solid"],
            linewidth=1.1 if crowd == 1 else 0.8,
            alpha=1.0 if crowd == 1 else max(0.3, 1.1 / crowd**0.5),
            marker="o",
            markersize=2.2,
            markerfacecolor=colour if curve.style != "dashed" else "white",
            markeredgewidth=0.6,
        )
    )


def _common_names(runs: Sequence[Run]) -> list[str]:
    """The layers' names in forward order, where all runs have the same ones; else nothing."""
    found = {
        tuple(run.layers.sort_values("depth")["layer"].unique()) for run in runs if run.layers is not None
    }
    return [str(name) for name in found.pop()] if len(found) == 1 else []


def _fits(names: Sequence[str], width: float) -> bool:
    """Whether the names stand side by side under a panel of ``width`` inches."""
    return bool(names) and (max(map(len, names)) + 1.5) * _LETTER * len(names) <= width


def _depth_scale(runs: Sequence[Run], names: Sequence[str], width: float) -> Scale:
    deepest = max(int(run.layers["depth"].max()) for run in runs if run.layers is not None)
    stride = -(-deepest // 12)
    ticks = tuple(float(depth) for depth in range(1, deepest + 1, stride))
    fits = _fits(names, width)
    labels = tuple(printable(names[int(t) - 1]) if fits else f"{t:.0f}" for t in ticks)
    margin = 0.45 if fits else 0.04 * max(deepest - 1, 5)
    return Scale(1 - margin, deepest + margin, ticks, labels)


def _captions(entry: Entry, names: Sequence[str], width: float) -> Iterator[str]:
    """What the lines' styles mean, and which layers the numbers under the panels are."""
    if len(entry.curves) > 1:
        yield ", ".join(f"{curve.label} {curve.style}" for curve in entry.curves)
    if not names:
        yield "layers that the run measured, in forward order"
    elif not _fits(names, width):
        whole = ", ".join(f"{depth} {name}" for depth, name in enumerate(names, start=1))
        ends = f"1 {names[0]} … {len(names)} {names[-1]}, in forward order"
        yield printable(whole if len(whole) <= _CAPTION_LETTERS else ends)
