"""Figures against the epoch: lines of each run, their range over seeds, their ends, terminal phase."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.typing import ColorType

from nc_runner.figures.base import Cells, Curve, RunFigure, thinness
from nc_runner.figures.grid import Frame, LegendEntry
from nc_runner.figures.scales import FloatArray, Scale, drawable, linear_scale, log_scale
from nc_runner.figures.seeds import SeedGroup, members
from nc_runner.figures.style import GREY, TERMINAL_PHASE_DASHES, LossLook, loss_order
from nc_runner.figures.summary import TERMINAL_ACCURACY, terminal_phase_start
from nc_runner.runs.reader import Run
from nc_runner.runs.record import DIVERGED, FAILED, INTERRUPTED, RUNNING

_END_MARKERS = {RUNNING: "o", INTERRUPTED: "o", DIVERGED: "X", FAILED: "X"}
_MARKER_WORDS = {"o": "running or interrupted", "X": "diverged or failed"}
_BAND_ALPHA = 0.22
_OUTSIDE = 20.0  # axis lengths that a line may leave its panel by: file formats cannot write any number


@dataclass(frozen=True)
class Trace:
    """A line to draw: a curve of a run or of a group of seeds; NaN where it cannot be drawn.

    ``low`` and ``high``: the range of a group of seeds, whose median is ``y``.
    """

    run: Run
    curve: Curve
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None

    @property
    def end(self) -> tuple[float, float]:
        """The last point that can be drawn."""
        last = np.flatnonzero(np.isfinite(self.y))[-1]
        return float(self.x[last]), float(self.y[last])


@dataclass(frozen=True)
class Look:
    """How the lines of a run look in their panel: the loss's colour and style, line width, opacity."""

    colour: str
    style: str
    width: float
    alpha: float


@dataclass(frozen=True, kw_only=True)
class EpochFigure(RunFigure):
    """A figure against the epoch. ``y_shared``: all panels have one y axis, or those of each data set.

    ``banded``: the range of a group of seeds is drawn, not its median alone.
    """

    y_shared: Literal["all", "data set"] = "all"
    banded: ClassVar[bool] = True

    @abstractmethod
    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        """A single run's epochs, and the values of each of its lines at them."""

    @abstractmethod
    def draw_run(self, panel: Axes, traces: Sequence[Trace], look: Look, scale: Scale) -> None:
        """Draw the lines of one run."""

    @abstractmethod
    def colour_legend(self, losses: Sequence[str], looks: Mapping[str, LossLook]) -> Iterator[LegendEntry]:
        """What colours and line styles mean."""

    def caption(self, runs: Sequence[Run]) -> str:
        """A line below the panels."""
        return ""

    def draw(self, title: str, runs: Sequence[Run], looks: Mapping[str, LossLook]) -> Figure | None:
        found = {run: list(self.traces(run)) for run in runs}
        traces = [trace for lines in found.values() for trace in lines]
        if not traces:
            return None
        cells = Cells(runs)
        losses = sorted({run.cell[2] for run in runs}, key=loss_order)
        by_data_set = [[t for t in traces if t.run.cell[1] == name] for name in cells.data_sets]
        y_scales = [
            self._y_scale(traces if self.y_shared == "all" else mine or traces) for mine in by_data_set
        ]
        frame = Frame(
            cells.rows,
            cells.columns,
            title=title,
            x_label="epoch",
            y_label=self.y_label,
            x_scales=[
                linear_scale(0, max((t.x[-1] for t in mine), default=1), whole=True) for mine in by_data_set
            ],
            y_scales=y_scales,
            legend=[*self.colour_legend(losses, looks), *self._common_legend(runs, losses, looks)],
            caption=self.caption(runs),
        )
        figure, panels = frame.draw()
        for panel, j, here in cells.fill(panels):
            for run in here:
                colour, style = looks[run.cell[2]]
                look = Look(colour, style, *thinness(sum(other.cell == run.cell for other in here)))
                _draw_start(panel, run, look, 2.0 * losses.index(run.cell[2]))
                self.draw_run(panel, found[run], look, y_scales[j])
        return figure

    def traces(self, run: Run) -> Iterator[Trace]:
        """The lines of a run; of a group of seeds the median with its range, where all seeds have a value."""
        single = [self.values(member) for member in members(run)]
        x = sorted(set.intersection(*(set(epochs) for epochs, _ in single)))
        for curve in single[0][1]:
            if not all(curve in lines for _, lines in single):
                continue
            raw = np.stack([lines[curve][np.isin(epochs, x)] for epochs, lines in single])
            values = drawable(raw, self.log)
            good = np.isfinite(values).all(axis=0)
            if not good.any():
                continue
            low, middle, high = (
                np.where(good, over(np.where(good, values, 0.0), axis=0), np.nan)
                for over in (np.min, np.median, np.max)
            )
            band = (low, high) if self.banded and len(single) > 1 else (None, None)
            yield Trace(run, curve, np.asarray(x), middle, *band)

    def _y_scale(self, traces: Sequence[Trace]) -> Scale:
        """Limits around all lines; around those of runs that did not diverge, where there are any."""
        calm = [t for t in traces if t.run.state != DIVERGED] or traces
        low = min(float(np.nanmin(t.y if t.low is None else t.low)) for t in calm)
        high = max(float(np.nanmax(t.y if t.high is None else t.high)) for t in calm)
        return log_scale(low, high) if self.log else linear_scale(min(low, 0.0), high)

    def _common_legend(
        self, runs: Sequence[Run], losses: Sequence[str], looks: Mapping[str, LossLook]
    ) -> Iterator[LegendEntry]:
        """The terminal phase, seeds, and ends of runs, where there are any."""
        if any(terminal_phase_start(run.rows) is not None for run in runs):
            colour = looks[losses[0]][0] if len(losses) == 1 else GREY
            line = Line2D([], [], color=colour, linestyle=(0.0, TERMINAL_PHASE_DASHES), linewidth=0.9)
            yield LegendEntry(line, f"terminal phase ({100 * TERMINAL_ACCURACY:g} % correct)")
        counts = sorted({len(run.members) for run in runs if isinstance(run, SeedGroup)})
        if counts:
            seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            band = Patch(facecolor=GREY, alpha=_BAND_ALPHA if self.banded else 0.0, linewidth=0.0)
            yield LegendEntry(band, f"median{' and range' * self.banded} of {seeds} seeds")
        markers = {_END_MARKERS.get(run.state) for run in runs}
        for marker, words in _MARKER_WORDS.items():
            if marker in markers:
                yield LegendEntry(_end_marker(marker, GREY, [], []), words)


def inside(values: FloatArray, scale: Scale) -> FloatArray:
    """``values`` at most a few axis lengths outside the panel."""
    return scale.clamp(values, _OUTSIDE)


def draw_band(panel: Axes, trace: Trace, colour: ColorType, scale: Scale) -> None:
    """Fill the range of a group of seeds."""
    if trace.low is None or trace.high is None:
        return
    good = np.isfinite(trace.low)
    across = np.concatenate((trace.x[good], trace.x[good][::-1]))
    up = np.concatenate((trace.low[good], trace.high[good][::-1]))
    outline = np.column_stack((across, inside(up, scale)))
    panel.add_artist(Polygon(outline, facecolor=colour, alpha=_BAND_ALPHA, linewidth=0.0, zorder=1.6))


def draw_end(panel: Axes, trace: Trace, colour: ColorType, scale: Scale) -> None:
    """Mark the end of a run that is not complete; a line of one point is a dot."""
    marker = _END_MARKERS.get(trace.run.state)
    if marker is None and np.isfinite(trace.y).sum() == 1:
        marker = "."
    if marker is not None:
        x, y = trace.end
        panel.add_artist(_end_marker(marker, colour, [x], [float(scale.clamp(np.array(y)))]))


def _draw_start(panel: Axes, run: Run, look: Look, phase: float) -> None:
    """``phase`` shifts the dashes, so that the lines of two losses at one epoch both show."""
    start = terminal_phase_start(run.rows)
    if start is not None:
        line = Line2D(
            [start, start],
            [0, 1],
            color=look.colour,
            linewidth=0.75 * look.width,
            linestyle=(phase, TERMINAL_PHASE_DASHES),
            alpha=0.8 * look.alpha,
            transform=panel.get_xaxis_transform(),
            zorder=1.5,
        )
        panel.add_artist(line)


def _end_marker(marker: str, colour: ColorType, x: list[float], y: list[float]) -> Line2D:
    hollow = marker == "o"
    return Line2D(
        x,
        y,
        linestyle="none",
        marker=marker,
        markersize=4.0,
        markeredgewidth=0.8 if hollow else 0.3,
        markeredgecolor=colour if hollow else "white",
        markerfacecolor="white" if hollow else colour,
        clip_on=False,
        zorder=3,
    )
