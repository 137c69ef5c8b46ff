"""Figures of single columns of metrics.csv against the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from nc_runner.figures.base import Curve
from nc_runner.figures.epochs import EpochFigure, Look, Trace, draw_band, draw_end, inside
from nc_runner.figures.grid import LegendEntry
from nc_runner.figures.scales import FloatArray, Scale
from nc_runner.figures.style import GREY, LINE_STYLES, LossLook, loss_name
from nc_runner.runs.reader import Run

_RIDGE_RULES = {"objective": "objective: C·wd/2", "notebook": "notebook: wd/2"}


@dataclass(frozen=True, kw_only=True)
class CurveFigure(EpochFigure):
    """Columns as lines in the colour of the loss; several columns differ in their style."""

    curves: tuple[Curve, ...]

    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        rows = run.rows
        return rows["epoch"].to_numpy(np.float64), {
            curve: curve.offset + curve.factor * rows[curve.column].to_numpy(np.float64)
            for curve in self.curves
            if curve.column in rows
        }

    def draw_run(self, panel: Axes, traces: Sequence[Trace], look: Look, scale: Scale) -> None:
        for trace in traces:
            colour = trace.curve.colour or look.colour
            draw_band(panel, trace, colour, scale)
            line = Line2D(
                trace.x,
                inside(trace.y, scale),
                color=colour,
                linestyle=LINE_STYLES[trace.curve.style or look.style],
                linewidth=look.width,
                alpha=look.alpha * trace.curve.alpha,
            )
            panel.add_artist(line)
            draw_end(panel, trace, colour, scale)

    def colour_legend(self, losses: Sequence[str], looks: Mapping[str, LossLook]) -> Iterator[LegendEntry]:
        alone = len(self.curves) == 1  # else styles are those of the curves
        for loss in losses:
            colour, style = looks[loss]
            width = 1.4 if alone else 3.0
            line = Line2D([], [], color=colour, linestyle=LINE_STYLES[style if alone else "solid"], lw=width)
            yield LegendEntry(line, loss_name(loss))
        if not alone:
            yield from curve_legend(self.curves)


@dataclass(frozen=True, kw_only=True)
class DecompositionFigure(CurveFigure):
    """Terms of the MSE in colours of their own; the caption says which ridge they have."""

    per_loss: ClassVar[bool] = True

    def colour_legend(self, losses: Sequence[str], looks: Mapping[str, LossLook]) -> Iterator[LegendEntry]:
        return curve_legend(self.curves)

    def caption(self, runs: Sequence[Run]) -> str:
        """Such as "ridge λ = 0.0025 (objective: C·wd/2)"."""
        values: dict[str, set[float]] = {}
        for run in runs:
            rule = _RIDGE_RULES.get(run.ridge_rule, "set by hand")
            values.setdefault(rule, set()).update(map(float, run.rows["ridge"].dropna().unique()))
        parts = []
        for rule, ridges in sorted(values.items()):
            shown = sorted(f"{ridge:.4g}" for ridge in ridges)
            numbers = ", ".join(shown) if len(shown) <= 3 else f"{min(ridges):.4g} to {max(ridges):.4g}"
            parts.append(f"λ = {numbers or 'unknown'} ({rule})")
        return "ridge " + "; ".join(parts)


def curve_legend(curves: Sequence[Curve]) -> Iterator[LegendEntry]:
    """An entry for each of ``curves``, grey where colours tell losses apart."""
    for curve in curves:
        line = Line2D(
            [],
            [],
            color=curve.colour or GREY,
            linestyle=LINE_STYLES[curve.style or "solid"],
            linewidth=1.4,
            alpha=curve.alpha,
        )
        yield LegendEntry(line, curve.label, math=True)
