"""The panels of a figure and all that surrounds them: titles, axis labels, legend, caption.

Sizes and fonts are those of matplotlib's settings while it is drawn. Matplotlib's constrained layout places
everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend

from nc_runner.figures.colour_bar import ColourBar, draw_bar, draw_bar_beside
from nc_runner.figures.letters import LEAST_SIZE, fitting, points_of, wrapped
from nc_runner.figures.scales import Scale
from nc_runner.figures.style import GREY
from nc_runner.figures.ticks import fit, mark_ticks, set_limits, set_ticks, slant, spaced
from nc_runner.figures.traces import Trace, draw_traces, ends_high

_EDGE = 0.06  # inches
_AROUND = 0.85  # inches of height that titles, tick labels and the label of the x axes take
_BESIDE = 0.75  # inches of width that the y axis and the names of rows take
_GAP = 0.13  # inches between two rows
_BAR = 0.5  # inches of height that a scale of colours takes
_LEAST_APART = 2.2  # inches of width of a panel that has a title and an axis of its own
_ROOM_APART = 0.84  # of that width, which the title may take
_OWN_TEXTS = 0.3  # inches that the title and tick labels of a panel take, where each has some
_MOST_DETAILED = 4  # panels: with more, all those ticks would take most of the time


@dataclass(frozen=True)
class LegendEntry:
    """A line or marker of the legend. ``label`` is mathtext only where ``math`` says so."""

    artist: Artist
    label: str
    math: bool = False


def joined(*parts: str) -> str:
    """The parts of a caption that say something."""
    return "; ".join(filter(None, parts))


@dataclass(frozen=True)
class Panel:
    """One pair of axes; ``name`` stands inside, in a corner.

    ``title`` and ``y_label`` are those of a panel that has some of its own.
    """

    traces: Sequence[Trace]
    x: Scale
    y: Scale
    name: str = ""
    title: str = ""
    y_label: str = ""

    @property
    def shaded(self) -> bool:
        """Whether there is nothing to show."""
        return all(trace.background for trace in self.traces)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The panels of a figure by row and column, and what surrounds them.

    A panel that is alone is named by its row, ``joint`` and its column.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    panels: Sequence[Sequence[Panel]]
    title: str
    x_label: str
    y_label: str
    legend: Sequence[LegendEntry]
    caption: str = ""
    joint: str = " on "
    bar: ColourBar | None = None

    @property
    def apart(self) -> bool:
        """Whether each panel has a title and a y axis of its own."""
        return any(panel.title for row in self.panels for panel in row)

    def draw(self) -> Figure:
        """The finished figure."""
        width, panel_width, panel_height = self._size()
        around = _AROUND + (_BAR if self.bar else 0.0)
        height = around + len(self.rows) * (panel_height + (_OWN_TEXTS if self.apart else _GAP))

        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 1)
        above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        legend_height = 0.01
        if self.legend or self.caption:
            box = self._draw_legend(below, width - 2 * _EDGE)
            legend_height = box.get_window_extent().height / figure.dpi + _EDGE
        figure.set_size_inches(width, height + legend_height)
        grid.set_height_ratios([height, legend_height])

        axes = [list(row) for row in above.subplots(len(self.rows), len(self.columns), squeeze=False)]
        self._set_scales(axes, panel_width)
        self._write(above, axes, (width, panel_width, panel_height))
        if self.bar is not None:
            draw_bar(above, list(chain(*axes)), self.bar)
        self._lay_out(figure, axes)
        for row, panels in zip(axes, self.panels, strict=True):
            for one, panel in zip(row, panels, strict=True):
                _draw_traces(one, panel)
        return figure

    def draw_into(self, axes: Axes) -> None:
        """Draw the only panel into ``axes`` that somebody else made, with legend and scale of colours.

        Raises ValueError where there are several panels.
        """
        if len(self.rows) != 1 or len(self.columns) != 1:
            raise ValueError(f"{len(self.rows)} x {len(self.columns)} panels do not go into one pair of axes")
        panel = self.panels[0][0]
        set_limits(axes, panel.x, panel.y)
        set_ticks(axes.xaxis, panel.x, detailed=True)
        set_ticks(axes.yaxis, panel.y, detailed=True)
        axes.set(xlabel=self.x_label, ylabel=self.y_label)
        axes.set_title(self.title, parse_math=False)
        _draw_traces(axes, panel)
        size = max(LEAST_SIZE, points_of("legend.fontsize") - 0.5)
        look = {"framealpha": 0.75, "edgecolor": "none", "handlelength": 1.8, "labelspacing": 0.2}
        if self.legend:
            _legend(axes, self.legend, fontsize=size, borderpad=0.2, **look)
        if self.bar is not None:
            draw_bar_beside(axes, self.bar)

    def _size(self) -> tuple[float, float, float]:
        """Width of the figure, width and height of a panel, in inches.

        A style sheet's ``figure.figsize`` is the size of a figure with one row of panels; where it is 1 by
        1, one panel is a column wide (3.4 in), three columns and more a page (7 in): unscaled in a paper.
        """
        columns, given = len(self.columns), matplotlib.rcParams["figure.figsize"]
        if tuple(given) == (1.0, 1.0):
            width = {1: 3.4, 2: 5.2}.get(columns, 7.0 + 1.25 * max(0, columns - 5))
            panel_width = (width - _BESIDE) / columns
            most = 1.9 if len(self.rows) == 1 else 1.5
            return width, panel_width, min(max(0.72 * panel_width, 1.0), most)
        width = max(given[0], _LEAST_APART * columns) if self.apart else given[0]
        high = given[1] - _AROUND - 0.3  # the legend's two lines
        return width, (width - _BESIDE) / columns, max(1.0, high / (len(self.rows) if self.apart else 1))

    def _write(
        self, figure: SubFigure, axes: Sequence[Sequence[Axes]], room: tuple[float, float, float]
    ) -> None:
        """Titles and labels; names from disk are no mathematics, and smaller where they are long."""
        width, panel_width, panel_height = room
        text, points = fitting(self.title, width, points_of("figure.titlesize"))
        figure.suptitle(text, fontsize=points, parse_math=False)
        size = points_of("figure.labelsize")
        if self.bar is None:
            figure.supxlabel(self.x_label, fontsize=size)
        else:  # the scale of colours stands between the panels and a common label
            for one in axes[-1]:
                one.set_xlabel(self.x_label, fontsize=size, labelpad=1.5)
        figure.supylabel(self.y_label, fontsize=size)
        size_of_names = points_of("axes.titlesize")
        if self.apart:
            panels = list(chain(*self.panels))
            titles = [fitting(panel.title, _ROOM_APART * panel_width, size_of_names) for panel in panels]
            least = min(points for _, points in titles)
            for one, panel, (text, _) in zip(chain(*axes), panels, titles, strict=True):
                one.set_title(text, fontsize=least, parse_math=False)
                letters = re.sub(r"\\[A-Za-z]+|[{}$^_\\]", "", panel.y_label)  # without commands of mathtext
                _, points = fitting(letters, panel_height, size_of_names - 1)
                one.set_ylabel(panel.y_label, fontsize=max(LEAST_SIZE, points), labelpad=1.5)
            return
        alone = len(self.rows) == len(self.columns) == 1
        names = [self.joint.join(filter(None, (*self.rows, *self.columns)))] if alone else self.columns
        for one, name in zip(axes[0], names, strict=True):
            text, points = fitting(name, panel_width, size_of_names)
            one.set_title(text, fontsize=points, parse_math=False)
        for row, name in () if alone else zip(axes, self.rows, strict=True):
            text, points = fitting(name, panel_height, size_of_names)
            row[-1].annotate(
                text,
                (1.0, 0.5),
                xytext=(4.0, 0.0),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=points,
                rotation=270,
                va="center",
                parse_math=False,
            )

    def _draw_legend(self, figure: SubFigure, width: float) -> Legend:
        """The legend in as few lines as fit ``width`` inches, with the caption above it."""
        points = points_of("legend.title_fontsize")
        caption = wrapped(self.caption, width, points)
        for columns in range(max(1, len(self.legend)), 0, -1):
            box = _legend(
                figure,
                self.legend,
                loc="center",
                ncols=columns,
                frameon=False,
                title=caption or None,
                title_fontsize=points,
                handlelength=2.2,
                handletextpad=0.5,
                columnspacing=1.4,
                labelspacing=0.35,
                borderaxespad=0.0,
                borderpad=0.0,
            )
            box.get_title().set(color=GREY, parse_math=False)
            if columns == 1 or box.get_window_extent().width / figure.dpi <= width:
                break
            box.remove()
        return box

    def _set_scales(self, axes: Sequence[Sequence[Axes]], panel_width: float) -> None:
        panels, last = list(chain(*self.panels)), len(self.rows) - 1
        detailed, shared = len(panels) <= _MOST_DETAILED, self._y_shared
        for i, (row, found) in enumerate(zip(axes, self.panels, strict=True)):
            for j, (one, panel) in enumerate(zip(row, found, strict=True)):
                if panel.shaded:
                    one.set_facecolor("0.965")
                    one.grid(False)
                x = spaced(panel.x, panel_width)
                set_limits(one, x, panel.y)
                one.tick_params(labelbottom=i == last, labelleft=j == 0 or not shared)
                for axis, scale, labelled in (
                    (one.xaxis, x, i == last),
                    (one.yaxis, panel.y, j == 0 or not shared),
                ):
                    if labelled or detailed:
                        set_ticks(axis, scale, detailed)
                    else:
                        mark_ticks(axis, scale.ticks)
                if i == last and not fit(x.labels, panel_width):
                    slant(one.xaxis)

    @property
    def _y_shared(self) -> bool:
        panels = list(chain(*self.panels))
        return not self.apart and all(panel.y == panels[0].y for panel in panels)

    def _lay_out(self, figure: Figure, axes: Sequence[Sequence[Axes]]) -> None:
        """Place everything, once: as the figure's own engine constrained layout would run for each format.

        Only axes with tick labels are measured, and of equal ones only those of the first column or last row.
        """
        unmeasured: list[Axis] = [one.xaxis for row in axes[:-1] for one in row]
        if not self.apart:
            rows = axes if self._y_shared else axes[:-1]
            unmeasured += [one.yaxis for row in rows for one in row[1:]]
        hidden = [axis for axis in unmeasured if axis.get_visible()]
        for axis in hidden:
            axis.set_visible(False)
        ConstrainedLayoutEngine(w_pad=0.055, h_pad=0.055).execute(figure)
        for axis in hidden:
            axis.set_visible(True)


def _draw_traces(axes: Axes, panel: Panel) -> None:
    draw_traces(axes, panel.traces, panel.y)
    if panel.name:
        high = ends_high(panel.traces, panel.y)
        axes.text(
            0.97, 0.05 if high else 0.95, panel.name, fontsize=LEAST_SIZE, color=GREY, parse_math=False,
            ha="right", va="bottom" if high else "top", transform=axes.transAxes,
        )  # fmt: skip


def _legend(owner: Axes | SubFigure, entries: Sequence[LegendEntry], **look: Any) -> Legend:
    """A legend. Labels are mathematics only where they say so; a leading underscore hides none."""
    box: Legend = owner.legend(
        [entry.artist for entry in entries],
        [f"\N{ZERO WIDTH SPACE}{entry.label}" for entry in entries],
        **look,
    )
    for text, entry in zip(box.get_texts(), entries, strict=True):
        text.set(text=entry.label, parse_math=entry.math)
    return box
