"""``nc-status``: what the runs are doing, once or again and again. Imports no torch."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.errors import RunFolderError
from nc_runner.runs.record import RUN_FILE

if TYPE_CHECKING:
    from nc_runner.status import Overview

DONE, FAILED, BAD_ARGUMENTS, STOPPED = 0, 1, 2, 130
_SECONDS = 2.0  # between two looks


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nc-status",
        description="List runs with state, epoch, NC1, test accuracy and time left; "
        "also the runs that a sweep has not begun yet.",
        epilog="examples: nc-status outputs/    nc-status outputs/ --watch    nc-status outputs/ --json",
    )
    result.add_argument(
        "runs", nargs="+", metavar="RUNS", type=Path, help="run folders, or any folder above them"
    )
    result.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=_SECONDS,
        metavar="SECONDS",
        help=f"look again every SECONDS (default: {_SECONDS:g}) until no run runs or waits; Ctrl-C ends it",
    )
    result.add_argument(
        "--json", action="store_true", help="for machines; with --watch one line for each look"
    )
    return result


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is refused: at least 0.1 seconds")
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
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser().parse_args(_with_interval(given))
    try:
        if chosen.watch is None:
            return _once(chosen.runs, chosen.json)
        return _watch(chosen.runs, chosen.watch, chosen.json)
    except RunFolderError as error:
        _complain(f"{error}\ngive run folders, or a folder above them such as outputs/")
        return BAD_ARGUMENTS
    except KeyboardInterrupt:
        return STOPPED if chosen.watch is None else DONE  # the usual end of watching
    except BrokenPipeError:  # as in nc-status outputs/ | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _complain(message: str) -> None:
    print(f"nc-status: {message}", file=sys.stderr)


def _look(paths: list[Path]) -> Overview:
    from nc_runner.status import overview

    seen = overview(paths)
    if not seen.runs and not seen.problems:
        raise RunFolderError(f"no runs in {', '.join(map(str, paths))}: no folder there holds a {RUN_FILE}")
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
        _complain(f"left out: {problem}")
    if for_machines:
        print(json.dumps(as_data(seen), indent=2))
    elif seen.runs:
        console = Console()
        if console.is_terminal:
            console.print(render(seen, console.width))
        else:
            Console(width=10_000, no_color=True, highlight=False).print(render(seen))


def _watch(paths: list[Path], seconds: float, for_machines: bool) -> int:
    from rich.console import Console
    from rich.live import Live

    from nc_runner.commands.status_table import as_data, render

    seen = _look(paths)
    console = Console(highlight=False)
    if for_machines:
        print(json.dumps(as_data(seen)), flush=True)
        while seen.moving:
            time.sleep(seconds)
            seen = _look(paths)
            print(json.dumps(as_data(seen)), flush=True)
    elif not console.is_terminal:  # nothing to refresh: the table when all is done
        while seen.moving:
            time.sleep(seconds)
            seen = _look(paths)
        _print(seen, for_machines)
    else:
        footer = f"again every {seconds:g} s; Ctrl-C ends the watching, not the runs"
        with Live(console=console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(render(seen, console.width, console.height - 1, footer), refresh=True)
                    if not seen.moving:
                        break
                    time.sleep(seconds)
                    seen = _look(paths)
            finally:
                live.update(render(seen, console.width), refresh=False)  # all of them stay on the screen
        for problem in seen.problems:
            _complain(f"left out: {problem}")
    return DONE if seen.runs else FAILED


if __name__ == "__main__":
    sys.exit(main())
