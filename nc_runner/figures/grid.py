"""The panel grid: networks as rows, data sets as columns, titles and axis labels only at the outer panels.

Sizes are in inches of print, so that a figure goes into a paper unscaled: one panel is a column wide
(3.4 in), three columns of panels and more are a page wide (7 in). Each panel gets limits and a few fixed
ticks by hand: with many panels, matplotlib's automatic ticks and layout would take most of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from nc_runner.figures.style import BLACK, GREY

RC_PARAMS: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # whole letters, not outlines: text can be searched and edited
    "svg.hashsalt": "nc-runner",  # the same runs give the same bytes
    "text.usetex": False,
}

_TITLE, _COLUMN_TITLES, _ROW_TITLES, _X_LABELS, _CAPTION, _EDGE = 0.27, 0.19, 0.2, 0.4, 0.17, 0.06
_GAP = 0.13
_LETTER = 0.58  # mean width of a letter, in font sizes
DOTS_PER_INCH = 220
_MOST_DECADES = 12


@dataclass(frozen=True)
class Scale:
    """One axis: its limits, and ticks with their labels. ``log`` for a logarithmic one."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False

    def clamp(self, values: Any, slack: float = 0.0) -> Any:
        """``values`` moved inside the limits, or to at most ``slack`` axis lengths outside them."""
        if self.log:
            reach = (self.high / self.low) ** slack
            return np.clip(values, self.low / reach, self.high * reach)
        reach = (self.high - self.low) * slack
        return np.clip(values, self.low - reach, self.high + reach)


def linear_scale(low: float, high: float, most_ticks: int = 4, whole: bool = False) -> Scale:
    """From ``low`` to a little above ``high``, with at most about ``most_ticks`` ticks at round numbers.

    ``whole``: at whole numbers alone.

    >>> linear_scale(0, 350).labels
    ('0', '100', '200', '300')
    """
    if not high > low:
        high = low + 1.0
    rough = (high - low) / most_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(step * k for k in range(first, math.floor(high / step + 1e-9) + 1))
    return Scale(low, high + 0.03 * (high - low), ticks, tuple(f"{tick:.6g}" for tick in ticks))


def log_scale(low: float, high: float, most_ticks: int = 5) -> Scale:
    """From ``low`` to ``high`` with a margin, ticks at powers of ten; at 1, 2, 5 where the range is short.

    At most twelve decades below ``high`` are shown: what lies deeper is rounding.

    >>> log_scale(1e-4, 1).labels
    ('10⁻⁴', '10⁻³', '10⁻²', '10⁻¹', '1')
    """
    top = math.log10(high)
    bottom = max(math.log10(low), top - _MOST_DECADES)
    margin = 0.04 * max(top - bottom, 0.5)
    top, bottom = top + margin, bottom - margin
    powers = range(math.ceil(bottom), math.floor(top) + 1)
    if len(powers) >= 2:
        stride = math.ceil(len(powers) / most_ticks)
        exponents = [power for power in powers if power % stride == 0]
        ticks, labels = [10.0**e for e in exponents], [_power_of_ten(e) for e in exponents]
    else:
        ticks = [
            digit * 10.0**power
            for power in range(math.floor(bottom), math.ceil(top) + 1)
            for digit in (1, 2, 5)
            if bottom <= math.log10(digit * 10.0**power) <= top
        ] or [10.0 ** ((bottom + top) / 2)]
        labels = [f"{tick:.2g}" for tick in ticks]
    return Scale(10.0**bottom, 10.0**top, tuple(ticks), tuple(labels), log=True)


def _power_of_ten(exponent: int) -> str:
    superscripts = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return {0: "1", 1: "10"}.get(exponent, f"10{superscripts}")


@dataclass(frozen=True)
class LegendEntry:
    """A line or marker of the legend. ``label`` is mathtext only where ``math`` says so."""

    artist: Artist
    label: str
    math: bool = False


def panel_grid(
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    y_label: str,
    x_label: str,
    caption: str,
    legend: Sequence[LegendEntry],
    x_scales: Sequence[Scale],
    y_scales: Sequence[Scale],
    joint: str = " on ",
) -> tuple[Figure, list[list[Axes]]]:
    """A figure and its empty panels, indexed [row][column]. The scales are those of each column.

    A panel that is alone is called by its row, ``joint`` and its column.
    """
    y_shared = all(scale == y_scales[0] for scale in y_scales)
    alone = len(rows) == len(columns) == 1
    widest_tick = max(len(label) for scale in y_scales for label in scale.labels)
    tick_labels = 0.075 + 0.06 * widest_tick
    left, right = 0.24 + tick_labels, _EDGE + (0.0 if alone else _ROW_TITLES)
    gap = _GAP if y_shared else _GAP + tick_labels
    width = {1: 3.4, 2: 5.2}.get(len(columns), 7.0 + 1.25 * max(0, len(columns) - 5))
    panel_width = (width - left - right - gap * (len(columns) - 1)) / len(columns)
    panel_height = min(max(0.72 * panel_width, 1.0), 1.9 if len(rows) == 1 else 1.5)

    figure = Figure(figsize=(width, 1.0), dpi=DOTS_PER_INCH)  # letters' widths depend on the dpi
    FigureCanvasAgg(figure)
    box = _legend(figure, legend, width)
    legend_height = box.get_window_extent().height / figure.dpi
    top = _TITLE + _COLUMN_TITLES
    bottom = _EDGE + legend_height + (_CAPTION if caption else 0.0) + _X_LABELS
    height = top + bottom + panel_height * len(rows) + _GAP * (len(rows) - 1)
    figure.set_size_inches(width, height)
    box.set_bbox_to_anchor((0.5, _EDGE / height), transform=figure.transFigure)

    panels: list[list[Axes]] = []
    for i in range(len(rows)):
        y = bottom + (len(rows) - 1 - i) * (panel_height + _GAP)
        panels.append([])
        for j in range(len(columns)):
            x = left + j * (panel_width + gap)
            axes = figure.add_axes((x / width, y / height, panel_width / width, panel_height / height))
            _set_scales(axes, x_scales[j], y_scales[j], i == len(rows) - 1, j == 0 or not y_shared)
            panels[-1].append(axes)

    def write(x: float, y: float, text: str, room: float, size: float = 8.0, **options: Any) -> None:
        """Centred at (x, y) inches, smaller where it would be longer than ``room``."""
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "color": BLACK,
            "parse_math": False,
        } | options
        size = min(size, room * 72 / (_LETTER * len(text)))
        figure.text(x / width, y / height, text, fontsize=size, **style)

    middle = left + (width - left - right) / 2
    write(width / 2 if alone else middle, height - 0.16, title, width - 0.2, 9.5)
    write(middle, bottom - 0.31, x_label, width)
    write(0.11, bottom + (height - top - bottom) / 2, y_label, math.inf, parse_math=True, rotation=90)
    if caption:
        write(width / 2, _EDGE + legend_height + _CAPTION / 2, caption, width - 0.2, 6.5, color=GREY)
    above = height - _TITLE - _COLUMN_TITLES / 2
    if alone:
        write(middle, above, f"{rows[0]}{joint}{columns[0]}", panel_width)
    else:
        for j, name in enumerate(columns):
            write(left + j * (panel_width + gap) + panel_width / 2, above, name, panel_width)
        for i, name in enumerate(rows):
            y = bottom + (len(rows) - 1 - i) * (panel_height + _GAP) + panel_height / 2
            write(width - _EDGE - 0.08, y, name, panel_height, rotation=270)
    return figure, panels


def _legend(figure: Figure, entries: Sequence[LegendEntry], width: float) -> Legend:
    """The legend at the figure's foot, in as few lines as fit its width."""
    for columns in range(len(entries), 0, -1):
        box = figure.legend(
            [entry.artist for entry in entries],
            [entry.label if entry.math else f"\N{ZERO WIDTH SPACE}{entry.label}" for entry in entries],
            loc="lower center",
            ncols=columns,
            frameon=False,
            fontsize=7.5,
            handlelength=2.2,
            handletextpad=0.5,
            columnspacing=1.4,
            labelspacing=0.35,
            borderaxespad=0.0,
            borderpad=0.1,
        )
        for text, entry in zip(box.get_texts(), entries, strict=True):
            text.set_text(entry.label)
            text.set_parse_math(entry.math)
        if columns == 1 or box.get_window_extent().width / figure.dpi <= width - 2 * _EDGE:
            break
        box.remove()
    return box


def _set_scales(axes: Axes, x: Scale, y: Scale, x_labels: bool, y_labels: bool) -> None:
    if y.log:
        axes.set_yscale("log")
    if x.log:
        axes.set_xscale("log")
    axes.set_xlim(x.low if x.log else x.low - 0.02 * (x.high - x.low), x.high)
    axes.set_ylim(y.low if y.log else y.low - 0.03 * (y.high - y.low), y.high)
    for axis, scale, labelled in ((axes.xaxis, x, x_labels), (axes.yaxis, y, y_labels)):
        axis.set_major_locator(FixedLocator(scale.ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FixedFormatter(scale.labels if labelled else [""] * len(scale.ticks)))
        axis.set_tick_params(pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
