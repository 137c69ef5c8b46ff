"""The base of all figures of runs: a name, texts, and networks as rows and data sets as columns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from nc_runner.figures.grid import Frame, Panel
from nc_runner.figures.hue import DATA, NETWORK, Hue
from nc_runner.figures.scales import Scale
from nc_runner.figures.style import (
    data_set_name,
    data_set_order,
    family_name,
    network_name,
    network_order,
)
from nc_runner.figures.summary import terminal_phase_start
from nc_runner.figures.traces import Trace
from nc_runner.runs.reader import Run

_MOST_FACETS = 6  # columns for one data set


@dataclass(frozen=True)
class Curve:
    """A column of a table as a line; ``offset + factor * value`` is drawn.

    ``over``: the column is divided by this one. ``colour`` and ``style`` None: those of the run.
    """

    column: str
    label: str = ""
    style: str | None = None
    colour: str | None = None
    alpha: float = 1.0
    factor: float = 1.0
    offset: float = 0.0
    over: str = ""


@dataclass(frozen=True)
class View:
    """What a user chose for all figures of runs.

    ``hue``: the colours. ``first``, ``last``: the epochs that are drawn. ``log_x``: the epochs have a log
    axis. ``facets``: where colours stand for something else than ``hue``, its groups are columns.
    """

    hue: Hue
    first: float = 0
    last: float = math.inf
    log_x: bool = False
    facets: bool = True
    _starts: dict[Run, int | None] = field(default_factory=dict, repr=False, compare=False)

    def start(self, run: Run) -> int | None:
        """Where the terminal phase of a run begins; looked for once."""
        if run not in self._starts:
            self._starts[run] = terminal_phase_start(run.rows)
        return self._starts[run]


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

    def separate(self, hue: Hue) -> bool:
        """Whether each loss has a separate figure."""
        return self.per_loss

    def shows(self, run: Run) -> bool:
        """Whether ``run`` has the table that is drawn."""
        return True

    @abstractmethod
    def frame(self, title: str, runs: Sequence[Run], view: View) -> Frame | None:
        """What is drawn under ``title``, or None where no run has a value that could be drawn."""


Place = tuple[int, int]  # row and column


class Cells:
    """Where runs are drawn: networks as rows, data sets as columns, unless colours stand for them.

    Families are rows where each has one network for a data set, as in the paper; panels name the network.
    ``faceted``: the groups of ``hue`` are columns of their own for each data set, if they are few.
    """

    def __init__(self, runs: Sequence[Run], hue: Hue, *, faceted: bool = False) -> None:
        self.runs, self.hue = runs, hue
        net_is_hue, data_is_hue = hue.covers(NETWORK), hue.covers(DATA)
        found = {hue.cell_of[run] for run in runs}
        cells = {("" if net_is_hue else net, "" if data_is_hue else data) for net, data, _ in found}
        nets, data = {net for net, _ in cells}, {name for _, name in cells}
        self._row_of = {net: net for net in nets}
        families = {(family_name(net), name) for net, name in cells}
        self.of_families = len(families) == len(cells) and len({family for family, _ in families}) < len(nets)
        if self.of_families:
            first = {family_name(net): net for net in sorted(nets, key=network_order, reverse=True)}
            self._row_of = {net: first[family_name(net)] for net in nets}
        self.networks = sorted(set(self._row_of.values()), key=network_order)
        self.data_sets = sorted(data, key=data_set_order)
        labels = hue.facet_labels
        self.facets = labels if faceted and not hue.by_loss and 1 < len(labels) <= _MOST_FACETS else [""]
        self._places = {run: self._place(run) for run in runs}

    @property
    def rows(self) -> list[str]:
        names = [family_name(name) if self.of_families else network_name(name) for name in self.networks]
        if len(self.data_sets) == 1 and any(self.facets):  # the columns do not say it
            data = data_set_name(self.data_sets[0])
            return [" on ".join(filter(None, (name, data))) for name in names]
        return names

    @property
    def columns(self) -> list[str]:
        several = len(self.data_sets) > 1 or not any(self.facets)
        names = [data_set_name(name) if several else "" for name in self.data_sets]
        return [", ".join(filter(None, (name, facet))) for name in names for facet in self.facets]

    def place(self, run: Run) -> Place:
        """The row and the column of a run's panel."""
        return self._places[run]

    def of_data_set(self, column: int) -> list[Run]:
        """All runs of the data set to which a column belongs."""
        mine = column // len(self.facets)
        return [run for run in self.runs if self._places[run][1] // len(self.facets) == mine]

    def crowds(self) -> dict[Run, int]:
        """For each run, how many share its panel and look."""
        looks = {run: (self._places[run], self.hue.group(run), self.hue.cell_of[run][2]) for run in self.runs}
        counts: dict[object, int] = {}
        for look in looks.values():
            counts[look] = counts.get(look, 0) + 1
        return {run: counts[look] for run, look in looks.items()}

    def panels(
        self, traces: Mapping[Run, Sequence[Trace]], x: Sequence[Scale], y: Sequence[Scale]
    ) -> list[list[Panel]]:
        """The panels by row and column, with the traces of their runs."""
        found: dict[Place, list[Trace]] = {}
        names: dict[Place, str] = {}
        for run in self.runs:
            found.setdefault(self._places[run], []).extend(traces[run])
            if self.of_families:
                names[self._places[run]] = network_name(self.hue.cell_of[run][0])
        return [
            [
                Panel(found.get((i, j), ()), x[j], y[j], names.get((i, j), ""))
                for j in range(len(self.columns))
            ]
            for i in range(len(self.networks))
        ]

    def _place(self, run: Run) -> Place:
        net, data, _ = self.hue.cell_of[run]
        row = self.networks.index(self._row_of["" if self.hue.covers(NETWORK) else net])
        column = self.data_sets.index("" if self.hue.covers(DATA) else data)
        facet = self.hue.place(run) if len(self.facets) > 1 else 0
        return row, column * len(self.facets) + facet
