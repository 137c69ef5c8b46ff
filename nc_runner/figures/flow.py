"""Figures of ``nc-flow``: flows as rows, laws as columns, time in units of n C^2.

In these units, and with the spectrum in units of sqrt(C), the closed form is the same for all sizes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nc_runner.figures.base import Curve, PanelFigure
from nc_runner.figures.curves import curve_legend
from nc_runner.figures.grid import Frame, LegendEntry, Panel
from nc_runner.figures.looks import ordered_colour
from nc_runner.figures.scales import FloatArray, drawable, log_scale
from nc_runner.figures.style import BLACK, GREY, LINE_STYLES
from nc_runner.figures.traces import Trace, fitting_scale, sample
from nc_runner.runs.flows import LAWS, FlowRun, exact_columns, simulated_columns

if TYPE_CHECKING:
    import pandas as pd

LAW_NAMES = {"projected": "projected gradient", "raw": "raw gradient"}
EXPONENTS = {"projected": 0.25, "raw": 0.5}
_MOST_POINTS, _MOST_SERIES = 24, 12  # simulated points of a line; lines that have points
_TINY = 1e-14  # values below are rounding errors

Line = tuple[FloatArray, FloatArray]  # times (T,) and values (T, J)


@dataclass(frozen=True, kw_only=True)
class FlowFigure(PanelFigure):
    """A figure of flows."""

    caption: str = ""

    @abstractmethod
    def traces(self, flow: FlowRun, law: str) -> Iterator[Trace]:
        """The lines and points of one panel."""

    @abstractmethod
    def legend(self) -> Iterator[LegendEntry]:
        """What colours, styles and markers mean."""

    def frame(self, flows: Sequence[FlowRun]) -> Frame | None:
        """What is drawn, or None where no value could be drawn."""
        flows = sorted(flows, key=lambda flow: (flow.sizes, flow.seed, str(flow.folder)))
        laws = [law for law in LAWS if any(law in flow.laws for flow in flows)]
        found = [[list(self.traces(flow, law)) if law in flow.laws else [] for law in laws] for flow in flows]
        traces = [trace for row in found for lines in row for trace in lines if not trace.background]
        if not any(np.isfinite(trace.y).any() for trace in traces):
            return None
        first, last = (over([float(over(trace.x)) for trace in traces]) for over in (min, max))
        x, y = log_scale(first, last), fitting_scale(traces, self.log)
        return Frame(
            rows=_names(flows),
            columns=[LAW_NAMES[law] for law in laws],
            panels=[[Panel(lines, x, y) for lines in row] for row in found],
            title=self.title,
            x_label="time / (n C²)",
            y_label=self.y_label,
            legend=list(self.legend()),
            caption=self.caption,
            joint=", ",
        )


@dataclass(frozen=True, kw_only=True)
class FlowCurves(FlowFigure):
    """Measures of the simulated features."""

    curves: tuple[Curve, ...]

    def traces(self, flow: FlowRun, law: str) -> Iterator[Trace]:
        rows = flow.of_law(law)
        for curve in self.curves:
            y = drawable(rows[curve.column].to_numpy(np.float64), self.log, _TINY)
            style = LINE_STYLES[curve.style or "solid"]
            yield Trace(x=_times(flow, rows), y=y, colour=curve.colour or BLACK, style=style)

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

    def traces(self, flow: FlowRun, law: str) -> Iterator[Trace]:
        rows, count = flow.of_law(law), flow.spectrum_length
        times = _times(flow, rows)
        exact, simulated = (
            self.of_spectrum(times, rows[list(names)].to_numpy(np.float64))
            for names in (exact_columns(count), simulated_columns(count))
        )
        colours = [ordered_colour(place) for place in np.linspace(0.0, 1.0, count)]
        if self.guide is not None:
            x = np.geomspace(times[0] / 10, 10 * times[-1], 200)  # beyond the edges of the panel
            y = self.guide(x, flow.num_classes, law)
            yield Trace(x=x, y=y, colour=GREY, style=LINE_STYLES["dotted"], width=1.0, background=True)
        for colour, y in zip(colours, exact[1].T, strict=True):
            yield Trace(x=exact[0], y=drawable(y, self.log, _TINY), colour=colour, width=0.9)
        rarely = math.ceil(len(simulated[0]) / _MOST_POINTS)
        for j in range(0, count, math.ceil(count / _MOST_SERIES)):
            x, y = simulated[0][::rarely], drawable(simulated[1][::rarely, j], self.log, _TINY)
            yield Trace(x=x, y=y, colour=colours[j], style="none", marker="o", hollow=True)

    def legend(self) -> Iterator[LegendEntry]:
        yield LegendEntry(sample(ordered_colour(0.0)), r"$\omega_1$", math=True)
        yield LegendEntry(sample(ordered_colour(1.0)), r"smallest $\omega_j$", math=True)
        yield LegendEntry(sample(GREY), "closed form")
        points = sample(GREY, "none")
        points.set(marker="o", markersize=2.6, markerfacecolor="white", markeredgewidth=0.7)
        yield LegendEntry(points, "simulated")
        if self.guide is not None:
            yield LegendEntry(sample(GREY, LINE_STYLES["dotted"]), self.guide_label)


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


def _names(flows: Sequence[FlowRun]) -> list[str]:
    """The sizes; where two flows share them, also the seed, or else the folder."""
    names = ["C = {}, P = {}, n = {}".format(*flow.sizes) for flow in flows]
    if len(set(names)) < len(names):
        names = [f"{name}, seed {flow.seed}" for name, flow in zip(names, flows, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({flow.folder.name[-8:]})" for name, flow in zip(names, flows, strict=True)]
    return names
