"""What every figure of runs has in common: a name, words, and networks as rows and data sets as columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from nc_runner.figures.grid import blank
from nc_runner.figures.style import (
    LossLook,
    data_set_name,
    data_set_order,
    network_name,
    network_order,
)
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
class RunFigure(ABC):
    """A figure of runs, written to files called ``name``; ``reading`` explains it in the report.

    ``per_loss``: each loss has a figure of its own, because colours tell other things apart. It is called
    ``name`` for MSE and ``name_LOSS`` for other losses.
    """

    name: str
    title: str
    y_label: str
    reading: str = ""
    log: bool = False
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
        self._runs = runs
        self.networks = sorted({run.cell[0] for run in runs}, key=network_order)
        self.data_sets = sorted({run.cell[1] for run in runs}, key=data_set_order)

    @property
    def rows(self) -> list[str]:
        return [network_name(name) for name in self.networks]

    @property
    def columns(self) -> list[str]:
        return [data_set_name(name) for name in self.data_sets]

    def fill(self, panels: Sequence[Sequence[Axes]]) -> Iterator[tuple[Axes, int, list[Run]]]:
        """(panel, its column, the runs to draw in it); panels without a run are shaded."""
        for network, row in zip(self.networks, panels, strict=True):
            for j, data_set in enumerate(self.data_sets):
                here = [run for run in self._runs if run.cell[:2] == (network, data_set)]
                if not here:
                    blank(row[j])
                yield row[j], j, here


def spectrum_colours() -> Colormap:
    """The colours of an ordered set of lines, of which the last tenth is too light to see."""
    return matplotlib.colormaps["viridis"]


def thinness(crowd: int) -> tuple[float, float]:
    """(line width, alpha) of a run that shares its panel and loss with others, ``crowd`` in all."""
    return (1.2, 1.0) if crowd == 1 else (0.8, max(0.3, 1.1 / crowd**0.5))
