"""Which runs ``nc-status`` lists, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from nc_runner.commands.settings_columns import SEED
from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError
from nc_runner.runs.groups import Cell
from nc_runner.runs.reader import Record
from nc_runner.runs.record import RUNNING
from nc_runner.runs.varying import CELL, Varying, sort_key
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
    """The ``runs`` to be listed of an ``overview``.

    Those of a folder are in the order of the settings in which they differ; ``sorted``: in another order.
    """

    overview: Overview
    runs: list[RunStatus]
    varying: Varying  # of all runs: what the listed ones have in common among these is told, too
    sorted: bool = False

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
        runs = [run for run in overview.runs if not self.states or run.state in self.states]
        listing = Listing(overview, runs, Varying(Listing.records(overview.runs)))
        if self.sort is None:
            return replace(listing, runs=_by_settings(listing))
        name = self.sort.removeprefix("-")
        key = _COLUMNS.get(_ALIASES.get(name.lower(), name.lower())) or self._setting(name, listing)
        keyed = [(key(run), run) for run in listing.runs]
        known = [(value, run) for value, run in keyed if value is not None]
        known.sort(key=lambda pair: sort_key(pair[0]), reverse=self.sort.startswith("-"))
        unknown = [run for value, run in keyed if value is None]
        return replace(listing, runs=[*(run for _, run in known), *unknown], sorted=True)

    def _setting(self, name: str, listing: Listing) -> Callable[[RunStatus], Cell]:
        varying = listing.varying
        if not Listing.records(listing.overview.runs):  # runs are about to begin: nothing is known of them
            return lambda run: None
        found = varying.called(name)
        if len(found) > 1:
            raise ConfigError(f"--sort {name} is not clear: give one of {', '.join(found)}")
        if not found:
            names = (*_COLUMNS, *CELL.values(), *map(varying.heading, varying.keys))
            few = ", ".join((*_COLUMNS, *CELL.values(), *map(varying.heading, varying.telling())))
            wrong = nearest(name, names) or nearest(name.lower(), names) or nearest(name, varying.names())
            raise ConfigError(
                f"--sort {self.sort}: there is no such column or setting{wrong}\ngive one of {few}"
            )
        return lambda run: None if run.record is None else varying.value(run.record, found[0])


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


def _by_settings(listing: Listing) -> list[RunStatus]:
    """Folders as they come, the runs of each by what varies and then by their seed."""
    varying = listing.varying
    keys = [*varying.telling(), SEED]
    places: dict[Path, int] = {}

    def order(run: RunStatus) -> tuple[int, bool, list[tuple[bool, float, str]]]:
        place = places.setdefault(run.folder.parent, len(places))
        if run.record is None:
            return place, True, []
        return place, False, [sort_key(varying.value(run.record, key)) for key in keys]

    return sorted(listing.runs, key=order)
