"""Runs in, pictures, tables, claims and the report out. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nc_runner.runs.reader import Run

    Source = str | os.PathLike[str] | Run


def plot(
    runs: Source | Iterable[Source],
    figure: str | tuple[str, str],
    *,
    hue: str | None = None,
    x: str | None = None,
    at: str = "end",
    epochs: tuple[float, float] | None = None,
    log_x: bool = False,
    style: str | None = None,
    axes: Axes | None = None,
) -> Figure:
    """One of nc-plot's figures, as matplotlib's ``Figure``.

    Args:
        runs: a run folder, any folder above some, several of them, or runs that were read.
        figure: its name, as ``nc-plot --only`` takes it, such as ``nc1`` or ``overview``; or two columns:
            a point for each run, the first column along x.
        hue: the setting that colours stand for, such as ``weight_decay``.
        x: a setting; the figure then shows values of whole runs against it, not against the epoch.
        at: which epoch's value: ``end``, ``phase`` (the start of the terminal phase), ``min`` or ``max`` of
            all; with ``x``, or two columns.
        epochs: the first and the last epoch that are drawn.
        log_x: epochs on a log axis.
        style: a style sheet: ``column``, ``page``, ``slide``, or a file.
        axes: draw into these, with matplotlib's settings as they are, and return their figure. There must be
            one network and one data set.

    Raises:
        RunFolderError: a path is not a folder, or there is no run that can be read.
        ConfigError: there is no such figure, setting, column or style sheet, or nothing to draw.
    """
    from nc_runner.figures.single import single_figure

    return single_figure(runs, figure, axes, hue=hue, x=x, at=at, epochs=epochs, log_x=log_x, style=style)
