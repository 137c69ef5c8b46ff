"""Draws the catalogue's figures and writes them: one file for each figure and format."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nc_runner.figures.catalogue import CATALOGUE, Entry, own_entry
from nc_runner.figures.files import write_figure
from nc_runner.figures.grid import LegendEntry, linear_scale, panel_grid
from nc_runner.figures.layers import LAYER_CATALOGUE, draw_layers, has_layers
from nc_runner.figures.panel import (
    BAND_ALPHA,
    END_MARKERS,
    draw_run,
    draw_start,
    end_marker,
    spectrum_colours,
    traces_of,
    y_scale,
)
from nc_runner.figures.seeds import SeedGroup, group_seeds, members
from nc_runner.figures.style import (
    GREY,
    LINE_STYLES,
    TERMINAL_PHASE_DASHES,
    data_set_name,
    data_set_order,
    loss_looks,
    loss_name,
    loss_order,
    network_name,
    network_order,
)
from nc_runner.figures.summary import TERMINAL_ACCURACY, terminal_phase_start
from nc_runner.runs.reader import Run

_MARKER_WORDS = {"o": "still running or interrupted", "X": "diverged or failed"}
_RIDGE_RULES = {"objective": "objective: C·wd/2", "notebook": "notebook: wd/2"}
_PARALLEL_FROM = 40  # panels in all; below, starting processes takes longer than it saves


@dataclass(frozen=True)
class Job:
    """One figure to draw: an entry of the catalogue, of one loss's runs where ``loss`` is given."""

    entry: Entry
    name: str
    loss: str | None = None

    @property
    def title(self) -> str:
        named = "" if self.loss is None else f", trained with {loss_name(self.loss)}"
        return self.entry.title + named


def jobs(runs: Sequence[Run]) -> list[Job]:
    """The figures that ``runs`` ask for, each with a file name of its own."""
    result: list[Job] = []
    taken: set[str] = set()
    for entry in (*CATALOGUE, *own_entries(runs), *LAYER_CATALOGUE):
        losses = {run.cell[2] for run in runs if not entry.by_layer or has_layers(run)}
        for loss in sorted(losses, key=loss_order) if entry.per_loss else [None]:
            name = entry.name if loss in (None, "mse") else f"{entry.name}_{_file_name(str(loss))}"
            while name.lower() in taken:
                name += "_"
            taken.add(name.lower())
            result.append(Job(entry, name, loss))
    return result


def own_entries(runs: Sequence[Run]) -> list[Entry]:
    """A figure for each own metric; on a log scale where its values are positive and span a hundredfold."""
    columns: dict[str, list[float]] = {}
    for run in runs:
        for column in (run.settings.get("analysis") or {}).get("own") or {}:
            if column in run.rows:
                columns.setdefault(column, []).extend(run.rows[column].dropna())
    return [
        own_entry(column, log=bool(values) and 0 < 100 * min(values) < max(values))
        for column, values in sorted(columns.items())
    ]


def _file_name(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "+-") else "_" for c in text)[:80]


def draw_all(
    runs: Sequence[Run], out: Path, formats: Sequence[str], pictures: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Write every figure of ``runs`` into the folder ``out``; return the files, and the figures without data.

    Runs that differ in their seed alone are drawn as their median and range.
    ``pictures``: a folder that gets every figure as SVG besides.

    Raises :class:`OSError` where a file cannot be written.
    """
    runs = group_seeds(runs)
    todo = jobs(runs)
    write = partial(_write, runs=runs, out=out, formats=formats, pictures=pictures)
    networks, data_sets, _ = zip(*(run.cell for run in runs), strict=True)
    panels = len(set(networks)) * len(set(data_sets)) * len(todo)
    workers = min(os.cpu_count() or 1, len(todo)) if panels >= _PARALLEL_FROM else 1
    written = _in_processes(write, todo, workers) if workers > 1 else None
    if written is None:
        written = [write(job) for job in todo]
    empty = [job.name for job, files in zip(todo, written, strict=True) if not files]
    return [file for files in written for file in files], empty


def _in_processes(
    write: Callable[[Job], list[Path]], todo: list[Job], workers: int
) -> list[list[Path]] | None:
    """What ``write`` returns for each job; None where that failed, or where processes are not to be had."""
    try:
        with ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_parent) as pool:
            return list(pool.map(write, todo))
    except (OSError, NotImplementedError, BrokenProcessPool):
        return None


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write(
    job: Job, runs: Sequence[Run], out: Path, formats: Sequence[str], pictures: Path | None = None
) -> list[Path]:
    return write_figure(lambda: draw_figure(job, runs), job.name, out, formats, pictures)


def draw_figure(job: Job, runs: Sequence[Run]) -> Figure | None:
    """One figure, or None where no run has anything that could be drawn in it."""
    chosen = [run for run in runs if job.loss in (None, run.cell[2])]
    if job.entry.by_layer:
        return draw_layers(job.entry, job.loss, [run for run in chosen if has_layers(run)])
    traces = [trace for run in chosen for trace in traces_of(job.entry, run)]
    if not traces:
        return None
    entry = job.entry
    networks = sorted({run.cell[0] for run in chosen}, key=network_order)
    data_sets = sorted({run.cell[1] for run in chosen}, key=data_set_order)
    x_scales = [
        linear_scale(0, max(t.x[-1] for t in traces if t.run.cell[1] == data), whole=True)
        if any(t.run.cell[1] == data for t in traces)
        else linear_scale(0, 1, whole=True)
        for data in data_sets
    ]
    groups = (
        [traces] * len(data_sets)
        if entry.y_shared == "all"
        else [[t for t in traces if t.run.cell[1] == data] or traces for data in data_sets]
    )
    y_scales = [y_scale(entry, group) for group in groups]
    looks = loss_looks(run.cell[2] for run in runs)
    losses = sorted({run.cell[2] for run in chosen}, key=loss_order)
    starts = {id(run): terminal_phase_start(run.rows) for run in chosen}
    figure, panels = panel_grid(
        [network_name(name) for name in networks],
        [data_set_name(name) for name in data_sets],
        title=job.title,
        y_label=entry.y_label,
        x_label="epoch",
        caption=_caption(entry, chosen, starts.values()),
        legend=list(_legend(entry, chosen, looks, any(starts.values()))),
        x_scales=x_scales,
        y_scales=y_scales,
    )
    for i, network in enumerate(networks):
        for j, data in enumerate(data_sets):
            here = [run for run in chosen if run.cell[:2] == (network, data)]
            panel = panels[i][j]
            if not here:
                panel.set_facecolor("0.965")
                panel.grid(False)
            for run in here:
                crowd = sum(other.cell == run.cell for other in here)
                mine = [trace for trace in traces if trace.run is run]
                colour, style = looks[run.cell[2]]
                draw_start(panel, starts[id(run)], colour, crowd, 2.0 * losses.index(run.cell[2]))
                draw_run(panel, entry, mine, (colour, style), crowd, y_scales[j])
    return figure


def _legend(
    entry: Entry, runs: Sequence[Run], looks: Mapping[str, tuple[str, str]], any_start: bool
) -> Iterator[LegendEntry]:
    losses = sorted({run.cell[2] for run in runs}, key=loss_order)
    loss_is_style = len(entry.curves) == 1

    def line(colour: Any, style: Any, alpha: float = 1.0, width: float = 1.4) -> Line2D:
        return Line2D([], [], color=colour, linestyle=style, linewidth=width, alpha=alpha)

    if entry.spectrum:
        colours = spectrum_colours()
        yield LegendEntry(line(colours(0.0), "solid"), r"$\omega_1$, the largest", math=True)
        yield LegendEntry(line(colours(0.9), "solid"), r"$\omega_{C-1}$, the smallest", math=True)
    elif not entry.per_loss:
        for loss in losses:
            colour, style = looks[loss]
            sample = line(colour, LINE_STYLES[style]) if loss_is_style else line(colour, "solid", width=3.0)
            yield LegendEntry(sample, loss_name(loss))
    for curve in entry.curves if not loss_is_style else ():
        style = LINE_STYLES[curve.style or "solid"]
        yield LegendEntry(line(curve.colour or GREY, style, curve.alpha), curve.label, math=True)
    if any_start:
        colour = looks[losses[0]][0] if len(losses) == 1 else GREY
        words = f"terminal phase ({100 * TERMINAL_ACCURACY:g} % correct)"
        yield LegendEntry(line(colour, (0.0, TERMINAL_PHASE_DASHES), width=0.9), words)
    counts = sorted({len(members(run)) for run in runs if isinstance(run, SeedGroup)})
    if counts:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        words = f"median{'' if entry.spectrum else ' and range'} of {seeds} seeds"
        yield LegendEntry(
            Patch(facecolor=GREY, alpha=0.0 if entry.spectrum else BAND_ALPHA, linewidth=0.0), words
        )
    states = {run.state for run in runs}
    for marker, words in _MARKER_WORDS.items():
        if any(END_MARKERS.get(state) == marker for state in states):
            yield LegendEntry(end_marker(marker, GREY, [], []), words)


def _caption(entry: Entry, runs: Sequence[Run], starts: Iterable[int | None]) -> str:
    if entry.advance:
        known = {start is not None for start in starts}
        t0 = "t₀: first epoch of the terminal phase" if True in known else "t₀: the first epoch"
        return f"{t0}{', else the first' if len(known) == 2 else ''}. By the law all are one line"
    return _ridge_caption(runs) if entry.says_ridge else ""


def _ridge_caption(runs: Sequence[Run]) -> str:
    """What the decomposition's ridge is, in words: "ridge λ = 0.0025 (objective: C·wd/2)"."""
    values: dict[str, set[float]] = {}
    for run in runs:
        analysis = run.settings.get("analysis")
        rule = str(analysis.get("ridge")) if isinstance(analysis, dict) else "unknown"
        used = run.rows["ridge"].dropna().unique()
        values.setdefault(_RIDGE_RULES.get(rule, "set by hand"), set()).update(float(v) for v in used)
    parts = []
    for rule, ridges in sorted(values.items()):
        shown = sorted(f"{ridge:.4g}" for ridge in ridges)
        numbers = ", ".join(shown) if len(shown) <= 3 else f"{min(ridges):.4g} to {max(ridges):.4g}"
        parts.append(f"λ = {numbers or 'unknown'} ({rule})")
    return "ridge " + "; ".join(parts)
