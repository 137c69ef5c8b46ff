"""What stands in one panel: the lines of its runs, their ends, and where the terminal phase starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from nc_runner.columns import snr_columns
from nc_runner.figures.advance import FloatArray, phi_advance
from nc_runner.figures.catalogue import Curve, Entry
from nc_runner.figures.grid import Scale, linear_scale, log_scale
from nc_runner.figures.seeds import members
from nc_runner.figures.style import LINE_STYLES, TERMINAL_PHASE_DASHES
from nc_runner.figures.summary import terminal_phase_start
from nc_runner.runs.reader import Run
from nc_runner.runs.record import DIVERGED, FAILED, INTERRUPTED, RUNNING

END_MARKERS = {
    RUNNING: "o",
    INTERRUPTED: "o",
    DIVERGED: "X",
    FAILED: "X",
}
_TINY, _HUGE = 1e-200, 1e200  # what lies outside is as good as zero or infinity, and breaks axes
BAND_ALPHA = 0.22
_OUTSIDE = 20.0  # axis lengths that a line may leave its panel by: file formats cannot write any number


@dataclass(frozen=True)
class Trace:
    """One line to draw: a curve of a run or of a group of seeds. What its scale cannot show is NaN."""

    run: Run
    curve: Curve
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None  # the range of a group of seeds, whose median is y
    high: FloatArray | None = None

    @property
    def end(self) -> tuple[float, float]:
        """The last point that can be drawn."""
        last = np.flatnonzero(np.isfinite(self.y))[-1]
        return float(self.x[last]), float(self.y[last])


def traces_of(entry: Entry, run: Run) -> Iterator[Trace]:
    """The lines of a run; of a group of seeds those of the median, with their range."""
    single = [_drawable(entry, member) for member in members(run)]
    x = sorted(set.intersection(*(set(xs) for xs, _ in single)))
    for curve in single[0][1]:
        if not all(curve in curves for _, curves in single):
            continue
        values = np.stack([curves[curve][np.isin(xs, x)] for xs, curves in single])
        good = np.isfinite(values).all(axis=0)
        if not good.any():
            continue
        low, middle, high = (
            np.where(good, over(np.where(good, values, 0.0), axis=0), np.nan)
            for over in (np.min, np.median, np.max)
        )
        banded = len(single) > 1 and not entry.spectrum
        yield Trace(run, curve, np.asarray(x), middle, *((low, high) if banded else (None, None)))


def _drawable(entry: Entry, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
    """A single run's epochs, and each curve's values there, NaN where they cannot be drawn."""
    curves: Iterable[Curve] = entry.curves
    if entry.spectrum:
        curves = (Curve(column) for column in snr_columns(run.num_classes))
    x = run.rows["epoch"].to_numpy(dtype=np.float64)
    if entry.advance:
        x, advance = phi_advance(run.rows, run.num_classes, terminal_phase_start(run.rows))
    result = {}
    for j, curve in enumerate(curves):
        if curve.column not in run.rows:
            continue
        values = advance[:, j] if entry.advance else run.rows[curve.column].to_numpy(dtype=np.float64)
        y = curve.offset + curve.factor * values
        size = np.abs(y)
        good = (size < _HUGE) & ((y > _TINY) if entry.log else np.isfinite(y))
        result[curve] = np.where(good, y, np.nan)
    return x, result


def y_scale(entry: Entry, traces: Sequence[Trace]) -> Scale:
    """Limits around all lines; around those of runs that did not diverge, where there are any."""
    calm = [t for t in traces if t.run.state != DIVERGED] or traces
    low = min(float(np.nanmin(t.y if t.low is None else t.low)) for t in calm)
    high = max(float(np.nanmax(t.y if t.high is None else t.high)) for t in calm)
    return log_scale(low, high) if entry.log else linear_scale(min(low, 0.0), high)


def spectrum_colours() -> Colormap:
    return matplotlib.colormaps["viridis"]


def _thinness(crowd: int) -> tuple[float, float]:
    """(line width, alpha) of a run that shares its panel and loss with others, ``crowd`` in all."""
    return (1.2, 1.0) if crowd == 1 else (0.8, max(0.3, 1.1 / crowd**0.5))


def draw_start(panel: Axes, start: int | None, colour: str, crowd: int, phase: float) -> None:
    """``phase`` shifts the dashes, so that the lines of two losses at one epoch both show."""
    if start is not None:
        width, alpha = _thinness(crowd)
        line = Line2D(
            [start, start],
            [0, 1],
            color=colour,
            linewidth=0.75 * width,
            linestyle=(phase, TERMINAL_PHASE_DASHES),
            alpha=0.8 * alpha,
            transform=panel.get_xaxis_transform(),
            zorder=1.5,
        )
        panel.add_artist(line)


def draw_run(
    panel: Axes, entry: Entry, traces: Sequence[Trace], look: tuple[str, str], crowd: int, scale: Scale
) -> None:
    width, alpha = _thinness(crowd)
    colours: list[Any] = [trace.curve.colour or look[0] for trace in traces]
    if entry.spectrum and traces:
        colours = list(spectrum_colours()(np.linspace(0.0, 0.9, len(traces))))
        segments = [np.column_stack((t.x, scale.clamp(t.y, _OUTSIDE)))[np.isfinite(t.y)] for t in traces]
        lines = LineCollection(segments, colors=colours, linewidths=0.7 * width, alpha=alpha, zorder=2)
        panel.add_collection(lines, autolim=False)
    for i, trace in enumerate(traces):
        if trace.low is not None and trace.high is not None:
            panel.add_artist(_band(trace.x, trace.low, trace.high, colours[i], scale))
        if not entry.spectrum:
            line = Line2D(
                trace.x,
                scale.clamp(trace.y, _OUTSIDE),
                color=colours[i],
                linestyle=LINE_STYLES[trace.curve.style or look[1]],
                linewidth=width,
                alpha=alpha * trace.curve.alpha,
            )
            panel.add_artist(line)
        marker = END_MARKERS.get(trace.run.state)
        if marker is None and np.isfinite(trace.y).sum() == 1:
            marker = "."  # a line of one point would be invisible
        if marker is not None and (not entry.spectrum or i in (0, len(traces) - 1)):
            x, y = trace.end
            panel.add_artist(end_marker(marker, colours[i], [x], [scale.clamp(y)]))


def _band(x: FloatArray, low: FloatArray, high: FloatArray, colour: Any, scale: Scale) -> Polygon:
    """What lies between ``low`` and ``high``, as an area."""
    good = np.isfinite(low)
    across = np.concatenate((x[good], x[good][::-1]))
    up = np.concatenate((low[good], high[good][::-1]))
    outline = np.column_stack((across, scale.clamp(up, _OUTSIDE)))
    return Polygon(outline, closed=True, facecolor=colour, alpha=BAND_ALPHA, linewidth=0.0, zorder=1.6)


def end_marker(marker: str, colour: Any, x: list[float], y: list[float]) -> Line2D:
    return Line2D(
        x,
        y,
        linestyle="none",
        marker=marker,
        markersize=4.0,
        markeredgewidth=0.8 if marker == "o" else 0.3,
        markeredgecolor=colour if marker == "o" else "white",
        markerfacecolor="white" if marker == "o" else colour,
        clip_on=False,
        zorder=3,
    )
