"""Figures over runs: a column's value against a setting, or one column against another."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nc_runner.figures.base import Cells, Curve, RunFigure, View
from nc_runner.figures.curves import CurveFigure
from nc_runner.figures.grid import Frame, LegendEntry, joined
from nc_runner.figures.hue import SEED, Hue
from nc_runner.figures.number_line import NumberLine
from nc_runner.figures.scales import FloatArray, Scale, drawable, linear_scale, log_scale, tick_scale
from nc_runner.figures.style import GREY, loss_name, shortened
from nc_runner.figures.summary import summarise, terminal_phase_start
from nc_runner.figures.traces import Trace, band_sample, fitting_scale, sample
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.varying import is_number, sort_key

# Which of a run's rows is drawn, and how that is called in a title
AT = {
    "end": "at the end",
    "phase": "at the start of the terminal phase",
    "min": "least value of all epochs",
    "max": "largest value of all epochs",
}
_MARKERS = ("o", "s", "^", "D", "v", "P")


def value_at(run: Run, values: FloatArray, at: str) -> float:
    """Of a run's ``values``, one for each of its rows, that which ``at`` (:data:`AT`) means; NaN for none."""
    if at == "end":
        return float(values[-1])
    if at == "phase":
        start = terminal_phase_start(run.rows)
        found = np.flatnonzero(run.rows["epoch"].to_numpy() == (-1 if start is None else start))
        return float(values[found[0]]) if len(found) else math.nan
    finite = values[np.isfinite(values)]
    return float(finite.min() if at == "min" else finite.max()) if len(finite) else math.nan


@dataclass(frozen=True, kw_only=True)
class AgainstFigure(RunFigure):
    """The columns of ``source`` at one epoch of each finished run, against the setting ``key``.

    A line joins the runs that differ in ``key`` and their seed alone: the median of the seeds, and the range.
    """

    source: CurveFigure
    key: str
    at: str = "end"

    def separate(self, hue: Hue) -> bool:
        return self.source.separate(hue)

    def shows(self, run: Run) -> bool:
        return self.source.shows(run)

    def frame(self, title: str, runs: Sequence[Run], view: View) -> Frame | None:
        hue, done = view.hue, _finished(runs)
        cells = Cells(done, hue, faceted=self.source.per_loss and view.facets)
        axis = _SettingAxis(done, hue, self.key)
        values = {run: self._values(run) for run in done}
        traces: dict[Run, list[Trace]] = {run: [] for run in done}
        for members in self._series(done, cells, hue):
            traces[members[0]] = list(self._lines({run: values[run] for run in members}, axis, hue))
        lines = [trace for mine in traces.values() for trace in mine]
        if not lines:
            return None
        valued = [run for run in done if values[run]]
        legend = list(self.source.legend(valued, hue))
        if any(trace.low is not None for trace in lines):
            legend.append(LegendEntry(band_sample(), "median and range of seeds"))
        columns = range(len(cells.columns))
        sharing = [done if self.source.y_shared == "all" else cells.of_data_set(j) for j in columns]
        shared = [[trace for run in mine for trace in traces[run]] for mine in sharing]
        return Frame(
            rows=cells.rows,
            columns=cells.columns,
            panels=cells.panels(
                traces,
                [axis.scale] * len(columns),
                [fitting_scale(some or lines, self.log) for some in shared],
            ),
            title=title,
            x_label=axis.name,
            y_label=self.y_label,
            legend=legend,
            caption=joined(self.source.caption(done), hue.caption(), _unfinished(runs, valued)),
            bar=None if self.source.per_loss else hue.bar,
        )

    def _values(self, run: Run) -> dict[Curve, float]:
        """The values of a run that can be drawn."""
        lines = self.source.values(run)[1]
        found = {curve: _drawn(value_at(run, line, self.at), self.log) for curve, line in lines.items()}
        return {curve: value for curve, value in found.items() if not math.isnan(value)}

    def _series(self, runs: Sequence[Run], cells: Cells, hue: Hue) -> Iterator[list[Run]]:
        """The runs of each line."""
        varying = hue.varying
        rest = [k for k in varying.telling() if k not in (self.key, SEED) and varying.leader(k) != self.key]
        found: dict[Hashable, list[Run]] = {}
        for run in runs:
            other = varying.identity(run, rest)
            found.setdefault((cells.place(run), hue.group(run), hue.cell_of[run][2], other), []).append(run)
        yield from found.values()

    def _lines(
        self, values: Mapping[Run, Mapping[Curve, float]], axis: _SettingAxis, hue: Hue
    ) -> Iterator[Trace]:
        look = hue.look(next(iter(values)))
        for curve in self.source.curves:
            found: dict[float, list[float]] = {}
            for run, known in values.items():
                if curve in known:
                    found.setdefault(axis.place(run), []).append(known[curve])
            if not found:
                continue
            places = sorted(found)
            of_seeds = [found[place] for place in places]
            banded = any(len(values) > 1 for values in of_seeds)
            pen = self.source.pen(curve, 0.0, look)
            yield Trace(
                x=np.array(places),
                y=np.array([np.median(values) for values in of_seeds]),
                colour=pen.colour,
                style=pen.style,
                alpha=pen.alpha,
                marker="o",
                hollow=pen.style != "solid",
                size=3.0,
                low=np.array([min(values) for values in of_seeds]) if banded else None,
                high=np.array([max(values) for values in of_seeds]) if banded else None,
            )


class _SettingAxis:
    """The x axis of a setting: numbers in their place, or else values side by side."""

    def __init__(self, runs: Sequence[Run], hue: Hue, key: str) -> None:
        self._key, self._varying = key, hue.varying
        self.name = hue.varying.heading(key)
        values = {hue.varying.identity(run, (key,)): run for run in runs}
        ordered = sorted(values.values(), key=lambda run: sort_key(hue.varying.value(run, key)))
        cells = [hue.varying.value(run, key) for run in ordered]
        labels = shortened([hue.text(run, key) for run in ordered], 14)
        numbers = [cell for cell in cells if is_number(cell)]
        self._order = {hue.varying.identity(run, (key,)): float(i) for i, run in enumerate(ordered)}
        self._line = NumberLine(numbers) if numbers and len(numbers) == len(cells) else None
        places = [float(i) for i in range(len(cells))]
        self.scale = (
            self._line.scale(labels) if self._line else tick_scale(places or [0.0], labels or [""], False)
        )

    def place(self, run: Run) -> float:
        """Where a run is on the axis."""
        value = self._varying.value(run, self._key)
        if self._line is not None and is_number(value):
            return self._line.place(value)
        return self._order[self._varying.identity(run, (self._key,))]


@dataclass(frozen=True, kw_only=True)
class ScatterFigure(RunFigure):
    """One curve's value of each finished run against another's, at one epoch: a point for each run."""

    x: Curve
    y: Curve
    x_label: str
    x_log: bool
    at: str = "end"
    many: ClassVar[int] = 200  # points in a panel from which they are smaller

    def frame(self, title: str, runs: Sequence[Run], view: View) -> Frame | None:
        hue = view.hue
        done = _finished(runs)
        cells = Cells(done, hue)
        points = {
            run: (self._value(run, self.x, self.x_log), self._value(run, self.y, self.log)) for run in done
        }
        points = {run: xy for run, xy in points.items() if np.isfinite(xy).all()}
        if not points:
            return None
        size = 3.6 if len(points) < self.many else 2.4
        markers = {loss: _MARKERS[i % len(_MARKERS)] for i, loss in enumerate(hue.losses)}
        traces = {
            run: [
                Trace(
                    x=np.array([points[run][0]]), y=np.array([points[run][1]]), colour=hue.look(run)[0],
                    style="none", marker=markers.get(run.cell[2], "o"), hollow=run.cell[2] in hue.losses[1:],
                    size=size,
                )
            ]
            if run in points
            else []
            for run in done
        }  # fmt: skip
        xs, ys = (np.array(some) for some in zip(*points.values(), strict=True))
        count = len(cells.columns)
        return Frame(
            rows=cells.rows,
            columns=cells.columns,
            panels=cells.panels(traces, [_around(xs, self.x_log)] * count, [_around(ys, self.log)] * count),
            title=title,
            x_label=self.x_label,
            y_label=self.y_label,
            legend=[*_dots(hue.legend(done, styles=False)), *_loss_markers(markers)],
            caption=joined(hue.caption(), _unfinished(runs, list(points))),
            bar=hue.bar,
        )

    def _value(self, run: Run, curve: Curve, log: bool) -> float:
        if curve.column in run.rows:
            raw = value_at(run, run.rows[curve.column].to_numpy(np.float64), self.at)
        else:
            found = summarise(run).get(curve.column)
            raw = float(found) if isinstance(found, (int, float)) else math.nan
        return _drawn(curve.offset + curve.factor * raw, log)


def _finished(runs: Sequence[Run]) -> list[Run]:
    """The runs whose values count."""
    return [run for run in runs if run.state == COMPLETE and len(run.rows)]


def _drawn(value: float, log: bool) -> float:
    """A value, NaN where the axis cannot show it."""
    return float(drawable(np.array([value]), log)[0])


def _around(values: FloatArray, log: bool) -> Scale:
    """A scale with room around all values, which need not begin at 0."""
    low, high = float(values.min()), float(values.max())
    if log:
        return log_scale(low, high)
    room = 0.05 * (high - low) or 0.5
    return linear_scale(low - room if low - room >= 0 or low < 0 else 0.0, high + 0.4 * room)


def _dots(entries: Iterator[LegendEntry]) -> Iterator[LegendEntry]:
    """The entries of lines as those of points."""
    for entry in entries:
        entry.artist.set(linestyle="none", marker="o", markersize=4.0)
        yield entry


def _loss_markers(markers: dict[str, str]) -> Iterator[LegendEntry]:
    for i, (loss, marker) in enumerate(markers.items()):
        dot = sample(GREY, "none")
        dot.set(marker=marker, markersize=4.0, markerfacecolor="white" if i else GREY)
        yield LegendEntry(dot, loss_name(loss))


def _unfinished(runs: Sequence[Run], drawn: Sequence[Run]) -> str:
    count = len(runs) - len(drawn)
    have = "has" if count == 1 else "have"
    return f"{count} of {len(runs)} runs {have} no such value: not finished, or not a number" if count else ""
