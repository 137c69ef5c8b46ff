"""``nc-status``: the states of runs, once or repeatedly. Imports no torch."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.commands.ending import DONE, FAILED, add_runs, add_version, complain, finish
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.runs.record import RUN_FILE

if TYPE_CHECKING:
    from rich.console import Console

    from nc_runner.status import Overview

PROGRAM = "nc-status"
_SECONDS = 2.0  # between two looks


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nc-status",
        description="List runs with state, epoch, NC1, test accuracy and time left, "
        "and the runs that a sweep has not started yet.",
        epilog="examples: nc-status    nc-status outputs/ --watch    nc-status --json",
    )
    add_runs(result)
    result.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=_SECONDS,
        metavar="SECONDS",
        help=f"update every SECONDS (default: {_SECONDS:g}) until no run is running or waiting; Ctrl-C quits",
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


def _with_interval(arguments: Sequence[str]) -> list[str]:
    """``--watch outputs/`` means the folder: argparse would take it for the seconds."""
    result = list(arguments)
    for index, word in enumerate(arguments[:-1]):
        if word == "--watch":
            try:
                float(arguments[index + 1])
            except ValueError:
                result[index] = f"--watch={_SECONDS}"
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return finish(PROGRAM, lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    chosen = parser().parse_args(_with_interval(arguments))
    if chosen.watch is None:
        return _once(chosen.runs, chosen.json)
    return _watch(chosen.runs, chosen.watch, chosen.json)


def _look(paths: list[Path]) -> Overview:
    from nc_runner.status import overview

    try:
        seen = overview(paths)
    except RunFolderError as error:
        raise ConfigError(f"{error}\ngive run folders, or a folder above them such as outputs/") from None
    if not seen.runs and not seen.problems:
        raise ConfigError(f"no runs in {', '.join(map(str, paths))}: no folder there contains a {RUN_FILE}")
    return seen


def _once(paths: list[Path], for_machines: bool) -> int:
    seen = _look(paths)
    _print(seen, for_machines)
    return DONE if seen.runs else FAILED


def _print(seen: Overview, for_machines: bool) -> None:
    """The table, or all as JSON; what could not be read goes to stderr."""
    from rich.console import Console

    from nc_runner.commands.status_table import as_data, render

    for problem in seen.problems:
        complain(PROGRAM, f"left out: {problem}")
    if for_machines:
        print(json.dumps(as_data(seen), indent=2))
    elif seen.runs:
        console = Console()
        width = console.width if console.is_terminal else None
        if width is None:
            console = Console(width=10_000, no_color=True, highlight=False)
        with console.capture() as table:  # print() ends quietly where a pipe is closed; rich exits with 1
            console.print(render(seen, width))
        print(table.get(), end="")


def _watch(paths: list[Path], seconds: float, for_machines: bool) -> int:
    from rich.console import Console

    console = Console(highlight=False)
    try:
        if for_machines:
            seen = _print_lines(paths, seconds)
        elif console.is_terminal:
            seen = _refresh(paths, seconds, console)
        else:  # nothing to refresh: the table when all is done
            while (seen := _look(paths)).moving:
                time.sleep(seconds)
            _print(seen, for_machines)
    except KeyboardInterrupt:
        return DONE  # the usual end
    return DONE if seen.runs else FAILED


def _print_lines(paths: list[Path], seconds: float) -> Overview:
    from nc_runner.commands.status_table import as_data

    while True:
        seen = _look(paths)
        print(json.dumps(as_data(seen)), flush=True)
        if not seen.moving:
            return seen
        time.sleep(seconds)


def _refresh(paths: list[Path], seconds: float, console: Console) -> Overview:
    """Show the table on a terminal and update it until no run is running or waiting."""
    from rich.live import Live

    from nc_runner.commands.status_table import render

    seen = _look(paths)
    footer = f"updated every {seconds:g} s; Ctrl-C quits, the runs continue"
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(render(seen, console.width, console.height - 1, footer), refresh=True)
                if not seen.moving:
                    break
                time.sleep(seconds)
                seen = _look(paths)
        finally:
            live.update(render(seen, console.width), refresh=False)  # all runs stay on the screen
    for problem in seen.problems:
        complain(PROGRAM, f"left out: {problem}")
    return seen


if __name__ == "__main__":
    sys.exit(main())
