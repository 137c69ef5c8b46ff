"""A scale of colours for a number, where the colours are too many for a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import SubFigure

from nc_runner.figures.letters import points_of
from nc_runner.figures.looks import ordered_colour
from nc_runner.figures.scales import Scale


@dataclass(frozen=True)
class ColourBar:
    """A scale of colours for a number called ``label``, from ``low`` to ``high``; ``scale`` has the ticks."""

    label: str
    low: float
    high: float
    scale: Scale


def draw_bar(figure: SubFigure, axes: Sequence[Axes], bar: ColourBar) -> None:
    """The scale of colours below all panels, which matplotlib's constrained layout gives room."""
    drawn = figure.colorbar(_colours(bar), ax=list(axes), location="bottom", shrink=0.6, aspect=45, pad=0.02)
    _set_ticks(drawn, bar)
    drawn.ax.set_title(bar.label, fontsize=points_of("legend.fontsize"), pad=2.0, parse_math=False)


def draw_bar_beside(axes: Axes, bar: ColourBar) -> None:
    """The scale of colours to the right of one panel, whatever its figure's layout."""
    drawn = axes.figure.colorbar(_colours(bar), ax=axes)
    _set_ticks(drawn, bar)
    drawn.ax.set_title(bar.label, fontsize=points_of("legend.fontsize"), parse_math=False)


def _colours(bar: ColourBar) -> ScalarMappable:
    colours = ListedColormap([ordered_colour(place) for place in np.linspace(0.0, 1.0, 128)])
    return ScalarMappable((LogNorm if bar.scale.log else Normalize)(bar.low, bar.high), colours)


def _set_ticks(drawn: Colorbar, bar: ColourBar) -> None:
    ticks = dict(zip(bar.scale.ticks, bar.scale.labels, strict=True))
    shown = {tick: label for tick, label in ticks.items() if bar.low <= tick <= bar.high}
    drawn.minorticks_off()
    drawn.set_ticks(list(shown), labels=list(shown.values()))
    drawn.outline.set_linewidth(0.4)
