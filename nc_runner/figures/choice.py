"""Which figures of runs are drawn, and how: what a user chose, as a list of figures with file names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nc_runner.columns import metric_columns
from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError
from nc_runner.figures.against import AT, AgainstFigure, ScatterFigure
from nc_runner.figures.base import Curve, RunFigure, View
from nc_runner.figures.catalogue import (
    CATALOGUE,
    FLOW_CATALOGUE,
    LAYER_CATALOGUE,
    OVERVIEW,
    custom_figure,
)
from nc_runner.figures.curves import CurveFigure
from nc_runner.figures.grid import Frame
from nc_runner.figures.hue import SEED, Hue
from nc_runner.figures.overview import overviews
from nc_runner.figures.seeds import group_seeds
from nc_runner.figures.style import loss_name, loss_order
from nc_runner.figures.summary import summarise
from nc_runner.figures.wider import spans_decades, wider_figures
from nc_runner.runs.reader import Run

_MOST_OVERVIEWS = 4  # with more networks and data sets they are drawn only where they are asked for


@dataclass(frozen=True)
class Choice:
    """What a user chose: see ``nc-plot --help``.

    ``only``: names of figures. ``hue``, ``x``: settings. ``at``: one of :data:`nc_runner.figures.against.AT`.
    ``xy``: two columns. ``first``, ``last``: epochs. ``sheet``: settings of matplotlib's.
    """

    only: tuple[str, ...] = ()
    hue: str | None = None
    x: str | None = None
    at: str = "end"
    xy: tuple[str, str] | None = None
    first: float = 0
    last: float = math.inf
    log_x: bool = False
    sheet: dict[Any, Any] = field(default_factory=dict)


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

    def frame(self, runs: Sequence[Run], view: View) -> Frame | None:
        """What is drawn, or None where no run has a value that could be drawn."""
        cells = view.hue.cell_of
        chosen = [run for run in runs if self.loss in (None, cells[run][2]) and self.figure.shows(run)]
        return self.figure.frame(self.title, chosen, view)


@dataclass(frozen=True)
class Plan:
    """The figures that a choice means for some runs, and all that they are drawn from.

    ``undrawn``: named figures of which these runs have none, flows' included.
    """

    runs: Sequence[Run]
    jobs: Sequence[Job]
    view: View
    sheet: dict[Any, Any]
    undrawn: Sequence[str] = ()


def plan(runs: Sequence[Run], choice: Choice | None = None) -> Plan:
    """The figures of ``runs``, each with a file name of its own.

    Runs that differ only in their seed are drawn as their median and range, unless colours stand for seeds.
    Must be called, and the plan drawn, while matplotlib has the settings of :func:`sheets.drawing`.

    Raises ConfigError for a figure, setting or column that there is not.
    """
    choice = choice or Choice()
    if choice.at not in AT:
        raise ConfigError(f"at={choice.at} is unknown{nearest(choice.at, tuple(AT))}\ngive {', '.join(AT)}")
    over_runs = choice.x is not None or choice.xy is not None
    varying_seed = choice.hue == SEED
    grouped = list(runs) if over_runs or varying_seed else group_seeds(runs)
    hue = Hue(grouped, choice.hue, besides=choice.x)
    _check_names(choice, runs)
    if choice.xy is not None:
        figures: list[RunFigure] = [_scatter(choice.xy, choice.at, runs)]
    else:
        figures = [figure for figure in _figures(grouped, choice) if _wanted(figure.name, choice.only)]
        if choice.x is not None:
            figures = list(_against(figures, choice, hue))
    view = View(hue, choice.first, choice.last, choice.log_x)
    jobs = _jobs(figures, grouped, hue)
    made = [_source(job.figure) for job in jobs]
    undrawn = [name for name in choice.only if not any(_wanted(one, (name,)) for one in made)]
    return Plan(grouped, jobs, view, choice.sheet, undrawn)


def known_names(runs: Sequence[Run]) -> list[str]:
    """The names that ``--only`` takes, for these runs."""
    figures = (*CATALOGUE, *wider_figures(runs), *custom_figures(runs), *LAYER_CATALOGUE, *FLOW_CATALOGUE)
    return ["overview", *(figure.name for figure in figures)]


def custom_figures(runs: Sequence[Run]) -> list[CurveFigure]:
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


def _figures(runs: Sequence[Run], choice: Choice) -> Iterator[RunFigure]:
    if choice.x is None:
        pages = overviews(runs, OVERVIEW)
        if len(pages) <= _MOST_OVERVIEWS or "overview" in choice.only:
            yield from pages
    yield from (*CATALOGUE, *wider_figures(runs), *custom_figures(runs), *LAYER_CATALOGUE)


def _wanted(name: str, only: Sequence[str]) -> bool:
    return not only or name in only or ("overview" in only and name.startswith("overview_"))


def _source(figure: RunFigure) -> str:
    """The name by which a figure is asked for."""
    return figure.source.name if isinstance(figure, AgainstFigure) else figure.name


def _check_names(choice: Choice, runs: Sequence[Run]) -> None:
    known = known_names(runs)
    for name in choice.only:
        if name not in known:
            raise ConfigError(
                f"there is no figure {name}{nearest(name, known)}\nfigures of these runs: {', '.join(known)}"
            )


def _jobs(figures: Sequence[RunFigure], runs: Sequence[Run], hue: Hue) -> list[Job]:
    result: list[Job] = []
    taken: set[str] = set()
    for figure in figures:
        losses = {hue.cell_of[run][2] for run in runs if figure.shows(run)}
        for loss in sorted(losses, key=loss_order) if figure.separate(hue) else [None]:
            name = figure.name if loss in (None, "mse") else f"{figure.name}_{_file_name(str(loss))}"
            while name.lower() in taken:
                name += "_"
            taken.add(name.lower())
            result.append(Job(figure, _file_name(name), loss))
    return result


def _against(figures: Sequence[RunFigure], choice: Choice, hue: Hue) -> Iterator[RunFigure]:
    key = hue.varying.find(str(choice.x))
    heading = hue.varying.heading(key)
    for figure in figures:
        if isinstance(figure, CurveFigure):
            yield AgainstFigure(
                name=f"{figure.name}_against_{heading}",
                title=f"{figure.title}, {AT[choice.at]}",
                y_label=figure.y_label,
                reading=f"{figure.reading} Here against {heading}: {AT[choice.at]}.",
                log=figure.log,
                source=figure,
                key=key,
                at=choice.at,
            )


def _scatter(columns: tuple[str, str], at: str, runs: Sequence[Run]) -> ScatterFigure:
    (x, x_label, x_log), (y, y_label, y_log) = (_axis(column, at, runs) for column in columns)
    return ScatterFigure(
        name=f"{columns[1]}_against_{columns[0]}",
        title=f"{columns[1]} against {columns[0]}, {AT[at]}",
        y_label=y_label,
        reading=f"A point for each run: {columns[1]} against {columns[0]}, {AT[at]}.",
        log=y_log,
        x=x,
        y=y,
        x_label=x_label,
        x_log=x_log,
        at=at,
    )


def _axis(column: str, at: str, runs: Sequence[Run]) -> tuple[Curve, str, bool]:
    """How a column is drawn as an axis: as in its own figure where it has one; whether with a log scale."""
    if column == "lr":  # not the setting: a schedule has changed it
        return Curve(column), "lr of the epoch", True
    if column.endswith("_accuracy"):
        return Curve(column, factor=100.0), f"{column.replace('_', ' ')} (%)", False
    for figure in (*CATALOGUE, *wider_figures(runs)):
        for curve in getattr(figure, "curves", ()):
            if curve.column == column and not curve.over:
                name = (
                    f"{curve.label} {figure.y_label}"
                    if curve.label and not figure.per_loss
                    else figure.y_label
                )
                return curve, f"{column}: {name}" if figure.per_loss else name, figure.log
    rows = [run for run in runs if column in run.rows]
    values = [run.rows[column].to_numpy(np.float64)[-1] for run in rows if len(run.rows)]
    if not rows:
        if at != "end":
            raise ConfigError(f"{column} is no column of metrics.csv: at={at} has no meaning for it")
        found = [summarise(run) for run in runs]
        values = [float(v) for line in found if isinstance(v := line.get(column), (int, float))]
        if not any(column in line for line in found) or not values:
            known = list(dict.fromkeys((*metric_columns(2), *(key for line in found for key in line))))
            raise ConfigError(
                f"no run has a column {column} with numbers{nearest(column, known)}\n"
                "give a column of metrics.csv or summary.csv"
            )
    return Curve(column), column, spans_decades(np.array([v for v in values if math.isfinite(v)]))


def _file_name(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "+-_") else "_" for c in text)[:80]
