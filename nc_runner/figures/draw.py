"""Draws all figures and writes them: one file for each figure and format.

The same runs give the same bytes, whatever the user's matplotlib settings.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from nc_runner.figures.base import Cells, RunFigure
from nc_runner.figures.catalogue import CATALOGUE, FLOW_CATALOGUE, LAYER_CATALOGUE, custom_figure
from nc_runner.figures.grid import DOTS_PER_INCH
from nc_runner.figures.seeds import group_seeds
from nc_runner.figures.style import loss_looks, loss_name, loss_order
from nc_runner.figures.wider import spans_decades, wider_figures
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.reader import Run
from nc_runner.runs.tables import write_atomically

_RC_PARAMS: dict[Any, Any] = {  # the keys are a type of matplotlib's
    "font.size": 8.0,
    "axes.titley": 1.0,  # not above tick labels, of which there are none there: finding that out takes time
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # whole letters, not outlines: text can be searched and edited
    "svg.hashsalt": "nc-runner",  # the same runs give the same bytes
    "text.usetex": False,
}

_PARALLEL_FROM = 40  # panels in all; below, starting processes takes longer than it saves


@dataclass(frozen=True)
class Job:
    """A figure to draw in the file ``name``; of one loss's runs where ``loss`` is given."""

    figure: RunFigure
    name: str
    loss: str | None = None

    @property
    def title(self) -> str:
        trained = "" if self.loss is None else f", trained with {loss_name(self.loss)}"
        return self.figure.title + trained

    def draw(self, runs: Sequence[Run]) -> Figure | None:
        """The figure, or None where no run has a value that could be drawn."""
        chosen = [run for run in runs if self.loss in (None, run.cell[2]) and self.figure.shows(run)]
        return self.figure.draw(self.title, chosen, loss_looks(run.cell[2] for run in runs))


def jobs(runs: Sequence[Run]) -> list[Job]:
    """The figures of ``runs``, each with a file name of its own."""
    result: list[Job] = []
    taken: set[str] = set()
    for figure in (*CATALOGUE, *wider_figures(runs), *custom_figures(runs), *LAYER_CATALOGUE):
        losses = {run.cell[2] for run in runs if figure.shows(run)}
        for loss in sorted(losses, key=loss_order) if figure.per_loss else [None]:
            name = figure.name if loss in (None, "mse") else f"{figure.name}_{_file_name(str(loss))}"
            while name.lower() in taken:
                name += "_"
            taken.add(name.lower())
            result.append(Job(figure, name, loss))
    return result


def custom_figures(runs: Sequence[Run]) -> list[RunFigure]:
    """A figure for each custom metric; its scale is logarithmic where positive values span a hundredfold."""
    columns: dict[str, list[float]] = {}
    for run in runs:
        for column in run.custom_columns:
            if column in run.rows:
                columns.setdefault(column, []).extend(run.rows[column].dropna())
    return [
        custom_figure(column, log=spans_decades(np.array(values)))
        for column, values in sorted(columns.items())
    ]


def _file_name(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "+-") else "_" for c in text)[:80]


@dataclass(frozen=True)
class FigureWriter:
    """Writes figures into the folder ``out``. ``pictures``: a folder that also gets each as SVG."""

    runs: Sequence[Run]
    out: Path
    formats: Sequence[str]
    pictures: Path | None = None

    def write(self, job: Job) -> list[Path]:
        """The files of one figure, none where it has no data."""
        return _write_figure(lambda: job.draw(self.runs), job.name, self.out, self.formats, self.pictures)

    def write_in_processes(self, todo: Sequence[Job], workers: int) -> list[list[Path]] | None:
        """The files of each job; None where that failed, or where no processes can be started."""
        try:
            with ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_parent) as pool:
                return list(pool.map(self.write, todo))
        except (OSError, NotImplementedError, BrokenProcessPool):
            return None


def draw_all(
    runs: Sequence[Run], out: Path, formats: Sequence[str], pictures: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Write all figures of ``runs`` into ``out``; return the files, and the names of figures without data.

    Runs that differ only in their seed are drawn as their median and range.
    ``pictures``: a folder that also gets every figure as SVG.

    Raises :class:`OSError` where a file cannot be written.
    """
    runs = group_seeds(runs)
    todo, cells = jobs(runs), Cells(runs)
    writer = FigureWriter(runs, out, formats, pictures)
    panels = len(cells.networks) * len(cells.data_sets) * len(todo)
    workers = min(os.cpu_count() or 1, len(todo)) if panels >= _PARALLEL_FROM else 1
    written = writer.write_in_processes(todo, workers) if workers > 1 else None
    if written is None:
        written = [writer.write(job) for job in todo]
    empty = [job.name for job, files in zip(todo, written, strict=True) if not files]
    return [file for files in written for file in files], empty


def draw_flows(
    flows: Sequence[FlowRun], out: Path, formats: Sequence[str], pictures: Path | None = None
) -> list[Path]:
    """Write all figures of ``flows`` into the folder ``out``. Raises :class:`OSError` if it cannot.

    ``pictures``: a folder that also gets every figure as SVG.
    """
    files: list[Path] = []
    for figure in FLOW_CATALOGUE:
        files += _write_figure(partial(figure.draw, flows), figure.name, out, formats, pictures)
    return files


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_figure(
    draw: Callable[[], Figure | None],
    name: str,
    out: Path,
    formats: Sequence[str],
    pictures: Path | None = None,
) -> list[Path]:
    """Draw a figure and write ``name`` in every format; return the files, none where there is no figure.

    ``pictures``: a folder that also gets the figure as SVG, for the report.
    Raises :class:`OSError` where a file cannot be written.
    """
    files: list[Path] = []
    with matplotlib.rc_context(), warnings.catch_warnings(), _garbage_kept():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the figures
        matplotlib.rcParams.update(_RC_PARAMS)
        # a name may be in a script that the font lacks
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = draw()
        if figure is None:
            return []
        for format in dict.fromkeys((*formats, *(["svg"] if pictures else []))):
            content = io.BytesIO()
            dated = {"pdf": "CreationDate", "svg": "Date"}.get(format)
            figure.savefig(
                content, format=format, dpi=DOTS_PER_INCH, metadata={dated: None} if dated else None
            )
            if pictures and format == "svg":
                (pictures / f"{name}.svg").write_bytes(content.getvalue())
            if format in formats:
                files.append(out / f"{name}.{format}")
                write_atomically(files[-1], content.getvalue())
    return files


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """No garbage collection: a figure's many objects refer to each other, and checking them takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
