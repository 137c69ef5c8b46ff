"""What the commands share: arguments, exit codes, and how errors, Ctrl-C and closed pipes end them."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from nc_runner.errors import ConfigError, NCRunnerError, printable
from nc_runner.training.signals import StopRequested

DONE, FAILED, BAD_ARGUMENTS, STOPPED = 0, 1, 2, 130


def add_version(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add ``--version`` to ``parser``."""
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print the version and exit")
    return parser


def add_examples(parser: argparse.ArgumentParser, *lines: str) -> None:
    """End the help with ``lines``, one below the other; argparse would make one paragraph of them."""
    parser.description = textwrap.fill(parser.description or "", 79)
    parser.epilog = "\n  ".join(["examples:", *lines])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


class _ShowVersion(argparse.Action):
    """``--version``: as argparse's own, but the version is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from nc_runner import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``runs``: run folders, or folders above them; ``outputs/`` by default."""
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUNS",
        type=Path,
        default=[Path("outputs")],
        help="run folders, or any folder above them (default: outputs/)",
    )


def finish(program: str, command: Callable[[], int]) -> int:
    """Run ``command`` and return the exit code; print errors that a user can cause, without a traceback."""
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()  # here, not at the interpreter's end: a closed pipe would raise there
    except NCRunnerError as error:
        complain(program, str(error))
        return BAD_ARGUMENTS if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return STOPPED
    except StopRequested as stop:
        return stop.exit_code
    except BrokenPipeError:  # as in nc-plot | head: the work is done, and nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def complain(program: str, message: str) -> None:
    """Print ``message`` to stderr; it may repeat what was typed, or what a file holds."""
    print(f"{program}: {printable(message)}", file=sys.stderr, flush=True)
