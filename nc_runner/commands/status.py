"""``nc-status``: the states of runs, once or repeatedly. Imports no torch."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.commands.ending import DONE, FAILED, add_examples, add_runs, add_version, complain, finish
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.runs.garbage import garbage_kept
from nc_runner.runs.record import RUN_FILE

if TYPE_CHECKING:
    from rich.console import Console

    from nc_runner.commands.status_choice import Listing
    from nc_runner.status import Overview

PROGRAM = "nc-status"
_SECONDS = 2.0  # between two looks


@dataclass(frozen=True)
class _Command:
    """What the command line asks for. ``folders``: whole paths of runs; ``for_machines``: JSON."""

    paths: list[Path]
    states: tuple[str, ...]
    sort: str | None
    folders: bool
    for_machines: bool

    def chosen(self, overview: Overview) -> Listing:
        """The runs that are to be listed. Raises ConfigError for an unknown key to sort by."""
        from nc_runner.commands.status_choice import Choice  # here: it takes longer than an error should

        return Choice(self.states, self.sort).of(overview)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nc-status",
        description="List runs with the settings in which they differ, state, epoch, NC1, test accuracy and "
        "time left, and the runs that a sweep has not started yet.",
    )
    add_examples(
        result,
        "nc-status",
        "nc-status outputs/ --watch",
        "nc-status --sort -nc1",
        "nc-status --state failed,diverged --folders",
        "nc-status --json",
    )
    add_runs(result)
    result.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="list only runs in this state, or these: failed,diverged",
    )
    result.add_argument(
        "--sort",
        metavar="KEY",
        help="sort by a column (state, epoch, nc1, test, left, folder) or a setting such as lr; "
        "-KEY from the largest to the smallest",
    )
    result.add_argument(
        "--folders", action="store_true", help="print the whole path of each run, not the hash of its folder"
    )
    result.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=_SECONDS,
        metavar="SECONDS",
        help=f"update every SECONDS (default: {_SECONDS:g}) until no run is running or waiting, or wait for "
        "the first run; Ctrl-C quits",
    )
    result.add_argument(
        "--json", action="store_true", help="print JSON; with --watch one line for each update"
    )
    return add_version(result)


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 0.1 seconds")
    return seconds


def _unmistakable(arguments: Sequence[str]) -> list[str]:
    """``--watch outputs/`` means the folder, and ``--sort -nc1`` a key: argparse would misread both."""
    result: list[str] = []
    for word in arguments:
        if result and result[-1] == "--watch":
            try:
                float(word)
            except ValueError:
                result[-1] = f"--watch={_SECONDS}"
        if result and result[-1] == "--sort" and word.startswith("-") and not word.startswith("--"):
            result[-1] = f"--sort={word}"
            continue
        result.append(word)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return finish(PROGRAM, lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    given = parser().parse_args(_unmistakable(arguments))
    states = _states(given.state) if given.state else ()
    command = _Command(given.runs, states, given.sort, given.folders, given.json)
    return _once(command) if given.watch is None else _watch(command, given.watch)


def _states(words: Sequence[str]) -> tuple[str, ...]:
    from nc_runner.commands.status_choice import states_of

    return states_of(words)


def _look(command: _Command) -> Listing:
    from nc_runner.status import overview

    try:
        seen = overview(command.paths)
    except RunFolderError as error:
        raise ConfigError(f"{error}\ngive run folders, or a folder above them such as outputs/") from None
    if not seen.runs and not seen.problems:
        raise ConfigError(f"no runs in {_named(command)}: no folder there contains a {RUN_FILE}")
    return command.chosen(seen)


def _once(command: _Command) -> int:
    with garbage_kept():  # of ten thousand runs, everything is kept until the table is printed
        seen = _look(command)
        _print(command, seen)
    return DONE if seen.overview.runs else FAILED


def _print(command: _Command, seen: Listing) -> None:
    """The table, or all as JSON; what could not be read goes to stderr."""
    from rich.console import Console, Group

    from nc_runner.commands.status_table import Window, as_data, render

    _complain(seen)
    if command.for_machines:
        print(json.dumps(as_data(seen), indent=2))
    elif seen.overview.runs:
        console = Console(highlight=False)
        if not console.is_terminal:
            print("\n".join(line.plain for line in render(seen, Window())))
            return
        with console.capture() as table:  # print() ends quietly where a pipe is closed; rich exits with 1
            lines = render(seen, Window(console.width, folders=command.folders))
            console.print(Group(*lines), crop=False)  # paths may be longer
        print(table.get(), end="")


def _complain(seen: Listing) -> None:
    from nc_runner.commands.grid import printable

    for problem in seen.overview.problems:
        complain(PROGRAM, f"left out: {printable(problem)}")


def _watch(command: _Command, seconds: float) -> int:
    from rich.console import Console

    console = Console(highlight=False)
    seen = None
    try:
        if command.for_machines:
            seen = _print_lines(command, seconds)
        elif console.is_terminal:
            seen = _refresh(command, seconds, console)
        else:  # nothing to refresh: the table when all is done
            for look in _looks(command, seconds, waiting=lambda text: complain(PROGRAM, text)):
                seen = look
            if seen is not None:
                _print(command, seen)
    except KeyboardInterrupt:
        return DONE  # the usual end
    return DONE if seen is not None and seen.overview.runs else FAILED


def _looks(command: _Command, seconds: float, waiting: Callable[[str], None]) -> Iterator[Listing]:
    """Look every so many seconds until no run moves; call ``waiting`` once while there is no run yet."""
    from nc_runner.status import overview

    said = False
    while True:
        for path in command.paths:
            if path.exists() and not path.is_dir():
                raise ConfigError(f"{path} is not a folder\ngive run folders, or a folder above them")
        there = [path for path in command.paths if path.is_dir()]
        seen = overview(there)
        if seen.runs or seen.problems:
            yield command.chosen(seen)
            if not seen.moving and len(there) == len(command.paths):
                return
        elif not said:
            missing = [str(path) for path in command.paths if path not in there]
            lacks = f"there is no folder {', '.join(missing)} yet" if missing else "there is no run yet"
            waiting(f"waiting for the first run in {_named(command)}: {lacks}")
            said = True
        time.sleep(seconds)


def _print_lines(command: _Command, seconds: float) -> Listing | None:
    from nc_runner.commands.status_table import as_data

    seen = None
    for seen in _looks(command, seconds, waiting=lambda text: complain(PROGRAM, text)):
        print(json.dumps(as_data(seen)), flush=True)
    return seen


def _refresh(command: _Command, seconds: float, console: Console) -> Listing | None:
    """Show the table on a terminal and update it until no run is running or waiting."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from nc_runner.commands.grid import printable
    from nc_runner.commands.status_table import Window, render

    footer = f"updated every {seconds:g} s; Ctrl-C quits, the runs continue"
    seen = None
    with Live(console=console, auto_refresh=False) as live:

        def wait(text: str) -> None:
            live.update(Text(f"{printable(text)}; Ctrl-C quits"), refresh=True)

        try:
            for seen in _looks(command, seconds, wait):
                window = Window(console.width, console.height - 1, command.folders, footer)
                live.update(Group(*render(seen, window)), refresh=True)
        finally:
            if seen is not None:  # all runs stay on the screen
                whole = Window(console.width, folders=command.folders)
                live.update(Group(*render(seen, whole)), refresh=False)
    if seen is not None:
        _complain(seen)
    return seen


def _named(command: _Command) -> str:
    return ", ".join(map(str, command.paths))


if __name__ == "__main__":
    sys.exit(main())
