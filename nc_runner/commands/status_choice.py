"""Which runs ``nc-status`` lists, and in which order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError
from nc_runner.runs.reader import Record
from nc_runner.runs.record import RUNNING
from nc_runner.runs.varying import CELL, Cell, Varying
from nc_runner.status import STATES, Overview, RunStatus

_Key: TypeAlias = "float | str | None"
_ALIASES = {"test_accuracy": "test"}
_COLUMNS: dict[str, Callable[[RunStatus], _Key]] = {
    "state": lambda run: STATES.index(run.state),
    "epoch": lambda run: run.epoch,
    "nc1": lambda run: run.nc1,
    "test": lambda run: run.test_accuracy,
    "left": lambda run: run.seconds_left if run.state == RUNNING else None,
    "folder": lambda run: "",  # as they come
}


@dataclass(frozen=True)
class Listing:
    """The ``runs`` to be listed of an ``overview``. ``sorted``: not in the order of their folders."""

    overview: Overview
    runs: list[RunStatus]
    sorted: bool = False

    @cached_property
    def varying(self) -> Varying:
        """In what all runs differ: what the listed ones have in common among these is told, too."""
        return Varying(self.records(self.overview.runs))

    @staticmethod
    def records(runs: Sequence[RunStatus]) -> list[Record]:
        """The settings of those runs of which they are known."""
        return [run.record for run in runs if run.record is not None]


@dataclass(frozen=True)
class Choice:
    """What a user wants to see: ``states``, all where there are none; ``sort``: a column or a setting.

    A minus before it sorts from the largest to the smallest.
    """

    states: tuple[str, ...] = ()
    sort: str | None = None

    def of(self, overview: Overview) -> Listing:
        """The chosen runs. Raises ConfigError where no run has the setting to sort by."""
        listing = Listing(
            overview, [run for run in overview.runs if not self.states or run.state in self.states]
        )
        if self.sort is None:
            return listing
        name = self.sort.removeprefix("-")
        key = _COLUMNS.get(_ALIASES.get(name.lower(), name.lower())) or self._setting(name, listing)
        keyed = [(key(run), run) for run in listing.runs]
        known = [(value, run) for value, run in keyed if value is not None]
        known.sort(key=lambda pair: _order(pair[0]), reverse=self.sort.startswith("-"))
        unknown = [run for value, run in keyed if value is None]
        return replace(listing, runs=[*(run for _, run in known), *unknown], sorted=True)

    def _setting(self, name: str, listing: Listing) -> Callable[[RunStatus], Cell]:
        varying = listing.varying
        if not Listing.records(listing.overview.runs):  # runs are about to begin: nothing is known of them
            return lambda run: None
        try:
            key = varying.find(name)
        except ConfigError as error:
            if "is not clear" in str(error):
                raise ConfigError(f"--sort {error}") from None
            names = (*_COLUMNS, *CELL.values(), *map(varying.heading, varying.keys))
            few = ", ".join((*_COLUMNS, *CELL.values(), *map(varying.heading, varying.telling())))
            wrong = nearest(name, names) or nearest(name.lower(), names) or _hint(str(error))
            raise ConfigError(
                f"--sort {self.sort}: there is no such column or setting{wrong}\ngive one of {few}"
            ) from None
        return lambda run: None if run.record is None else varying.value(run.record, key)


def states_of(given: Sequence[str]) -> tuple[str, ...]:
    """The states that ``--state`` names, separated by commas too. Raises ConfigError for an unknown one."""
    chosen = []
    for word in (word.strip() for words in given for word in words.split(",")):
        state = word.lower().replace("-", " ").replace("_", " ")
        if state not in STATES:
            raise ConfigError(
                f"--state {word}: there is no such state{nearest(state, STATES)}\n"
                f"give some of {', '.join(STATES)}"
            )
        chosen.append(state)
    return tuple(chosen)


def _hint(message: str) -> str:
    """What the message about an unknown setting guesses."""
    found = re.search(r"; did you mean .*\?", message)
    return found[0] if found else ""


def _order(value: Cell) -> tuple[int, float, str]:
    """Numbers first, by size; then what is text."""
    if isinstance(value, (int, float)):
        return 0, value, ""
    return 1, 0.0, str(value)
