"""The kinds of figures against the epoch: single columns, the terms of the MSE, the SNR spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nc_runner.columns import snr_columns
from nc_runner.figures.advance import phi_advance
from nc_runner.figures.base import Curve
from nc_runner.figures.epochs import EpochFigure, Pen
from nc_runner.figures.grid import LegendEntry
from nc_runner.figures.hue import Hue
from nc_runner.figures.looks import Look, ordered_colour
from nc_runner.figures.scales import FloatArray
from nc_runner.figures.style import GREY, LINE_STYLES
from nc_runner.figures.summary import terminal_phase_start
from nc_runner.figures.traces import sample
from nc_runner.runs.reader import Run
from nc_runner.runs.rows import columns_of

if TYPE_CHECKING:
    import pandas as pd

_RIDGE_RULES = {"objective": "objective: C·wd/2", "notebook": "notebook: wd/2"}


@dataclass(frozen=True, kw_only=True)
class CurveFigure(EpochFigure):
    """Columns as lines in the colour of the loss; several columns differ in their style."""

    curves: tuple[Curve, ...]

    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        rows = run.rows
        return rows["epoch"].to_numpy(np.float64), {
            curve: curve.offset + curve.factor * _column(rows, curve)
            for curve in self.curves
            if curve.column in rows and (not curve.over or curve.over in rows)
        }

    def separate(self, hue: Hue) -> bool:
        """Line styles are those of the curves or of the losses."""
        return self.per_loss or (len(self.curves) > 1 and bool(hue.losses))

    def legend(self, runs: Sequence[Run], hue: Hue) -> Iterator[LegendEntry]:
        alone = len(self.curves) == 1
        yield from hue.legend(runs, styles=alone)
        if not alone:
            yield from curve_legend(self.curves)


@dataclass(frozen=True, kw_only=True)
class DecompositionFigure(CurveFigure):
    """Terms of the MSE, distinguished by colours; the caption names the ridge."""

    per_loss: ClassVar[bool] = True

    def legend(self, runs: Sequence[Run], hue: Hue) -> Iterator[LegendEntry]:
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


@dataclass(frozen=True, kw_only=True)
class SpectrumFigure(EpochFigure):
    """The singular values omega_j of the SNR spectrum."""

    per_loss: ClassVar[bool] = True
    many_lines: ClassVar[bool] = True

    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        columns = columns_of(run.rows)
        return columns["epoch"], {Curve(name): columns[name] for name in snr_columns(run.num_classes)}

    def pen(self, curve: Curve, place: float, look: Look) -> Pen:
        return Pen(ordered_colour(place), width=0.7)

    def legend(self, runs: Sequence[Run], hue: Hue) -> Iterator[LegendEntry]:
        yield LegendEntry(sample(ordered_colour(0.0)), r"$\omega_1$, the largest", math=True)
        yield LegendEntry(sample(ordered_colour(1.0)), r"$\omega_{C-1}$, the smallest", math=True)


@dataclass(frozen=True, kw_only=True)
class AdvanceFigure(SpectrumFigure):
    """How far Phi(omega_j) has advanced since the terminal phase began (advance.py)."""

    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        epochs, advance = phi_advance(run.rows, run.num_classes, terminal_phase_start(run.rows))
        return epochs, {Curve(name): advance[:, j] for j, name in enumerate(snr_columns(run.num_classes))}

    def caption(self, runs: Sequence[Run]) -> str:
        known = {terminal_phase_start(run.rows) is not None for run in runs}
        t0 = "first epoch of the terminal phase" if True in known else "the first epoch"
        otherwise = ", or the first epoch" if len(known) == 2 else ""
        return f"t₀: {t0}{otherwise}. If the law holds, all lines are equal"


def _column(rows: pd.DataFrame, curve: Curve) -> FloatArray:
    values: FloatArray = rows[curve.column].to_numpy(np.float64)
    if curve.over:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = values / rows[curve.over].to_numpy(np.float64)
    return values


def curve_legend(curves: Sequence[Curve]) -> Iterator[LegendEntry]:
    """An entry for each of ``curves``; grey where colours distinguish losses."""
    for curve in curves:
        line = sample(curve.colour or GREY, LINE_STYLES[curve.style or "solid"], alpha=curve.alpha)
        yield LegendEntry(line, curve.label, math=True)
