"""Figures of the SNR spectrum against the epoch: a line for each singular value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from nc_runner.columns import snr_columns
from nc_runner.figures.advance import phi_advance
from nc_runner.figures.base import Curve, spectrum_colours
from nc_runner.figures.epochs import EpochFigure, Look, Trace, draw_end, inside
from nc_runner.figures.grid import LegendEntry
from nc_runner.figures.scales import FloatArray, Scale
from nc_runner.figures.style import LossLook
from nc_runner.figures.summary import terminal_phase_start
from nc_runner.runs.reader import Run


@dataclass(frozen=True, kw_only=True)
class SpectrumFigure(EpochFigure):
    """The singular values omega_j; of a group of seeds their medians alone."""

    per_loss: ClassVar[bool] = True
    banded: ClassVar[bool] = False

    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        epochs, columns = run.rows["epoch"].to_numpy(np.float64), snr_columns(run.num_classes)
        return epochs, {Curve(name): run.rows[name].to_numpy(np.float64) for name in columns}

    def draw_run(self, panel: Axes, traces: Sequence[Trace], look: Look, scale: Scale) -> None:
        if not traces:
            return
        colours = spectrum_colours()(np.linspace(0.0, 0.9, len(traces)))
        segments = [np.column_stack((t.x, inside(t.y, scale)))[np.isfinite(t.y)] for t in traces]
        lines = LineCollection(
            segments, colors=colours, linewidths=0.7 * look.width, alpha=look.alpha, zorder=2
        )
        panel.add_collection(lines, autolim=False)
        for i in {0, len(traces) - 1}:
            draw_end(panel, traces[i], colours[i], scale)

    def colour_legend(self, losses: Sequence[str], looks: Mapping[str, LossLook]) -> Iterator[LegendEntry]:
        for place, label in ((0.0, r"$\omega_1$, the largest"), (0.9, r"$\omega_{C-1}$, the smallest")):
            line = Line2D([], [], color=spectrum_colours()(place), linewidth=1.4)
            yield LegendEntry(line, label, math=True)


@dataclass(frozen=True, kw_only=True)
class AdvanceFigure(SpectrumFigure):
    """How far Phi(omega_j) has come since the terminal phase began (advance.py)."""

    def values(self, run: Run) -> tuple[FloatArray, dict[Curve, FloatArray]]:
        epochs, advance = phi_advance(run.rows, run.num_classes, terminal_phase_start(run.rows))
        return epochs, {Curve(name): advance[:, j] for j, name in enumerate(snr_columns(run.num_classes))}

    def caption(self, runs: Sequence[Run]) -> str:
        known = {terminal_phase_start(run.rows) is not None for run in runs}
        t0 = "first epoch of the terminal phase" if True in known else "the first epoch"
        otherwise = ", or the first epoch" if len(known) == 2 else ""
        return f"t₀: {t0}{otherwise}. If the law holds, all lines are equal"
