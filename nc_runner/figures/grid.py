"""The panels of a figure and all that surrounds them: titles, axis labels, legend, caption.

Widths are those of print, so that a figure goes into a paper unscaled: one panel is a column wide (3.4 in),
three columns of panels and more are a page wide (7 in). Matplotlib's constrained layout places everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from nc_runner.figures.scales import Scale
from nc_runner.figures.style import GREY
from nc_runner.figures.traces import Trace

DOTS_PER_INCH = 220
_EDGE = 0.06  # inches
_AROUND = 0.85  # inches of height that titles, tick labels and the label of the x axes take
_BESIDE = 0.75  # inches of width that the y axis and the names of rows take
_GAP = 0.13  # inches between two rows
_LETTER = 0.58  # mean width of a letter, in font sizes


@dataclass(frozen=True)
class LegendEntry:
    """A line or marker of the legend. ``label`` is mathtext only where ``math`` says so."""

    artist: Artist
    label: str
    math: bool = False


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The panels of a figure and what surrounds them. Each column of panels has an x scale and a y scale.

    ``panels`` holds the traces of each panel by row and column, None for one that is shaded. A panel that is
    alone is named by its row, ``joint`` and its column.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    panels: Sequence[Sequence[Sequence[Trace] | None]]
    title: str
    x_label: str
    y_label: str
    x_scales: Sequence[Scale]
    y_scales: Sequence[Scale]
    legend: Sequence[LegendEntry]
    caption: str = ""
    joint: str = " on "

    def draw(self) -> Figure:
        """The finished figure."""
        width = {1: 3.4, 2: 5.2}.get(len(self.columns), 7.0 + 1.25 * max(0, len(self.columns) - 5))
        panel_width = (width - _BESIDE) / len(self.columns)
        panel_height = min(max(0.72 * panel_width, 1.0), 1.9 if len(self.rows) == 1 else 1.5)
        height = _AROUND + len(self.rows) * (panel_height + _GAP)

        figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 1)
        above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        box = self._draw_legend(below, width - 2 * _EDGE)
        legend_height = box.get_window_extent().height / figure.dpi + _EDGE
        figure.set_size_inches(width, height + legend_height)
        grid.set_height_ratios([height, legend_height])

        panels = [list(row) for row in above.subplots(len(self.rows), len(self.columns), squeeze=False)]
        y_shared = all(scale == self.y_scales[0] for scale in self.y_scales)
        self._set_scales(panels, y_shared)
        self._write(above, panels, (width, panel_width, panel_height))
        _lay_out(figure, panels, y_shared)
        self._draw_traces(panels)
        return figure

    def _draw_traces(self, panels: Sequence[Sequence[Axes]]) -> None:
        for row, found in zip(panels, self.panels, strict=True):
            for panel, traces, scale in zip(row, found, self.y_scales, strict=True):
                if traces is None:
                    panel.set_facecolor("0.965")
                    panel.grid(False)
                for trace in traces or ():
                    trace.draw(panel, scale)

    def _write(
        self, figure: SubFigure, panels: Sequence[Sequence[Axes]], size: tuple[float, float, float]
    ) -> None:
        """Titles and labels; names from disk are no mathematics, and smaller where they are long."""
        width, panel_width, panel_height = size
        figure.suptitle(self.title, fontsize=_fitting(self.title, width, 9.5), parse_math=False)
        figure.supxlabel(self.x_label, fontsize=8.0)
        figure.supylabel(self.y_label, fontsize=8.0)
        if len(self.rows) == len(self.columns) == 1:
            name = f"{self.rows[0]}{self.joint}{self.columns[0]}"
            panels[0][0].set_title(name, fontsize=_fitting(name, panel_width), parse_math=False)
            return
        for panel, name in zip(panels[0], self.columns, strict=True):
            panel.set_title(name, fontsize=_fitting(name, panel_width), parse_math=False)
        for row, name in zip(panels, self.rows, strict=True):
            row[-1].annotate(
                name,
                (1.0, 0.5),
                xytext=(4.0, 0.0),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=_fitting(name, panel_height),
                rotation=270,
                va="center",
                parse_math=False,
            )

    def _draw_legend(self, figure: SubFigure, width: float) -> Legend:
        """The legend in as few lines as fit ``width`` inches, with the caption above it."""
        for columns in range(len(self.legend), 0, -1):
            box = figure.legend(
                [entry.artist for entry in self.legend],
                [f"\N{ZERO WIDTH SPACE}{entry.label}" for entry in self.legend],
                loc="center",
                ncols=columns,
                frameon=False,
                fontsize=7.5,
                title=self.caption or None,
                title_fontsize=_fitting(self.caption, width, 6.5),
                handlelength=2.2,
                handletextpad=0.5,
                columnspacing=1.4,
                labelspacing=0.35,
                borderaxespad=0.0,
                borderpad=0.0,
            )
            box.get_title().set(color=GREY, parse_math=False)
            for text, entry in zip(box.get_texts(), self.legend, strict=True):
                text.set(text=entry.label, parse_math=entry.math)
            if columns == 1 or box.get_window_extent().width / figure.dpi <= width:
                break
            box.remove()
        return box

    def _set_scales(self, panels: Sequence[Sequence[Axes]], y_shared: bool) -> None:
        for i, row in enumerate(panels):
            for j, panel in enumerate(row):
                _set_scale(panel, self.x_scales[j], self.y_scales[j])
                panel.tick_params(labelbottom=i == len(panels) - 1, labelleft=j == 0 or not y_shared)


def _lay_out(figure: Figure, panels: Sequence[Sequence[Axes]], y_shared: bool) -> None:
    """Place everything, once: as the figure's own engine constrained layout would run for each format.

    Only axes with tick labels are measured, and of equal ones only those of the first column or last row.
    """
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            last = i == len(panels) - 1
            panel.xaxis.set_visible(last)
            panel.yaxis.set_visible(j == 0 or (last and not y_shared))
    ConstrainedLayoutEngine(w_pad=0.055, h_pad=0.055).execute(figure)
    for panel in (panel for row in panels for panel in row):
        panel.xaxis.set_visible(True)
        panel.yaxis.set_visible(True)


def _set_scale(panel: Axes, x: Scale, y: Scale) -> None:
    if x.log:
        panel.set_xscale("log")
    if y.log:
        panel.set_yscale("log")
    panel.set_xlim(x.low if x.log else x.low - 0.02 * (x.high - x.low), x.high)
    panel.set_ylim(y.low if y.log else y.low - 0.03 * (y.high - y.low), y.high)
    for axis, scale in ((panel.xaxis, x), (panel.yaxis, y)):
        axis.set_major_locator(FixedLocator(scale.ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FixedFormatter(scale.labels))


def _fitting(text: str, room: float, size: float = 8.0) -> float:
    """The font size, at most ``size``, in which ``text`` is about as long as ``room`` inches."""
    return min(size, room * 72 / (_LETTER * max(len(text), 1)))
