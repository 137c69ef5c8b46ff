"""The colour and line style of each run, by the settings in which the runs differ."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex
from matplotlib.typing import ColorType

from nc_runner.figures.colour_bar import ColourBar
from nc_runner.figures.grid import LegendEntry
from nc_runner.figures.looks import Look, loss_looks, ordered_colour, palette
from nc_runner.figures.number_line import NumberLine
from nc_runner.figures.style import (
    GREY,
    LINE_STYLES,
    data_set_name,
    data_set_order,
    loss_name,
    loss_order,
    network_name,
    network_order,
    shortened,
)
from nc_runner.figures.traces import sample
from nc_runner.runs.reader import Run
from nc_runner.runs.varying import Varying, is_number, sort_key

LOSS, NETWORK, DATA, SEED = "loss.name", "net.name", "data.name", "seed"
MOST_LABELS = 8  # more colours are hard to distinguish: then a scale for a number, or fewer settings
_STYLES = ("solid", "dashed", "dashdot", "dotted")
_NAMES: dict[str, Callable[[str], str]] = {LOSS: loss_name, NETWORK: network_name, DATA: data_set_name}
_ORDERS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    LOSS: loss_order, NETWORK: network_order, DATA: data_set_order
}  # fmt: skip


@dataclass(frozen=True)
class _Group:
    """The runs of one colour."""

    label: str
    value: object
    colour: ColorType
    style: str


class Hue:
    """How the lines of ``runs`` are told apart.

    Args:
        runs: all that are drawn; groups of seeds count as one.
        key: the setting that chooses the colour, as a user calls it. By default that is what differs between
            runs of one network, data set and loss; where nothing does, the loss.
        besides: a setting that the x axis shows: it needs no colours.

    Raises ConfigError for a key that no run has.
    """

    def __init__(self, runs: Sequence[Run], key: str | None = None, besides: str | None = None) -> None:
        self.varying = Varying(runs)
        other = self.varying.find(besides) if besides else ""
        self.cell_of = {run: run.cell for run in runs}  # reading it from the record takes time
        cells: dict[tuple[str, str, str], list[Run]] = {}
        for run, cell in self.cell_of.items():
            cells.setdefault(cell, []).append(run)
        among = [self.varying.differing(members) for members in cells.values()]
        telling = [name for name in self.varying.telling() if name != other and not self.varying.leader(name)]
        within = [name for name in telling if any(name in differing for differing in among)]
        self.keys = (self.varying.find(key),) if key else tuple(within) or (LOSS,)
        if len(self._identities(runs, self.keys)) > MOST_LABELS and len(self.keys) > 1:
            self.keys = (max(self.keys, key=lambda name: len(self._identities(runs, (name,)))),)
        losses = sorted({loss for _, _, loss in cells}, key=loss_order)
        self.by_loss = self.keys == (LOSS,)
        self.losses = () if self.by_loss or len(losses) == 1 else tuple(losses)
        self._shown = tuple(filter(None, (*self.keys, other)))
        self._loss_looks = loss_looks(losses)
        self._of_run = {run: self._group(run) for run in runs}
        self.unseen = self._unseen(runs, [name for name in within if name not in self.keys])
        self._groups = dict(self._made(runs))
        self._places = {key: place for place, key in enumerate(self._groups)}

    @property
    def labels(self) -> list[str]:
        """What the colours stand for, in order."""
        return [group.label for group in self._groups.values()]

    @property
    def bar(self) -> ColourBar | None:
        """The scale of the colours, where they are too many for a legend."""
        values = [group.value for group in self._groups.values()]
        numbers = [value for value in values if is_number(value)]
        if self.by_loss or len(self.keys) > 1 or not MOST_LABELS < len(numbers) == len(values):
            return None
        line = NumberLine(numbers)
        return ColourBar(self.varying.heading(self.keys[0]), *line.ends, line.scale())

    def covers(self, key: str) -> bool:
        """Whether colours stand for ``key``, so that runs that differ in it share a panel."""
        return key in self.keys

    def group(self, run: Run) -> Hashable:
        """Equal for runs of one colour."""
        return self._of_run[run]

    def of_one_loss(self) -> Hue:
        """The same for runs of one loss: line styles need not tell losses apart."""
        other = copy.copy(self)
        other.losses = ()
        return other

    def place(self, run: Run) -> int:
        """The place of a run's colour among all."""
        return self._places[self.group(run)]

    def look(self, run: Run) -> Look:
        """Colour and line style of a run."""
        group = self._groups[self.group(run)]
        return group.colour, self._loss_looks[self.cell_of[run][2]][1] if self.losses else group.style

    def legend(self, runs: Sequence[Run], *, styles: bool) -> Iterator[LegendEntry]:
        """What the colours of ``runs`` stand for. ``styles``: line styles belong to the runs, too."""
        present = {self.group(run) for run in runs}
        shown = [group for key, group in self._groups.items() if key in present]
        if self.bar is None:
            for i, group in enumerate(shown):
                styled = styles and not self.losses
                line = (
                    sample(group.colour, LINE_STYLES[group.style])
                    if styled
                    else sample(group.colour, width=3.0)
                )
                yield LegendEntry(line, f"{'' if i else self._heading}{group.label}")
        losses = [loss for loss in self.losses if any(self.cell_of[run][2] == loss for run in runs)]
        if styles and len(losses) > 1:
            for loss in losses:
                yield LegendEntry(sample(GREY, LINE_STYLES[self._loss_looks[loss][1]]), loss_name(loss))

    def text(self, run: Run, key: str) -> str:
        """A setting's value in words: of networks, data sets and losses their printed names."""
        text, name = self.varying.text(run, key), _NAMES.get(key)
        return name(text) if name else text

    @property
    def facet_labels(self) -> list[str]:
        """What the columns stand for where each colour has some of its own."""
        return [f"{self._heading}{label}" for label in self.labels]

    @property
    def _heading(self) -> str:
        """What stands before a label that does not say itself which setting it is of."""
        alone = len(self.keys) == 1 and self.keys[0] not in _NAMES
        return f"{self.varying.heading(self.keys[0])} " if alone else ""

    def shift(self, run: Run) -> float:
        """Where the dashes of a run's vertical lines begin: of two looks at one epoch both show."""
        return 2.0 * self.place(run) if len(self._groups) == 2 else 0.0

    def caption(self) -> str:
        """What tells lines of one colour apart, and what comes with a choice that is shown."""
        parts = [f"lines of one colour differ in {', '.join(self.unseen)}"] if self.unseen else []
        for choice in self._shown:
            brought = [name for name in self.varying.telling() if self.varying.leader(name) == choice]
            if brought:
                own = ", ".join(map(self.varying.heading, brought))
                parts.append(f"each {self.varying.heading(choice)} has its own {own}")
        return "; ".join(parts)

    def _group(self, run: Run) -> Hashable:
        return self.cell_of[run][2] if self.by_loss else self.varying.identity(run, self.keys)

    def _unseen(self, runs: Sequence[Run], names: Sequence[str]) -> list[str]:
        """Those of ``names`` that tell lines of one colour and panel apart, to be said below the figure."""
        alike: dict[Hashable, list[Run]] = {}
        for run in runs:
            alike.setdefault((self._of_run[run], self.cell_of[run]), []).append(run)
        among = [self.varying.differing(members, names) for members in alike.values()] if names else []
        return [self.varying.heading(name) for name in names if any(name in found for found in among)]

    def _identities(self, runs: Sequence[Run], keys: Sequence[str]) -> set[Hashable]:
        return {self.varying.identity(run, keys) for run in runs}

    def _made(self, runs: Sequence[Run]) -> Iterator[tuple[Hashable, _Group]]:
        """The groups of runs in the order of the legend, each with its look."""
        if self.by_loss:
            for loss, (colour, style) in self._loss_looks.items():
                if any(self.cell_of[run][2] == loss for run in runs):
                    yield loss, _Group(loss_name(loss), loss, colour, style)
            return
        first: dict[Hashable, Run] = {}
        for run in runs:
            first.setdefault(self.group(run), run)
        found = sorted(first.items(), key=lambda item: self._order(item[1]))
        labels = shortened([self._label(run) for _, run in found])
        values = [self.varying.value(run, self.keys[0]) for _, run in found]
        numbers = [value for value in values if is_number(value)]
        places = _places(numbers) if len(self.keys) == 1 and len(numbers) == len(values) else None
        colours = palette(len(found))
        different = len(set(map(to_hex, colours)))
        for i, ((key, _), label) in enumerate(zip(found, labels, strict=True)):
            if places is not None:
                yield key, _Group(label, values[i], ordered_colour(places[i]), "solid")
            else:
                yield key, _Group(label, values[i], colours[i], _STYLES[(i + i // different) % len(_STYLES)])

    def _label(self, run: Run) -> str:
        if len(self.keys) > 1:
            return self.varying.label(run, self.keys)
        return self.text(run, self.keys[0])

    def _order(self, run: Run) -> tuple[tuple[Any, ...], ...]:
        """Names as in tables; numbers by size, then text; null, such as a layer that is not there, first."""
        return tuple(_ORDERS.get(key, sort_key)(self.varying.value(run, key)) for key in self.keys)


def _places(numbers: Sequence[float]) -> Sequence[float]:
    """From 0 to 1: evenly apart where each has an entry in the legend, else as on the scale beside it."""
    if len(numbers) <= MOST_LABELS:
        return [i / max(1, len(numbers) - 1) for i in range(len(numbers))]
    line = NumberLine(numbers)
    return [line.fraction(number) for number in numbers]
