"""The figures of ``nc-flow``: flows as rows, laws as columns, time in units of n C^2.

In these units, and with the spectrum in units of sqrt(C), the closed form is the same for all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nc_runner.figures.advance import FloatArray
from nc_runner.figures.catalogue import Curve
from nc_runner.figures.files import write_figure
from nc_runner.figures.grid import LegendEntry, Scale, linear_scale, log_scale, panel_grid
from nc_runner.figures.panel import spectrum_colours
from nc_runner.figures.style import BLACK, BLUE, GREEN, GREY, LINE_STYLES, PURPLE, VERMILION
from nc_runner.runs.flows import FlowRun, exact_columns, simulated_columns

LAW_NAMES = {"projected": "projected gradient", "raw": "raw gradient"}
EXPONENTS = {"projected": 0.25, "raw": 0.5}
_MOST_POINTS, _MOST_SERIES = 24, 12  # simulated points of a line; lines that have points
_TINY = 1e-14  # what lies below is rounding


@dataclass(frozen=True)
class FlowEntry:
    """One figure. ``of_spectrum`` makes what is drawn from (times, omega (T, J)); else ``curves`` are drawn.

    ``guide`` is the limit for late times: (times in units of n C^2, C, law) to values. ``reading`` says
    below the figure in the report what it shows.
    """

    name: str
    title: str
    y_label: str
    log: bool
    of_spectrum: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]] | None = None
    guide: Callable[[FloatArray, int, str], FloatArray] | None = None
    guide_label: str = ""
    curves: tuple[Curve, ...] = ()
    caption: str = ""
    reading: str = ""


def _same(times: FloatArray, omega: FloatArray) -> tuple[FloatArray, FloatArray]:
    return times, omega


def _ratios(times: FloatArray, omega: FloatArray) -> tuple[FloatArray, FloatArray]:
    return times, omega / omega[:, :1]


def _exponents(times: FloatArray, omega: FloatArray) -> tuple[FloatArray, FloatArray]:
    """d log omega / d log t by differences, between the times."""
    steps = np.diff(np.log(times))[:, None]
    return np.sqrt(times[1:] * times[:-1]), np.diff(np.log(omega), axis=0) / steps


def _asymptote(times: FloatArray, num_classes: int, law: str) -> FloatArray:
    """omega = (4 t/n)^(1/4) or (2 t/(n C))^(1/2), from where it exceeds sqrt(C) on."""
    exponent = EXPONENTS[law]
    omega = num_classes**0.5 * (times / exponent) ** exponent
    return np.where(times >= exponent, omega, np.nan)


CATALOGUE = (
    FlowEntry(
        "flow_spectrum",
        "SNR spectrum along the flow",
        r"$\omega_j$ of $\Sigma_W^{-1/2}\dot{M}$",
        log=True,
        of_spectrum=_same,
        guide=_asymptote,
        guide_label=r"limit for late times",
        reading="The spectrum grows along the flow; simulated points lie on the closed form.",
    ),
    FlowEntry(
        "flow_ratios",
        "SNR spectrum against its largest value",
        r"$\omega_j\,/\,\omega_1$",
        log=False,
        of_spectrum=_ratios,
        reading="Ratios to the largest value tend to 1: the class means tend to a simplex.",
    ),
    FlowEntry(
        "flow_exponents",
        "Local exponents of the SNR spectrum",
        r"$\mathrm{d}\,\log\,\omega_j\,/\,\mathrm{d}\,\log\,t$",
        log=False,
        of_spectrum=_exponents,
        guide=lambda times, num_classes, law: np.full_like(times, EXPONENTS[law]),
        guide_label="1/4, raw: 1/2",
        reading="How fast each value grows: its power of time tends to 1/4, along the raw flow to 1/2.",
    ),
    FlowEntry(
        "flow_losses",
        "Least-squares loss along the flow",
        r"$L_{\mathrm{LS}}$ and its terms",
        log=True,
        curves=(
            Curve("mse_ls", r"$L_{\mathrm{LS}}$", "solid", BLACK),
            Curve("mse_nc1", r"$L_{\mathrm{NC1}}$", "dashed", VERMILION),
            Curve("mse_nc23", r"$L_{\mathrm{NC2/3}}$", "dashdot", GREEN),
        ),
        reading="The loss of the least-squares classifier and its two terms fall along the flow.",
    ),
    FlowEntry(
        "flow_collapse",
        "Neural Collapse along the flow",
        "measures of collapse",
        log=True,
        curves=(
            Curve("nc1", "NC1", "solid", VERMILION),
            Curve("nc2_equinorm_means", "NC2 norms", "dashed", BLUE),
            Curve("nc2_equiangular_means", "NC2 angles", "dotted", BLUE),
            Curve("nc3_self_duality", "NC3", "dashdot", GREEN),
            Curve("nc4_ncc_mismatch", "NC4 (share)", "dashed", PURPLE),
        ),
        caption="measured on the simulated features; a line ends where its measure is 0",
        reading="The measures of Neural Collapse on the simulated features tend to 0.",
    ),
)


def draw_flows(
    flows: Sequence[FlowRun], out: Path, formats: Sequence[str], pictures: Path | None = None
) -> list[Path]:
    """Write all figures of ``flows`` into the folder ``out``. Raises :class:`OSError` if it cannot.

    ``pictures``: a folder that gets every figure as SVG besides.
    """
    files: list[Path] = []
    for entry in CATALOGUE:
        draw: Callable[[], Figure | None] = partial(draw_flow, entry, flows)
        files += write_figure(draw, entry.name, out, formats, pictures)
    return files


def draw_flow(entry: FlowEntry, flows: Sequence[FlowRun]) -> Figure | None:
    """One figure, or None where nothing in it could be drawn."""
    flows = sorted(flows, key=lambda flow: (flow.sizes, flow.settings["seed"], str(flow.folder)))
    laws = [law for law in LAW_NAMES if any(law in flow.laws for flow in flows)]
    series = {(i, law): _series(entry, flow, law) for i, flow in enumerate(flows) for law in flow.laws}
    values = np.concatenate([y[np.isfinite(y)] for found in series.values() for _, y in found.exact])
    if not len(values):
        return None
    times = np.concatenate([x for found in series.values() for x, _ in found.exact])
    high = float(values.max())
    y_scale = log_scale(float(values.min()), high) if entry.log else linear_scale(0.0, high)
    x_scale = log_scale(float(times.min()), float(times.max()))
    figure, panels = panel_grid(
        _names(flows),
        [LAW_NAMES[law] for law in laws],
        title=entry.title,
        y_label=entry.y_label,
        x_label="time / (n C²)",
        caption=entry.caption,
        legend=list(_legend(entry)),
        x_scales=[x_scale] * len(laws),
        y_scales=[y_scale] * len(laws),
        joint=", ",
    )
    for i, flow in enumerate(flows):
        for j, law in enumerate(laws):
            if (i, law) in series:
                _draw_panel(panels[i][j], entry, series[i, law], y_scale)
                if entry.guide is not None:
                    x = np.geomspace(x_scale.low, x_scale.high, 200)
                    y = entry.guide(x, flow.sizes[0], law)
                    panels[i][j].add_artist(
                        Line2D(x, y, color=GREY, linestyle=LINE_STYLES["dotted"], linewidth=1.0, zorder=1.5)
                    )
            else:
                panels[i][j].set_facecolor("0.965")
                panels[i][j].grid(False)
    return figure


@dataclass(frozen=True)
class _Series:
    """What a panel shows: (x, y) of each line, and of the simulated points, in the order of the lines."""

    exact: list[tuple[FloatArray, FloatArray]]
    simulated: list[tuple[FloatArray, FloatArray]]


def _series(entry: FlowEntry, flow: FlowRun, law: str) -> _Series:
    rows = flow.of_law(law)
    num_classes, dim, samples = flow.sizes
    times = rows["time"].to_numpy(dtype=np.float64) / (samples * num_classes**2)

    def visible(y: FloatArray) -> FloatArray:
        return np.where(np.isfinite(y) & ((y > _TINY) | (not entry.log)), y, np.nan)

    if entry.of_spectrum is None:
        return _Series(
            [(times, visible(rows[c.column].to_numpy(dtype=np.float64))) for c in entry.curves], []
        )
    count = min(num_classes - 1, dim)
    found = []
    for names in (exact_columns(count), simulated_columns(count)):
        x, y = entry.of_spectrum(times, rows[list(names)].to_numpy(dtype=np.float64))
        found.append([(x, visible(y[:, j])) for j in range(count)])
    return _Series(*found)


def _draw_panel(panel: Axes, entry: FlowEntry, series: _Series, scale: Scale) -> None:
    if entry.of_spectrum is None:
        for curve, (x, y) in zip(entry.curves, series.exact, strict=True):
            style = LINE_STYLES[curve.style or "solid"]
            panel.add_artist(Line2D(x, scale.clamp(y, 1.0), color=curve.colour, linestyle=style))
        return
    count = len(series.exact)
    colours = spectrum_colours()(np.linspace(0.0, 0.9, count))
    segments = [np.column_stack((x, scale.clamp(y, 1.0)))[np.isfinite(y)] for x, y in series.exact]
    panel.add_collection(LineCollection(segments, colors=colours, linewidths=0.9, zorder=2), autolim=False)
    for j in range(0, count, math.ceil(count / _MOST_SERIES)):
        x, y = series.simulated[j]
        stride = math.ceil(len(x) / _MOST_POINTS)
        panel.add_artist(_points(x[::stride], y[::stride], colours[j]))


def _points(x: Any, y: Any, colour: Any) -> Line2D:
    return Line2D(
        x,
        y,
        linestyle="none",
        marker="o",
        markersize=2.6,
        markerfacecolor="white",
        markeredgecolor=colour,
        markeredgewidth=0.7,
        zorder=3,
    )


def _names(flows: Sequence[FlowRun]) -> list[str]:
    """The sizes; where two flows share them, with what tells them apart."""
    names = ["C = {}, P = {}, n = {}".format(*flow.sizes) for flow in flows]
    if len(set(names)) < len(names):
        names = [f"{name}, seed {flow.settings['seed']}" for name, flow in zip(names, flows, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({flow.folder.name[-8:]})" for name, flow in zip(names, flows, strict=True)]
    return names


def _legend(entry: FlowEntry) -> Iterator[LegendEntry]:
    if entry.of_spectrum is None:
        for curve in entry.curves:
            style = LINE_STYLES[curve.style or "solid"]
            yield LegendEntry(Line2D([], [], color=curve.colour, linestyle=style), curve.label, math=True)
        return
    colours = spectrum_colours()
    yield LegendEntry(Line2D([], [], color=colours(0.0)), r"$\omega_1$", math=True)
    yield LegendEntry(Line2D([], [], color=colours(0.9)), r"smallest $\omega_j$", math=True)
    yield LegendEntry(Line2D([], [], color=GREY), "closed form")
    yield LegendEntry(_points([], [], GREY), "simulated")
    if entry.guide is not None:
        guide = Line2D([], [], color=GREY, linestyle=LINE_STYLES["dotted"])
        yield LegendEntry(guide, entry.guide_label, math=True)
