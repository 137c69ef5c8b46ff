"""The base of figures against the epoch: lines of runs, ranges over seeds, ends, the terminal phase."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.typing import ColorType, LineStyleType

from nc_runner.figures.base import Cells, Curve, RunFigure
from nc_runner.figures.grid import Frame, LegendEntry
from nc_runner.figures.scales import FloatArray, Scale, drawable, linear_scale
from nc_runner.figures.seeds import SeedGroup, members
from nc_runner.figures.style import (
    GREY,
    LINE_STYLES,
    TERMINAL_PHASE_DASHES,
    LossLook,
    loss_order,
)
from nc_runner.figures.summary import TERMINAL_ACCURACY, terminal_phase_start
from nc_runner.figures.traces import BAND_ALPHA, Trace, end_sample, fitting_scale, sample, thinness
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
    def legend(self, losses: Mapping[str, LossLook]) -> Iterator[LegendEntry]:
        """What colours and line styles mean. ``losses``: their looks, in order."""

    def guide(self, run: Run) -> float | None:
        """The height of a horizontal line in the panel of ``run``, such as a value at collapse."""
        return None

    def caption(self, runs: Sequence[Run]) -> str:
        """A line below the panels."""
        return ""

    def pen(self, curve: Curve, place: float, look: LossLook) -> Pen:
        """How a line looks; ``place`` goes from 0 for the first line of a run to 1 for the last."""
        style = LINE_STYLES[curve.style or look[1]]
        return Pen(curve.colour or look[0], style, alpha=curve.alpha)

    def draw(self, title: str, runs: Sequence[Run], looks: Mapping[str, LossLook]) -> Figure | None:
        cells = Cells(runs)
        traces = {run: list(self.traces(run, looks[run.cell[2]], cells.crowd(run))) for run in runs}
        if not any(traces.values()):
            return None
        losses = {loss: looks[loss] for loss in sorted({run.cell[2] for run in runs}, key=loss_order)}
        guides = self._guides(runs, traces)
        behind = {run: [*_start(run, cells.crowd(run), losses), *guides[run]] for run in runs}
        by_data_set = [[run for run in runs if run.cell[1] == name] for name in cells.data_sets]
        frame = Frame(
            rows=cells.rows,
            columns=cells.columns,
            panels=cells.arrange({run: behind[run] + traces[run] for run in runs}),
            title=title,
            x_label="epoch",
            y_label=self.y_label,
            x_scales=[_epoch_scale([t for run in mine for t in traces[run]]) for mine in by_data_set],
            y_scales=[
                self._y_scale(runs if self.y_shared == "all" else mine, traces, guides)
                for mine in by_data_set
            ],
            legend=[*self.legend(losses), *self._further_legend(runs, losses)],
            caption=self.caption(runs),
        )
        return frame.draw()

    def traces(self, run: Run, look: LossLook, crowd: int) -> Iterator[Trace]:
        """The lines of a run; of a group of seeds the median with its range, where all seeds have a value."""
        found = self._joined(run)
        width, alpha = thinness(crowd)
        for j, (curve, (x, values)) in enumerate(found.items()):
            pen = self.pen(curve, j / max(1, len(found) - 1), look)
            banded = len(values) > 1 and not self.many_lines
            marked = not self.many_lines or j in (0, len(found) - 1)
            lone = "." if np.isfinite(values[0]).sum() == 1 else ""  # a line of one point is invisible
            yield Trace(
                x=x,
                y=np.median(values, axis=0),
                colour=pen.colour,
                style=pen.style,
                width=pen.width * width,
                alpha=pen.alpha * alpha,
                end=_END_MARKERS.get(run.state, lone) if marked else "",
                low=values.min(axis=0) if banded else None,
                high=values.max(axis=0) if banded else None,
            )

    def _joined(self, run: Run) -> dict[Curve, tuple[FloatArray, FloatArray]]:
        """Each line that can be drawn: the common epochs (T,) and the values of all seeds (S, T) there."""
        single = [self.values(member) for member in members(run)]
        x = np.array(sorted(set.intersection(*(set(epochs) for epochs, _ in single))))
        found = {}
        for curve in single[0][1]:
            if all(curve in lines for _, lines in single):
                raw = np.stack([lines[curve][np.isin(epochs, x)] for epochs, lines in single])
                values = drawable(raw, self.log)
                values[:, np.isnan(values).any(axis=0)] = np.nan
                if np.isfinite(values).any():
                    found[curve] = x, values
        return found

    def _guides(self, runs: Sequence[Run], traces: Mapping[Run, Sequence[Trace]]) -> dict[Run, list[Trace]]:
        """The horizontal lines, each once in a panel."""
        guides: dict[Run, list[Trace]] = {run: [] for run in runs}
        drawn = set()
        for run in runs:
            level = self.guide(run)
            if level is not None and traces[run] and (*run.cell[:2], level) not in drawn:
                drawn.add((*run.cell[:2], level))
                guides[run] = [_guide(level, [t for other in runs for t in traces[other]])]
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

    def _further_legend(self, runs: Sequence[Run], losses: Mapping[str, LossLook]) -> Iterator[LegendEntry]:
        """The terminal phase, seeds, and ends of runs, where there are any."""
        if any(terminal_phase_start(run.rows) is not None for run in runs):
            colour = next(iter(losses.values()))[0] if len(losses) == 1 else GREY
            line = sample(colour, (0.0, TERMINAL_PHASE_DASHES), 0.9)
            yield LegendEntry(line, f"terminal phase ({100 * TERMINAL_ACCURACY:g} % correct)")
        counts = sorted({len(run.members) for run in runs if isinstance(run, SeedGroup)})
        if counts:
            seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            band = Patch(facecolor=GREY, alpha=0.0 if self.many_lines else BAND_ALPHA, linewidth=0.0)
            yield LegendEntry(band, f"median{' and range' * (not self.many_lines)} of {seeds} seeds")
        markers = {_END_MARKERS.get(run.state) for run in runs}
        for marker, words in _MARKER_WORDS.items():
            if marker in markers:
                yield LegendEntry(end_sample(marker, GREY), words)


def _epoch_scale(traces: Sequence[Trace]) -> Scale:
    return linear_scale(0, max((float(trace.x[-1]) for trace in traces), default=1.0), whole=True)


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


def _start(run: Run, crowd: int, losses: Mapping[str, LossLook]) -> Iterator[Trace]:
    """A vertical line where the terminal phase starts."""
    start = terminal_phase_start(run.rows)
    if start is None:
        return
    width, alpha = thinness(crowd)
    shift = 2.0 * list(losses).index(run.cell[2])  # so that the dashes of two losses at one epoch both show
    yield Trace(
        x=np.array([start, start]),
        y=np.array([-np.inf, np.inf]),
        colour=losses[run.cell[2]][0],
        style=(shift, TERMINAL_PHASE_DASHES),
        width=0.75 * width,
        alpha=0.8 * alpha,
        background=True,
    )
