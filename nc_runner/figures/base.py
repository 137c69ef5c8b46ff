"""The base of all figures of runs: a name, texts, and networks as rows and data sets as columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from nc_runner.figures.style import LossLook, data_set_name, data_set_order, network_name, network_order
from nc_runner.figures.traces import Trace
from nc_runner.runs.reader import Run


@dataclass(frozen=True)
class Curve:
    """A column of a table as a line; ``offset + factor * value`` is drawn.

    ``colour`` and ``style`` None: those of the run's loss.
    """

    column: str
    label: str = ""
    style: str | None = None
    colour: str | None = None
    alpha: float = 1.0
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PanelFigure(ABC):
    """A figure, written to files called ``name``; ``reading`` explains it in the report."""

    name: str
    title: str
    y_label: str
    reading: str = ""
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class RunFigure(PanelFigure):
    """A figure of runs.

    ``per_loss``: each loss has a separate figure, because colours distinguish other things. It is called
    ``name`` for MSE and ``name_LOSS`` for other losses.
    """

    per_loss: ClassVar[bool] = False

    def shows(self, run: Run) -> bool:
        """Whether ``run`` has the table that is drawn."""
        return True

    @abstractmethod
    def draw(self, title: str, runs: Sequence[Run], looks: Mapping[str, LossLook]) -> Figure | None:
        """The figure under ``title``, or None where no run has a value that could be drawn."""


class Cells:
    """The networks and data sets of ``runs``, in the order of rows and columns."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.networks = sorted({run.cell[0] for run in runs}, key=network_order)
        self.data_sets = sorted({run.cell[1] for run in runs}, key=data_set_order)

    @property
    def rows(self) -> list[str]:
        return [network_name(name) for name in self.networks]

    @property
    def columns(self) -> list[str]:
        return [data_set_name(name) for name in self.data_sets]

    def crowd(self, run: Run) -> int:
        """How many runs share the panel and the loss of ``run``."""
        return sum(other.cell == run.cell for other in self.runs)

    def arrange(self, traces: Mapping[Run, Sequence[Trace]]) -> list[list[list[Trace] | None]]:
        """The traces of each panel, by row and column; None for a panel without a run."""
        place = {run: run.cell[:2] for run in self.runs}
        return [
            [
                [trace for run in self.runs if place[run] == (network, data_set) for trace in traces[run]]
                if (network, data_set) in place.values()
                else None
                for data_set in self.data_sets
            ]
            for network in self.networks
        ]
