"""The limits and ticks of a panel's axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from nc_runner.figures.letters import length_of, points_of
from nc_runner.figures.scales import Scale


def set_limits(axes: Axes, x: Scale, y: Scale) -> None:
    """The limits of a panel, with a little room where an axis is linear."""
    if x.log:
        axes.set_xscale("log")
    if y.log:
        axes.set_yscale("log")
    axes.set_xlim(x.low if x.log else x.low - 0.02 * (x.high - x.low), x.high)
    axes.set_ylim(y.low if y.log else y.low - 0.03 * (y.high - y.low), y.high)


def spaced(scale: Scale, room: float) -> Scale:
    """``scale`` with so few ticks that their labels stand side by side in ``room`` inches; all named ones."""
    if scale.named or fit(scale.labels, room):
        return scale
    steps = (step for step in range(2, len(scale.ticks)) if fit(scale.labels[::step], room))
    step = next(steps, len(scale.ticks))
    return replace(scale, ticks=scale.ticks[::step], labels=scale.labels[::step])


def fit(labels: Sequence[str], room: float) -> bool:
    """Whether the labels of an x axis have ``room`` inches side by side."""
    size = points_of("xtick.labelsize")
    return length_of("".join(f"{label} " for label in labels), size) <= room


def slant(axis: Axis) -> None:
    """Labels that stand aslant: more of them have room, and none is left out."""
    for label in axis.get_ticklabels():
        label.set(rotation=40, ha="right", rotation_mode="anchor")


def set_ticks(axis: Axis, scale: Scale, detailed: bool) -> None:
    """Ticks with labels; ``detailed``: with minor ticks."""
    axis.set_major_locator(FixedLocator(scale.ticks))
    axis.set_minor_locator(FixedLocator(scale.minor) if detailed and scale.minor else NullLocator())
    axis.set_major_formatter(FixedFormatter(scale.labels))
    axis.set_minor_formatter(NullFormatter())  # else matplotlib labels some where a log axis is short


def mark_ticks(axis: Axis, places: Sequence[float]) -> None:
    """Ticks without labels, in place of the axis: one line each for all marks and all grid lines.

    A tick of matplotlib's is five objects: with many panels, they would take most of the time.
    """
    (tick,) = axis.get_major_ticks(1)
    for line, ends in ((tick.gridline, (0, 1)), (tick.tick1line, (0,)), (tick.tick2line, (1,))):
        if line.get_visible():
            along, across = np.repeat(places, len(ends) + 1), [*ends, math.nan] * len(places)
            mark = Line2D([], [])
            mark.update_from(line)
            mark.set_data(*((along, across) if isinstance(axis, XAxis) else (across, along)))
            mark.set(zorder=axis.get_zorder(), in_layout=False)
            axis.axes.add_artist(mark).set_clip_on(line is tick.gridline)
    axis.set_visible(False)
