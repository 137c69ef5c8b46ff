"""The base of figures against the epoch: lines of runs, ranges over seeds, ends, the terminal phase."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from matplotlib.typing import ColorType, LineStyleType

from nc_runner.figures.base import Cells, Curve, RunFigure, View
from nc_runner.figures.grid import Frame, LegendEntry, joined
from nc_runner.figures.hue import Hue
from nc_runner.figures.looks import Look
from nc_runner.figures.scales import FloatArray, Scale, drawable, linear_scale, log_scale
from nc_runner.figures.seeds import SeedGroup, members
from nc_runner.figures.style import GREY, LINE_STYLES, TERMINAL_PHASE_DASHES
from nc_runner.figures.summary import TERMINAL_ACCURACY
from nc_runner.figures.traces import (
    BAND_ALPHA,
    Trace,
    band_sample,
    end_sample,
    fitting_scale,
    sample,
    thinness,
)
from nc_runner.runs.reader import Run
from nc_runner.runs.record import DIVERGED, FAILED, INTERRUPTED, RUNNING

_END_MARKERS = {RUNNING: "o", INTERRUPTED: "o", DIVERGED: "X", FAILED: "X"}
_MARKER_WORDS = {"o": "running or interrupted", "X": "diverged or failed"}


@dataclass(frozen=True)
class Pen:
    """How a line looks; width and opacity are relative to those of the run."""

    colour: ColorType
    style: LineStyleType = "solid"
    width: float = 1.0
    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EpochFigure(RunFigure):
    """A figure against the epoch. ``y_shared``: all panels have one y axis, or those of each data set.

    ``many_lines``: of a group of seeds only medians are drawn, and only the ends of the outer lines marked.
    """

    y_shared: Literal["all", "data set"] = "all"
    many_lines: ClassVar[bool] = False

    @abstractmethod
    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        """A single run's epochs, and the values of each of its lines at them."""

    @abstractmethod
    def legend(self, runs: Sequence[Run], hue: Hue) -> Iterator[LegendEntry]:
        """What colours and line styles mean."""

    def guide(self, run: Run) -> float | None:
        """The height of a horizontal line in the panel of ``run``, such as a value at collapse."""
        return None

    def caption(self, runs: Sequence[Run]) -> str:
        """A line below the panels."""
        return ""

    def pen(self, curve: Curve, place: float, look: Look) -> Pen:
        """How a line looks; ``place`` goes from 0 for the first line of a run to 1 for the last."""
        style = LINE_STYLES[curve.style or look[1]]
        return Pen(curve.colour or look[0], style, alpha=curve.alpha)

    def frame(self, title: str, runs: Sequence[Run], view: View) -> Frame | None:
        hue = view.hue
        cells = Cells(runs, hue, faceted=self.per_loss and view.facets)
        crowds = cells.crowds()
        traces = {run: list(self.traces(run, hue.look(run), crowds[run], view)) for run in runs}
        if not any(traces.values()):
            return None
        guides = self._guides(cells, traces)
        behind = {run: [*_start(run, view, crowds[run]), *guides[run]] for run in runs}
        columns = range(len(cells.columns))
        spans = [[t for run in cells.of_data_set(j) for t in traces[run]] for j in columns]
        sharing = [runs if self.y_shared == "all" else cells.of_data_set(j) for j in columns]
        coloured = not self.per_loss
        return Frame(
            rows=cells.rows,
            columns=cells.columns,
            panels=cells.panels(
                {run: behind[run] + traces[run] for run in runs},
                [_epoch_scale(lines, view) for lines in spans],
                [self._y_scale(mine, traces, guides) for mine in sharing],
            ),
            title=title,
            x_label="epoch",
            y_label=self.y_label,
            legend=[*self.legend(runs, hue), *self._further_legend(runs, view)],
            caption=joined(self.caption(runs), hue.caption(), _left_out(runs, view)),
            bar=hue.bar if coloured else None,
        )

    def traces(self, run: Run, look: Look, crowd: int, view: View) -> Iterator[Trace]:
        """The lines of a run; of a group of seeds the median with its range, where all seeds have a value."""
        found = self._joined(run, view)
        width, alpha = thinness(crowd)
        for j, (curve, (x, values)) in enumerate(found.items()):
            pen = self.pen(curve, j / max(1, len(found) - 1), look)
            banded = len(values) > 1 and not self.many_lines
            marked = not self.many_lines or j in (0, len(found) - 1)
            lone = "." if np.isfinite(values[0]).sum() == 1 else ""  # a line of one point is invisible
            yield Trace(
                x=x,
                y=np.median(values, axis=0) if len(values) > 1 else values[0],
                colour=pen.colour,
                style=pen.style,
                width=pen.width * width,
                alpha=pen.alpha * alpha,
                end=_END_MARKERS.get(run.state, lone) if marked else lone,
                low=values.min(axis=0) if banded else None,
                high=values.max(axis=0) if banded else None,
            )

    def _joined(self, run: Run, view: View) -> dict[Curve, tuple[FloatArray, FloatArray]]:
        """Each line that can be drawn: the common epochs (T,) and the values of all seeds (S, T) there."""
        single = [self.values(member) for member in members(run)]
        if len(single) == 1:
            return self._alone(*single[0], view)
        x = np.array(sorted(set.intersection(*(set(epochs) for epochs, _ in single))))
        x = x[(x >= max(view.first, 1 if view.log_x else 0)) & (x <= view.last)]
        found = {}
        for curve in single[0][1]:
            if all(curve in lines for _, lines in single):
                raw = np.stack([lines[curve][np.isin(epochs, x)] for epochs, lines in single])
                values = drawable(raw, self.log)
                values[:, np.isnan(values).any(axis=0)] = np.nan
                if np.isfinite(values).any():
                    found[curve] = x, values
        return found

    def _alone(
        self, epochs: FloatArray, lines: Mapping[Curve, FloatArray], view: View
    ) -> dict[Curve, tuple[FloatArray, FloatArray]]:
        """The same for a single run."""
        shown = (epochs >= max(view.first, 1 if view.log_x else 0)) & (epochs <= view.last)
        x = epochs[shown]
        found = {}
        for curve, raw in lines.items():
            values = drawable(raw[shown], self.log)
            if np.isfinite(values).any():
                found[curve] = x, values[None]
        return found

    def _guides(self, cells: Cells, traces: Mapping[Run, Sequence[Trace]]) -> dict[Run, list[Trace]]:
        """The horizontal lines, each once in a panel."""
        guides: dict[Run, list[Trace]] = {run: [] for run in cells.runs}
        drawn = set()
        for run in cells.runs:
            level = self.guide(run)
            if level is not None and traces[run] and (cells.place(run), level) not in drawn:
                drawn.add((cells.place(run), level))
                guides[run] = [_guide(level, [t for other in cells.runs for t in traces[other]])]
        return guides

    def _y_scale(
        self,
        runs: Sequence[Run],
        traces: Mapping[Run, Sequence[Trace]],
        guides: Mapping[Run, Sequence[Trace]],
    ) -> Scale:
        """Around all lines; around those of runs that did not diverge, where there are any; and guides."""
        every = [trace for lines in traces.values() for trace in lines]
        mine = [trace for run in runs for trace in traces[run]]
        calm = [trace for run in runs if run.state != DIVERGED for trace in traces[run]]
        level = [replace(guide, background=False) for run in runs for guide in guides[run]]
        return fitting_scale([*(calm or mine or every), *level], self.log)

    def _further_legend(self, runs: Sequence[Run], view: View) -> Iterator[LegendEntry]:
        """The terminal phase, seeds, and ends of runs, where there are any."""
        if any(view.start(run) is not None for run in runs):
            looks = {view.hue.look(run)[0] for run in runs}
            colour = looks.pop() if len(looks) == 1 else GREY
            line = sample(colour, (0.0, TERMINAL_PHASE_DASHES), 0.9)
            yield LegendEntry(line, f"terminal phase ({100 * TERMINAL_ACCURACY:g} % correct)")
        counts = sorted({len(run.members) for run in runs if isinstance(run, SeedGroup)})
        if counts:
            seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            band = band_sample(0.0 if self.many_lines else BAND_ALPHA)
            yield LegendEntry(band, f"median{' and range' * (not self.many_lines)} of {seeds} seeds")
        markers = {_END_MARKERS.get(run.state) for run in runs}
        for marker, words in _MARKER_WORDS.items():
            if marker in markers:
                yield LegendEntry(end_sample(marker, GREY), words)


def _epoch_scale(traces: Sequence[Trace], view: View) -> Scale:
    ends = [float(end) for trace in traces for end in trace.x[[0, -1]]] or [1.0]
    if view.log_x:
        return log_scale(max(1.0, min(ends)), max(*ends, 2.0))
    return linear_scale(view.first if view.first > 0 else 0.0, max(ends), whole=True)


def _left_out(runs: Sequence[Run], view: View) -> str:
    """What a log axis cannot show."""
    initial = view.log_x and view.first < 1 and any(run.rows["epoch"].iloc[0] == 0 for run in runs)
    return "epoch 0 is not shown" if initial else ""


def _guide(value: float, traces: Sequence[Trace]) -> Trace:
    """A horizontal line across any panel of ``traces``."""
    across = 2 * max(float(trace.x[-1]) for trace in traces) + 2
    return Trace(
        x=np.array([-across, across]),
        y=np.array([value, value]),
        colour=GREY,
        style=LINE_STYLES["dotted"],
        width=0.9,
        background=True,
    )


def _start(run: Run, view: View, crowd: int) -> Iterator[Trace]:
    """A vertical line where the terminal phase starts."""
    start = view.start(run)
    if start is None:
        return
    width, alpha = thinness(crowd)
    hue = view.hue
    yield Trace(
        x=np.array([start, start]),
        y=np.array([-np.inf, np.inf]),
        colour=hue.look(run)[0],
        style=(hue.shift(run), TERMINAL_PHASE_DASHES),
        width=0.75 * width,
        alpha=0.8 * alpha,
        background=True,
    )
