"""Figures against depth: a measure of each inner layer in forward order, one line for each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from nc_runner.figures.base import Cells, Curve, RunFigure, spectrum_colours, thinness
from nc_runner.figures.grid import Frame, LegendEntry
from nc_runner.figures.scales import FloatArray, Scale, drawable, linear_scale, log_scale
from nc_runner.figures.style import LINE_STYLES, LossLook, printable
from nc_runner.runs.reader import Run

_EPOCHS = 5  # lines of one run and curve: more are hard to tell apart
_LETTER = 0.062  # inches, of a tick label
_CAPTION_LETTERS = 64


@dataclass(frozen=True)
class _Line:
    run: Run
    curve: Curve
    epoch: int
    depths: FloatArray
    values: FloatArray  # NaN where they cannot be drawn


@dataclass(frozen=True, kw_only=True)
class LayerFigure(RunFigure):
    """Columns of layers.csv against depth."""

    curves: tuple[Curve, ...]
    per_loss: ClassVar[bool] = True

    def shows(self, run: Run) -> bool:
        return run.layers is not None and len(run.layers) > 0

    def draw(self, title: str, runs: Sequence[Run], looks: Mapping[str, LossLook]) -> Figure | None:
        epochs = shown_epochs(runs)
        lines = [line for run in runs for line in self._lines(run, epochs)]
        if not lines:
            return None
        cells = Cells(runs)
        low = min(float(np.nanmin(line.values)) for line in lines)
        high = max(float(np.nanmax(line.values)) for line in lines)
        y_scale = log_scale(low, high) if self.log else linear_scale(min(low, 0.0), high)
        axis = _DepthAxis(_common_names(runs), {1: 2.7, 2: 2.1}.get(len(cells.data_sets), 1.3))
        colours = dict(zip(epochs, spectrum_colours()(np.linspace(0.0, 0.9, len(epochs))), strict=True))
        frame = Frame(
            cells.rows,
            cells.columns,
            title=title,
            x_label="layer" if axis.named else "depth of the layer",
            y_label=self.y_label,
            x_scales=[axis.scale([r for r in runs if r.cell[1] == name]) for name in cells.data_sets],
            y_scales=[y_scale] * len(cells.data_sets),
            legend=[
                LegendEntry(Line2D([], [], color=colour, linewidth=1.4), f"{'' if i else 'epoch '}{epoch}")
                for i, (epoch, colour) in enumerate(colours.items())
            ],
            caption="; ".join([*self._styles(), *axis.caption()]),
        )
        figure, panels = frame.draw()
        for panel, _, here in cells.fill(panels):
            mine = [line for line in lines if line.run in here]
            for line in mine:
                _draw(panel, line, colours[line.epoch], len({line.run for line in mine}))
        return figure

    def _lines(self, run: Run, epochs: Sequence[int]) -> Iterator[_Line]:
        if run.layers is None:
            return
        for epoch in epochs:
            table = run.layers[run.layers["epoch"] == epoch]
            for curve in self.curves:
                raw = curve.offset + curve.factor * table[curve.column].to_numpy(np.float64)
                values = drawable(raw, self.log)
                if np.isfinite(values).any():
                    yield _Line(run, curve, epoch, table["depth"].to_numpy(np.float64), values)

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


def shown_epochs(runs: Sequence[Run]) -> list[int]:
    """A few of the measured epochs, about equally far apart on a log scale, first and last included."""
    measured = sorted({int(epoch) for run in runs if run.layers is not None for epoch in run.layers["epoch"]})
    if len(measured) <= _EPOCHS:
        return measured
    logs = np.log(measured)
    targets = np.linspace(logs[0], logs[-1], _EPOCHS)
    return sorted({measured[int(np.abs(logs - target).argmin())] for target in targets})


def _common_names(runs: Sequence[Run]) -> list[str]:
    """The layers' names in forward order where all runs have the same ones, else none."""
    found = {
        tuple(run.layers.sort_values("depth")["layer"].unique()) for run in runs if run.layers is not None
    }
    return [str(name) for name in found.pop()] if len(found) == 1 else []


def _draw(panel: Axes, line: _Line, colour: ColorType, crowd: int) -> None:
    width, alpha = thinness(crowd)
    panel.add_artist(
        Line2D(
            line.depths,
            line.values,
            color=colour,
            linestyle=LINE_STYLES[line.curve.style or "solid"],
            linewidth=width,
            alpha=alpha,
            marker="o",
            markersize=2.2,
            markerfacecolor=colour if line.curve.style != "dashed" else "white",
            markeredgewidth=0.6,
        )
    )
