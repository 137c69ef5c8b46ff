"""Figures against depth: a measure of each inner layer in forward order, one line for each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nc_runner.figures.base import Cells, Curve, RunFigure, View
from nc_runner.figures.grid import Frame, LegendEntry
from nc_runner.figures.looks import ordered_colour
from nc_runner.figures.scales import FloatArray, Scale, drawable
from nc_runner.figures.style import LINE_STYLES, printable
from nc_runner.figures.traces import Trace, fitting_scale, sample, thinness
from nc_runner.runs.reader import Run

_EPOCHS = 5  # lines of one run and curve: more are hard to distinguish
_LETTER = 0.062  # inches, of a tick label
_CAPTION_LETTERS = 64


@dataclass(frozen=True, kw_only=True)
class LayerFigure(RunFigure):
    """Columns of layers.csv against depth."""

    curves: tuple[Curve, ...]
    per_loss: ClassVar[bool] = True

    def shows(self, run: Run) -> bool:
        return run.layers is not None and len(run.layers) > 0

    def frame(self, title: str, runs: Sequence[Run], view: View) -> Frame | None:
        cells = Cells(runs, view.hue, faceted=view.facets)
        crowds = cells.crowds()
        epochs = {run: shown_epochs(run, view.first, view.last) for run in runs}
        traces = {run: list(self._traces(run, epochs[run], crowds[run])) for run in runs}
        lines = [trace for mine in traces.values() for trace in mine]
        if not lines:
            return None
        axis = _DepthAxis(_common_names(runs), {1: 2.7, 2: 2.1}.get(len(cells.columns), 1.3))
        columns = range(len(cells.columns))
        return Frame(
            rows=cells.rows,
            columns=cells.columns,
            panels=cells.panels(
                traces,
                [axis.scale(cells.of_data_set(j)) for j in columns],
                [fitting_scale(lines, self.log)] * len(columns),
            ),
            title=title,
            x_label="layer" if axis.named else "depth of the layer",
            y_label=self.y_label,
            legend=list(_legend(list(epochs.values()))),
            caption="; ".join([*self._styles(), *axis.caption()]),
        )

    def _traces(self, run: Run, epochs: Sequence[int], crowd: int) -> Iterator[Trace]:
        if run.layers is None:
            return
        width, alpha = thinness(crowd)
        for place, epoch in zip(_places(epochs), epochs, strict=True):
            table = run.layers[run.layers["epoch"] == epoch]
            for curve in self.curves:
                raw = curve.offset + curve.factor * table[curve.column].to_numpy(np.float64)
                values = drawable(raw, self.log)
                if np.isfinite(values).any():
                    yield Trace(
                        x=table["depth"].to_numpy(np.float64),
                        y=values,
                        colour=ordered_colour(place),
                        style=LINE_STYLES[curve.style or "solid"],
                        width=width,
                        alpha=alpha,
                        marker="o",
                        hollow=curve.style == "dashed",
                    )

    def _styles(self) -> Iterator[str]:
        if len(self.curves) > 1:
            yield ", ".join(f"{curve.label} {curve.style}" for curve in self.curves)


@dataclass(frozen=True)
class _DepthAxis:
    """The x axis: the ``names`` of the layers where ``width`` inches are enough for them, else numbers."""

    names: Sequence[str]
    width: float

    @property
    def named(self) -> bool:
        longest = max(map(len, self.names), default=0)
        return bool(self.names) and (longest + 1.5) * _LETTER * len(self.names) <= self.width

    def scale(self, runs: Sequence[Run]) -> Scale:
        deepest = max(int(run.layers["depth"].max()) for run in runs if run.layers is not None)
        ticks = tuple(float(depth) for depth in range(1, deepest + 1, -(-deepest // 12)))
        labels = tuple(printable(self.names[int(t) - 1]) if self.named else f"{t:.0f}" for t in ticks)
        margin = 0.45 if self.named else 0.04 * max(deepest - 1, 5)
        return Scale(1 - margin, deepest + margin, ticks, labels)

    def caption(self) -> Iterator[str]:
        """Which layers the numbers are."""
        if not self.names:
            yield "measured layers in forward order"
        elif not self.named:
            whole = ", ".join(f"{depth} {name}" for depth, name in enumerate(self.names, start=1))
            ends = f"1 {self.names[0]} … {len(self.names)} {self.names[-1]}, in forward order"
            yield printable(whole if len(whole) <= _CAPTION_LETTERS else ends)


def shown_epochs(run: Run, first: float = 0, last: float = math.inf) -> list[int]:
    """A few of a run's measured epochs, about equally far apart on a log scale, first and last included."""
    if run.layers is None:
        return []
    measured = sorted({int(e) for e in run.layers["epoch"] if first <= e <= last})
    if len(measured) <= _EPOCHS:
        return measured
    start = [epoch for epoch in measured if epoch == 0]  # at initialisation: it has no place on a log scale
    later = measured[len(start) :]
    logs = np.log(later)
    targets = np.linspace(logs[0], logs[-1], _EPOCHS - len(start))
    return start + sorted({later[int(np.abs(logs - target).argmin())] for target in targets})


def _places(epochs: Sequence[int]) -> FloatArray:
    """Where the colours of a run's epochs are, from 0 for the first to 1 for the last."""
    return np.linspace(0.0, 1.0, len(epochs))


def _legend(epochs: Sequence[Sequence[int]]) -> Iterator[LegendEntry]:
    """The epoch of each colour; where runs have different epochs, only the ends."""
    different = {tuple(some) for some in epochs if some}
    if len(different) == 1:
        only = different.pop()
        for i, (place, epoch) in enumerate(zip(_places(only), only, strict=True)):
            yield LegendEntry(sample(ordered_colour(place)), f"{'' if i else 'epoch '}{epoch}")
        return
    for place, end in ((0.0, min), (1.0, max)):
        found = sorted({end(some) for some in different})
        span = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
        yield LegendEntry(sample(ordered_colour(place)), f"{'last' if place else 'first'} epoch, {span}")


def _common_names(runs: Sequence[Run]) -> list[str]:
    """The layers' names in forward order where all runs have the same ones, else none."""
    found = {
        tuple(run.layers.sort_values("depth")["layer"].unique()) for run in runs if run.layers is not None
    }
    return [str(name) for name in found.pop()] if len(found) == 1 else []
