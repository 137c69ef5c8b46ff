"""Traces: the lines of a panel, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.typing import ColorType, LineStyleType

from nc_runner.figures.scales import FloatArray, Scale, linear_scale, log_scale
from nc_runner.figures.style import GREY

BAND_ALPHA = 0.22
_TOGETHER_FROM = 12  # lines of one look
_USUAL_WIDTH = 1.2  # points
_OUTSIDE = 20.0  # axis lengths that a line may leave its panel by: file formats cannot write any number


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A line of a panel: ``y`` (T,) over ``x`` (T,), NaN where it cannot be drawn.

    ``marker`` is drawn at every point, ``end`` at the last one; ``low`` and ``high`` bound an area around the
    line. ``background``: behind the other traces, and without influence on the scale.
    """

    x: FloatArray
    y: FloatArray
    colour: ColorType
    style: LineStyleType = "solid"
    width: float = 1.2
    alpha: float = 1.0
    marker: str = ""
    hollow: bool = False
    size: float = 2.4
    end: str = ""
    low: FloatArray | None = None
    high: FloatArray | None = None
    background: bool = False

    def draw(self, panel: Axes, scale: Scale) -> None:
        """Draw it into ``panel``, whose y axis is ``scale``."""
        if self.low is not None and self.high is not None:
            good = np.isfinite(self.low)
            across = np.concatenate((self.x[good], self.x[good][::-1]))
            up = scale.clamp(np.concatenate((self.low[good], self.high[good][::-1])), _OUTSIDE)
            outline = np.column_stack((across, up))
            panel.add_artist(Polygon(outline, facecolor=self.colour, alpha=BAND_ALPHA, lw=0.0, zorder=1.6))
        line = sample(self.colour, self.style, self.width, self.alpha)
        line.set_data(self.x, scale.clamp(self.y, _OUTSIDE))
        line.set_zorder(1.5 if self.background else 2.0)
        if self.marker:
            face = "white" if self.hollow else self.colour
            line.set(marker=self.marker, markersize=self.size, markerfacecolor=face, markeredgewidth=0.65)
        panel.add_artist(line)
        if self.end:
            last = np.flatnonzero(np.isfinite(self.y))[-1]
            mark = end_sample(self.end, self.colour)
            mark.set_data(self.x[last : last + 1], scale.clamp(self.y[last : last + 1]))
            panel.add_artist(mark)


def draw_traces(panel: Axes, traces: Sequence[Trace], scale: Scale) -> None:
    """Draw all ``traces`` into ``panel``: those of one look at once where they are many, which is faster."""
    alike: dict[tuple[str, float, float, bool], list[Trace]] = {}
    for trace in traces:
        if not (trace.marker or trace.end or trace.low is not None):
            look = (repr(trace.style), trace.width, trace.alpha, trace.background)
            alike.setdefault(look, []).append(trace)
    crowds = [group for group in alike.values() if len(group) >= _TOGETHER_FROM]
    together = {id(trace) for group in crowds for trace in group}
    for trace in traces:
        if id(trace) not in together:
            trace.draw(panel, scale)
    for group in crowds:
        first = group[0]
        panel.add_collection(
            LineCollection(
                [np.column_stack((t.x, scale.clamp(t.y, _OUTSIDE))) for t in group],
                colors=[t.colour for t in group],
                linestyles=[first.style],
                linewidths=first.width * thickness(),
                alpha=first.alpha,
                zorder=1.5 if first.background else 2.0,
            ),
            autolim=False,
        )


def ends_high(traces: Sequence[Trace], scale: Scale) -> bool:
    """Whether lines end in the upper part of a panel, so that its lower right corner is rather free."""
    ends = [t.y[np.isfinite(t.y)][-1] for t in traces if not t.background and np.isfinite(t.y).any()]
    if not ends:
        return False
    low, high, end = scale.low, scale.high, float(np.median(ends))
    place = np.log(end / low) / np.log(high / low) if scale.log else (end - low) / (high - low)
    return bool(place > 0.55)


def thickness() -> float:
    """How much thicker lines are than usual: a style sheet's ``lines.linewidth`` says it."""
    return float(matplotlib.rcParams["lines.linewidth"]) / _USUAL_WIDTH


def sample(
    colour: ColorType, style: LineStyleType = "solid", width: float = 1.4, alpha: float = 1.0
) -> Line2D:
    """A line without data, as in a legend."""
    return Line2D([], [], color=colour, linestyle=style, linewidth=width * thickness(), alpha=alpha)


def band_sample(alpha: float = BAND_ALPHA) -> Patch:
    """An area as in a legend."""
    return Patch(facecolor=GREY, alpha=alpha, linewidth=0.0)


def end_sample(marker: str, colour: ColorType) -> Line2D:
    """A marker without data, as in a legend."""
    hollow = marker == "o"
    face, edge = ("white", colour) if hollow else (colour, "white")
    mark = Line2D([], [], linestyle="none", marker=marker, markersize=4.0, clip_on=False, zorder=3)
    mark.set(markerfacecolor=face, markeredgecolor=edge, markeredgewidth=0.8 if hollow else 0.3)
    return mark


def fitting_scale(traces: Sequence[Trace], log: bool) -> Scale:
    """The y axis that shows all ``traces`` except those of the background."""
    drawn = [t for t in traces if not t.background and np.isfinite(t.y).any()]
    low = min(float(np.nanmin(t.y if t.low is None else t.low)) for t in drawn)
    high = max(float(np.nanmax(t.y if t.high is None else t.high)) for t in drawn)
    return log_scale(low, high) if log else linear_scale(min(low, 0.0), high)


def thinness(crowd: int) -> tuple[float, float]:
    """(line width, alpha) of a run that shares its panel and loss with others, ``crowd`` in all."""
    return (1.2, 1.0) if crowd == 1 else (0.8, max(0.3, 1.1 / crowd**0.5))
