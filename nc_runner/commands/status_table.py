"""The table of ``nc-status``, for terminals of any size and for files; and the same as JSON."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

from rich.text import Text

from nc_runner.commands.grid import Column, Grid, Layout, Row, printable, shorten
from nc_runner.commands.settings_columns import SettingsColumns, settings_data
from nc_runner.commands.status_choice import Listing
from nc_runner.runs.record import COMPLETE, DIVERGED, FAILED, INTERRUPTED, RUNNING
from nc_runner.status import KILLED, NOT_STARTED, PERHAPS_KILLED, WAITING, RunStatus

_STYLES = {
    COMPLETE: "green",
    RUNNING: "bold cyan",
    INTERRUPTED: "yellow",
    KILLED: "red",
    PERHAPS_KILLED: "red",
    FAILED: "red",
    DIVERGED: "red",
}
_RESUMABLE = (INTERRUPTED, KILLED, FAILED, NOT_STARTED)
_GIVEN_UP = (COMPLETE, NOT_STARTED, WAITING, INTERRUPTED)  # first to go where the window is low
_MOST_REASONS = 5
_NOT_DATA = ("record", "pace", "measured")
_HASH = re.compile(r"-([0-9a-f]{8})$")

# Beside the settings. Where the window is narrow, test goes first of these, then NC1, then some settings.
_OTHERS = (
    Column("state", right=False), Column("epoch", leaves=203), Column("NC1", leaves=101),
    Column("test", leaves=100), Column("left", leaves=202), Column("folder", right=False),
)  # fmt: skip
_BESIDE = 102  # so many turns come before the settings that go last


@dataclass(frozen=True)
class Window:
    """What the table has to fit into. Without a width all is whole, as for a file; without a height all runs.

    ``folders``: the whole path of each run in place of its hash; ``footer``: a last line.
    """

    width: int | None = None
    height: int | None = None
    folders: bool = False
    footer: str = ""


def render(listing: Listing, window: Window) -> list[Text]:
    """The lines of the table, the runs' counts and what to do."""
    foot = _foot(listing, window)
    if window.footer:
        foot.append(Text(window.footer, style="dim"))
    table = _Table(listing, window)
    if table.hidden:
        foot.insert(0, Text(f"the window is too narrow for {', '.join(table.hidden)}", style="dim"))
    shown = table.runs_in(None if window.height is None else window.height - len(foot))
    if more := len(listing.runs) - len(shown):
        foot.insert(0, Text(f"{more} more are not shown: the window is too low", style="dim"))
    lines = [*table.lines(shown), *foot]
    for line in lines:
        line.no_wrap, line.overflow = window.width is not None, line.overflow or "ellipsis"
    return lines


class StatusData(TypedDict):
    """What ``--json`` prints: all that is known of each listed run; counts are those of all runs."""

    runs: list[dict[str, Any]]
    counts: dict[str, int]
    seconds_left: float | None
    problems: list[str]


def as_data(listing: Listing) -> StatusData:
    """The listing in plain dicts, lists and numbers."""
    runs = []
    for run in listing.runs:
        fields = {name: value for name, value in vars(run).items() if name not in _NOT_DATA}
        settings = settings_data(listing.varying, run.record)
        runs.append(fields | {"folder": str(run.folder), "settings": settings})
    overview = listing.overview
    return StatusData(
        runs=runs,
        counts=overview.counts,
        seconds_left=overview.seconds_left,
        problems=overview.problems,
    )


def duration(seconds: float | None) -> str:
    """Seconds in words.

    >>> duration(42.0), duration(1500.0), duration(12240.0), duration(250000.0), duration(None)
    ('42 s', '25 min', '3.4 h', '2.9 d', '-')
    """
    if seconds is None:
        return "-"
    for most, unit, word, digits in ((90, 1, "s", 0), (5400, 60, "min", 0), (129600, 3600, "h", 1)):
        if seconds < most:
            return f"{seconds / unit:.{digits}f} {word}"
    return f"{seconds / 86400:.1f} d"


class _Table:
    """The runs of a listing as lines, with a heading for each folder above them where that saves space."""

    def __init__(self, listing: Listing, window: Window) -> None:
        self._runs = listing.runs
        self._window = window
        parents = len({run.folder.parent for run in self._runs})
        # sorted runs, and cells of one run each, would have a heading for every run
        fewer = 2 * parents <= max(len(self._runs), 2)
        self._headed = window.width is not None and fewer and not (listing.sorted or window.folders)
        groups = [Listing.records(list(runs)) for _, runs in self._grouped(listing.overview.runs)]
        settings = SettingsColumns(listing.varying, groups)
        columns = [*settings.columns(_BESIDE), *_OTHERS]
        rows = [_row(run, settings, window) for run in self._runs]
        self._layout = self._fitted(columns, rows, settings)
        self._paths_below = window.folders and self._layout.width > (window.width or self._layout.width)
        if self._paths_below:
            self._layout = self._fitted(columns[:-1], rows, settings)

    @property
    def hidden(self) -> list[str]:
        """The headings of columns for which the window is too narrow."""
        return self._layout.hidden

    def runs_in(self, height: int | None) -> set[Path]:
        """The folders of the runs that fit into so many lines: those that move before those that ended."""
        shown = list(self._runs)
        if height is not None:
            states = {run.state for run in shown}
            for state in _GIVEN_UP:
                if state in states and self._count(shown) + (len(shown) < len(self._runs)) > height:
                    shown = [run for run in shown if run.state != state]
            if self._count(shown) + (len(shown) < len(self._runs)) > height:
                shown = list(self._first(shown, height - 2))  # the headings, and how many are left out
        return {run.folder for run in shown}

    def lines(self, shown: set[Path]) -> Iterator[Text]:
        """The headings, and the lines of these runs."""
        if not shown:
            return
        yield self._layout.header()
        texts = dict(zip((run.folder for run in self._runs), self._layout.lines(), strict=True))
        for parent, runs in self._grouped([run for run in self._runs if run.folder in shown]):
            if self._headed:
                yield Text(shorten(nearby(parent), self._window.width or 80), style="bold")
            for run in runs:
                yield texts[run.folder]
                if self._paths_below:
                    yield Text(f"    {nearby(run.folder)}", style="dim", overflow="ignore")

    def _fitted(self, columns: Sequence[Column], rows: Sequence[Row], settings: SettingsColumns) -> Layout:
        """The columns that say something of some run, as far as the window is wide enough; in a file all."""
        optional = ("NC1", "test", "left") if self._window.width is not None else ()
        places = [
            i
            for i, column in enumerate(columns)
            if column.heading not in optional or any(row.cells[i] != "-" for row in rows)
        ]
        grid = Grid(
            [columns[i] for i in places],
            [Row([row.cells[i] for i in places], row.style, row.lead) for row in rows],
            styled=places.index(len(settings.keys)),
            leading=len(settings.keys),
        )
        whole = self._window.folders and columns[-1] is _OTHERS[-1]  # paths are never cut
        return grid.fitted(None if whole else self._window.width, indent=2 if self._headed else 0)

    def _grouped(self, runs: Sequence[RunStatus]) -> Iterator[tuple[Path, Iterator[RunStatus]]]:
        return groupby(runs, key=lambda run: run.folder.parent if self._headed else Path())

    def _count(self, runs: Sequence[RunStatus]) -> int:
        headings = len({run.folder.parent for run in runs}) if self._headed else 0
        return 1 + len(runs) * (1 + self._paths_below) + headings

    def _first(self, runs: Sequence[RunStatus], lines: int) -> Iterator[RunStatus]:
        for _, group in self._grouped(runs):
            lines -= self._headed
            for run in group:
                lines -= 1 + self._paths_below
                if lines < 0:
                    return
                yield run


def _row(run: RunStatus, settings: SettingsColumns, window: Window) -> Row:
    test = "-" if run.test_accuracy is None else f"{run.test_accuracy:.2%}"
    name = nearby(run.folder) if window.folders or window.width is None else short(run.folder)
    cells = (
        run.state,
        f"{run.epoch}/{run.epochs}" if run.epochs else str(run.epoch),
        "-" if run.nc1 is None else f"{run.nc1:.1e}",
        test.replace("100.00%", "100.0%"),
        duration(run.seconds_left if run.state == RUNNING else None),
        name,
    )
    lead = printable(run.folder.name) if run.record is None and window.width is not None else None
    return Row([*settings.cells(run.record), *cells], _STYLES.get(run.state, "dim"), lead)


def short(folder: Path) -> str:
    """The hash at the end of a folder's name, or the name of a folder that has none."""
    found = _HASH.search(folder.name)
    return found[1] if found else printable(folder.name)


def _foot(listing: Listing, window: Window) -> list[Text]:
    """Counts and time left, then reasons and remedies for runs that did not complete."""
    overview = listing.overview
    counts = overview.counts
    count = len(overview.runs)
    texts = [f"{count} run{'s' * (count != 1)}: " + ", ".join(f"{n} {state}" for state, n in counts.items())]
    if overview.seconds_left is not None:
        texts.append(f"about {duration(overview.seconds_left)} left")
    elif overview.moving:
        texts.append("time left is not known yet")
    if len(text := "; ".join(texts)) <= (window.width or len(text)):
        texts = [text]
    lines = [Text(text, style="bold") for text in texts]
    if len(listing.runs) < count:
        lines.insert(0, Text(f"listed: {len(listing.runs)} of {count} runs"))
    reasons = [run for run in listing.runs if run.state in (FAILED, DIVERGED) and run.reason]
    for run in reasons[:_MOST_REASONS]:
        reason = printable((run.reason or "").splitlines()[0])
        name = printable(run.folder.name) if window.width is None else short(run.folder)
        lines.append(Text(f"{run.state}: {name}: {reason}"))
    if len(reasons) > _MOST_REASONS:
        lines.append(Text(f"{len(reasons) - _MOST_REASONS} more reasons: --json prints all"))
    stopped = Counter(run.state for run in overview.runs if run.state in _RESUMABLE and not run.measured)
    if resumable := [state for state in counts if stopped[state]]:
        verb = "start" if resumable == [NOT_STARTED] else "resume"
        ending = "s" if stopped.total() == 1 else ""
        lines.append(Text(f"{', '.join(resumable)}: {verb}{ending} with the same command"))
    if PERHAPS_KILLED in counts:
        hosts = sorted({run.host or "?" for run in overview.runs if run.state == PERHAPS_KILLED})
        lines.append(
            Text(
                f"killed?: started on {printable(', '.join(hosts))}; no process is seen to hold the lock "
                "(some shared folders do not show locks of other hosts)"
            )
        )
    return lines


def nearby(path: Path) -> str:
    """``path`` relative to the working directory, where it is below it."""
    return printable(str(path).removeprefix(os.path.join(os.getcwd(), "")))
