"""Figures of ``nc-flow``: flows as rows, laws as columns, time in units of n C^2.

In these units, and with the spectrum in units of sqrt(C), the closed form is the same for all sizes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from nc_runner.figures.base import Curve, spectrum_colours
from nc_runner.figures.curves import curve_legend
from nc_runner.figures.grid import Frame, LegendEntry, blank
from nc_runner.figures.scales import FloatArray, Scale, drawable, linear_scale, log_scale
from nc_runner.figures.style import GREY, LINE_STYLES
from nc_runner.runs.flows import LAWS, FlowRun, exact_columns, simulated_columns

if TYPE_CHECKING:
    import pandas as pd

LAW_NAMES = {"projected": "projected gradient", "raw": "raw gradient"}
EXPONENTS = {"projected": 0.25, "raw": 0.5}
_MOST_POINTS, _MOST_SERIES = 24, 12  # simulated points of a line; lines that have points
_TINY = 1e-14  # values below are rounding errors

Line = tuple[FloatArray, FloatArray]  # x and y


@dataclass(frozen=True)
class _Shown:
    """What a panel shows: lines, and simulated points in the order of the lines."""

    lines: list[Line]
    points: list[Line]


@dataclass(frozen=True, kw_only=True)
class FlowFigure(ABC):
    """A figure of flows in files called ``name``; ``reading`` explains it in the report."""

    name: str
    title: str
    y_label: str
    log: bool = False
    caption: str = ""
    reading: str = ""

    @abstractmethod
    def shown(self, flow: FlowRun, law: str) -> _Shown:
        """The lines and points of one panel."""

    @abstractmethod
    def draw_panel(self, panel: Axes, shown: _Shown, scale: Scale) -> None:
        """Draw them."""

    @abstractmethod
    def legend(self) -> Iterator[LegendEntry]:
        """What colours, styles and markers mean."""

    def draw_guide(self, panel: Axes, flow: FlowRun, law: str) -> None:
        """Draw the limit for late times, where there is one."""
        return

    def draw(self, flows: Sequence[FlowRun]) -> Figure | None:
        """The figure, or None where no value could be drawn."""
        flows = sorted(flows, key=lambda flow: (flow.sizes, flow.seed, str(flow.folder)))
        laws = [law for law in LAWS if any(law in flow.laws for flow in flows)]
        shown = {(flow.folder, law): self.shown(flow, law) for flow in flows for law in flow.laws}
        lines = [line for one in shown.values() for line in one.lines]
        values = np.concatenate([y[np.isfinite(y)] for _, y in lines])
        if not len(values):
            return None
        low, high = float(values.min()), float(values.max())
        y_scale = log_scale(low, high) if self.log else linear_scale(0.0, high)
        x_scale = log_scale(float(min(x.min() for x, _ in lines)), float(max(x.max() for x, _ in lines)))
        frame = Frame(
            _names(flows),
            [LAW_NAMES[law] for law in laws],
            title=self.title,
            x_label="time / (n C²)",
            y_label=self.y_label,
            x_scales=[x_scale] * len(laws),
            y_scales=[y_scale] * len(laws),
            legend=list(self.legend()),
            caption=self.caption,
            joint=", ",
        )
        figure, panels = frame.draw()
        for flow, row in zip(flows, panels, strict=True):
            for law, panel in zip(laws, row, strict=True):
                if (flow.folder, law) in shown:
                    self.draw_panel(panel, shown[flow.folder, law], y_scale)
                    self.draw_guide(panel, flow, law)
                else:
                    blank(panel)
        return figure

    def visible(self, values: FloatArray) -> FloatArray:
        """``values``, with NaN for what the axis cannot show and for rounding errors."""
        return drawable(values, self.log, _TINY)


@dataclass(frozen=True, kw_only=True)
class FlowCurves(FlowFigure):
    """Measures of the simulated features."""

    curves: tuple[Curve, ...]

    def shown(self, flow: FlowRun, law: str) -> _Shown:
        rows = flow.of_law(law)
        x = _times(flow, rows)
        return _Shown([(x, self.visible(rows[c.column].to_numpy(np.float64))) for c in self.curves], [])

    def draw_panel(self, panel: Axes, shown: _Shown, scale: Scale) -> None:
        for curve, (x, y) in zip(self.curves, shown.lines, strict=True):
            style = LINE_STYLES[curve.style or "solid"]
            panel.add_artist(Line2D(x, scale.clamp(y, 1.0), color=curve.colour, linestyle=style))

    def legend(self) -> Iterator[LegendEntry]:
        return curve_legend(self.curves)


@dataclass(frozen=True, kw_only=True)
class FlowSpectrum(FlowFigure):
    """The spectrum: the closed form as lines, the simulation as points.

    ``of_spectrum`` makes what is drawn from (times, omega (T, J)). ``guide`` is the limit for late times:
    (times in units of n C^2, C, law) to values.
    """

    of_spectrum: Callable[[FloatArray, FloatArray], Line]
    guide: Callable[[FloatArray, int, str], FloatArray] | None = None
    guide_label: str = ""

    def shown(self, flow: FlowRun, law: str) -> _Shown:
        rows = flow.of_law(law)
        found = []
        for names in (exact_columns(flow.spectrum_length), simulated_columns(flow.spectrum_length)):
            x, y = self.of_spectrum(_times(flow, rows), rows[list(names)].to_numpy(np.float64))
            found.append([(x, self.visible(column)) for column in y.T])
        return _Shown(*found)

    def draw_panel(self, panel: Axes, shown: _Shown, scale: Scale) -> None:
        count = len(shown.lines)
        colours = spectrum_colours()(np.linspace(0.0, 0.9, count))
        segments = [np.column_stack((x, scale.clamp(y, 1.0)))[np.isfinite(y)] for x, y in shown.lines]
        lines = LineCollection(segments, colors=colours, linewidths=0.9, zorder=2)
        panel.add_collection(lines, autolim=False)
        for j in range(0, count, math.ceil(count / _MOST_SERIES)):
            x, y = shown.points[j]
            stride = math.ceil(len(x) / _MOST_POINTS)
            panel.add_artist(_points(x[::stride], y[::stride], colours[j]))

    def draw_guide(self, panel: Axes, flow: FlowRun, law: str) -> None:
        if self.guide is not None:
            x = np.geomspace(*panel.get_xlim(), 200)
            y = self.guide(x, flow.num_classes, law)
            dotted = LINE_STYLES["dotted"]
            panel.add_artist(Line2D(x, y, color=GREY, linestyle=dotted, linewidth=1.0, zorder=1.5))

    def legend(self) -> Iterator[LegendEntry]:
        colours = spectrum_colours()
        yield LegendEntry(Line2D([], [], color=colours(0.0)), r"$\omega_1$", math=True)
        yield LegendEntry(Line2D([], [], color=colours(0.9)), r"smallest $\omega_j$", math=True)
        yield LegendEntry(Line2D([], [], color=GREY), "closed form")
        yield LegendEntry(_points([], [], GREY), "simulated")
        if self.guide is not None:
            guide = Line2D([], [], color=GREY, linestyle=LINE_STYLES["dotted"])
            yield LegendEntry(guide, self.guide_label)


def same(times: FloatArray, omega: FloatArray) -> Line:
    """The spectrum itself."""
    return times, omega


def ratios(times: FloatArray, omega: FloatArray) -> Line:
    """omega_j / omega_1."""
    return times, omega / omega[:, :1]


def exponents(times: FloatArray, omega: FloatArray) -> Line:
    """d log omega / d log t by differences, between the times."""
    steps = np.diff(np.log(times))[:, None]
    return np.sqrt(times[1:] * times[:-1]), np.diff(np.log(omega), axis=0) / steps


def asymptote(times: FloatArray, num_classes: int, law: str) -> FloatArray:
    """omega = (4 t/n)^(1/4) or (2 t/(n C))^(1/2), where it exceeds sqrt(C)."""
    exponent = EXPONENTS[law]
    omega = num_classes**0.5 * (times / exponent) ** exponent
    return np.where(times >= exponent, omega, np.nan)


def limit_exponent(times: FloatArray, num_classes: int, law: str) -> FloatArray:
    """1/4, along the raw flow 1/2."""
    return np.full_like(times, EXPONENTS[law])


def _times(flow: FlowRun, rows: pd.DataFrame) -> FloatArray:
    """In units of n C^2."""
    num_classes, _, samples = flow.sizes
    times: FloatArray = rows["time"].to_numpy(np.float64) / (samples * num_classes**2)
    return times


def _points(x: FloatArray | list[float], y: FloatArray | list[float], colour: ColorType) -> Line2D:
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
    """The sizes; where two flows share them, also the seed, or else the folder."""
    names = ["C = {}, P = {}, n = {}".format(*flow.sizes) for flow in flows]
    if len(set(names)) < len(names):
        names = [f"{name}, seed {flow.seed}" for name, flow in zip(names, flows, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({flow.folder.name[-8:]})" for name, flow in zip(names, flows, strict=True)]
    return names
