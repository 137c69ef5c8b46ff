"""The table of ``nc-status``, for terminals of any size and for files; and the same as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nc_runner.runs.record import COMPLETE, DIVERGED, FAILED, INTERRUPTED, RUNNING
from nc_runner.status import KILLED, NOT_STARTED, PERHAPS_KILLED, WAITING, Overview, RunStatus

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
_GIVEN_UP = (COMPLETE, NOT_STARTED, WAITING, INTERRUPTED)  # first to go where space is short
_MOST_REASONS = 5

# Heading and width of the columns after the name
_COLUMNS = (("state", 11), ("epoch", 9), ("NC1", 7), ("test", 6), ("left", 8))
_LEAST_NAME = 12


def render(
    overview: Overview, width: int | None = None, height: int | None = None, footer: str = ""
) -> Group:
    """The runs, their counts and what to do, ``width`` columns wide and at most ``height`` lines high.

    Without a width names are whole, as for a file; without a height all runs are shown.
    """
    foot = _foot(overview)
    if footer:
        foot.append(Text(footer, style="dim"))
    shown = list(overview.runs)
    if height is not None:
        for state in _GIVEN_UP:
            if _lines(shown, width) + len(foot) + (len(shown) < len(overview.runs)) > height:
                shown = [run for run in shown if run.state != state]
        while shown and _lines(shown, width) + len(foot) + 1 > height:
            shown.pop()
    if more := len(overview.runs) - len(shown):
        foot.insert(0, Text(f"{more} more are not shown: the window is too low", style="dim"))
    for line in foot:
        line.no_wrap, line.overflow = width is not None, "ellipsis"
    return Group(*_tables(shown, width), *foot)


class StatusData(TypedDict):
    """What ``--json`` prints: all that is known of each run, by field."""

    runs: list[dict[str, str | int | float | None]]
    counts: dict[str, int]
    seconds_left: float | None
    problems: list[str]


def as_data(overview: Overview) -> StatusData:
    """The overview in plain dicts, lists and numbers."""
    return StatusData(
        runs=[vars(run) | {"folder": str(run.folder)} for run in overview.runs],
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


def shorten(name: str, width: int) -> str:
    """``name`` in at most ``width`` letters, cut in the middle: often only its end, a hash, differs.

    >>> shorten("lr0.0184267-seed0-1f0c3a9b", 20)
    'lr0.0184267…1f0c3a9b'
    """
    if len(name) <= width:
        return name
    end = min(8, width - 4)
    return f"{name[: width - end - 1]}…{name[len(name) - end :]}"


def _gap(width: int | None) -> int:
    """Spaces between two columns, fewer in a narrow window."""
    return 2 if width is None or width >= 72 else 1


def _beside(width: int | None) -> int:
    """The width of all columns but the name."""
    return sum(_gap(width) + column for _, column in _COLUMNS)


def _flat(shown: Sequence[RunStatus], width: int | None) -> bool:
    """Whether each line has the whole name, rather than a heading for each cell."""
    if width is None:
        return True
    cells = len({run.folder.parent for run in shown})
    longest = max((len(_nearby(run.folder)) for run in shown), default=0)
    return 2 * cells > len(shown) > 1 and longest + _beside(width) <= width


def _lines(shown: Sequence[RunStatus], width: int | None) -> int:
    headings = 0 if _flat(shown, width) else len([*groupby(shown, key=lambda run: run.folder.parent)])
    return 1 + len(shown) + headings


def _tables(shown: Sequence[RunStatus], width: int | None) -> list[RenderableType]:
    if not shown:
        return []
    flat = _flat(shown, width)
    names = [_nearby(run.folder) if flat else f"  {_printable(run.folder.name)}" for run in shown]
    room = (
        max(map(len, names))
        if width is None
        else min(max(map(len, names)), max(width - _beside(width), _LEAST_NAME))
    )
    room = max(room, 3)
    gap = _gap(width)
    header = _table(room, gap, show_header=True)
    if flat:
        for run, name in zip(shown, names, strict=True):
            _add(header, run, shorten(name, room))
        return [header]
    parts: list[RenderableType] = [header]
    for parent, members in groupby(zip(shown, names, strict=True), key=lambda pair: pair[0].folder.parent):
        heading = _nearby(parent)
        parts.append(Text(heading if width is None else shorten(heading, width), style="bold"))
        table = _table(room, gap)
        for run, name in members:
            _add(table, run, shorten(name, room))
        parts.append(table)
    return parts


def _table(room: int, gap: int, show_header: bool = False) -> Table:
    table = Table(
        box=None, padding=(0, gap, 0, 0), pad_edge=False, show_header=show_header, header_style="bold"
    )
    table.add_column("run", width=room, no_wrap=True)
    for heading, width in _COLUMNS:
        justify: Any = "left" if heading == "state" else "right"
        table.add_column(heading, width=width, justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def _add(table: Table, run: RunStatus, name: str) -> None:
    test = "-" if run.test_accuracy is None else f"{run.test_accuracy:.2%}"
    style = _STYLES.get(run.state, "dim")
    table.add_row(
        Text(name),
        Text(run.state, style=style),
        Text(f"{run.epoch}/{run.epochs}" if run.epochs else str(run.epoch)),
        Text("-" if run.nc1 is None else f"{run.nc1:.1e}"),
        Text(test.replace("100.00%", "100.0%")),
        Text(duration(run.seconds_left if run.state == RUNNING else None)),
    )


def _foot(overview: Overview) -> list[Text]:
    """Counts and time left, then reasons and remedies for runs that did not complete."""
    counts = overview.counts
    count = len(overview.runs)
    text = f"{count} run{'s' * (count != 1)}: " + ", ".join(f"{n} {state}" for state, n in counts.items())
    if overview.seconds_left is not None:
        text += f"; about {duration(overview.seconds_left)} left"
    elif overview.moving:
        text += "; time left is not known yet"
    lines = [Text(text, style="bold")]
    reasons = [run for run in overview.runs if run.state in (FAILED, DIVERGED) and run.reason]
    for run in reasons[:_MOST_REASONS]:
        reason = _printable((run.reason or "").splitlines()[0])
        lines.append(Text(f"{run.state}: {_printable(run.folder.name)}: {reason}"))
    if len(reasons) > _MOST_REASONS:
        lines.append(Text(f"{len(reasons) - _MOST_REASONS} more reasons: --json prints all"))
    if resumable := [state for state in counts if state in _RESUMABLE]:
        verb = "start" if resumable == [NOT_STARTED] else "resume"
        ending = "s" if sum(counts[state] for state in resumable) == 1 else ""
        lines.append(Text(f"{', '.join(resumable)}: {verb}{ending} with the same command"))
    if PERHAPS_KILLED in counts:
        hosts = sorted({run.host or "?" for run in overview.runs if run.state == PERHAPS_KILLED})
        lines.append(
            Text(
                f"killed?: started on {_printable(', '.join(hosts))}; no process is seen to hold the lock "
                "(some shared folders do not show locks of other hosts)"
            )
        )
    return lines


def _nearby(path: Path) -> str:
    """``path`` relative to the working directory, where it is below it."""
    return _printable(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))


def _printable(text: str) -> str:
    """``text`` without what moves a terminal's cursor, and bytes that are no text: names may contain both."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
