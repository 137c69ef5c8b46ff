"""``nc-run --completion SHELL``: the script with which a shell completes the five commands.

The arguments of nc-plot, nc-status, nc-flow and nc-measure are known when the script is made: shtab writes
their part. Settings of nc-run depend on each other and on the user's own folders; the script asks
``nc-run --shell-completion``, Hydra's completion, for them at every TAB.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources

from nc_runner.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")
_HIDDEN = ("--shell-completion", "-sc", "--install", "--uninstall", "--query", "--package", "-p")
_OWN = ("--completion", "--help", "--version")  # which nc-run looks at before Hydra's flags
_FOLDERS = ("runs", "out")
_FILES = ("sources", "weights")


def show(arguments: Sequence[str]) -> int:
    """Print the script of ``--completion SHELL``; the exit code. Raises ConfigError."""
    flag, shell = arguments if len(arguments) == 2 else ("", "")
    if flag != "--completion" or shell not in SHELLS:
        raise ConfigError(f"--completion takes the name of a shell, and nothing else: {', '.join(SHELLS)}")
    print(script(shell))
    return 0


def script(shell: str) -> str:
    """The script for all commands. Imports shtab, Hydra and the commands' parsers."""
    import shtab

    own = resources.files(__name__).joinpath(f"nc-run.{shell}").read_text()
    parts = [own.replace("@FLAGS@", " ".join(_flags()))]
    for parser in _parsers():
        _hint(parser, dict.fromkeys(_FOLDERS, shtab.DIRECTORY) | dict.fromkeys(_FILES, shtab.FILE))
        parts.append(shtab.complete(parser, shell))
    return "\n".join(parts)


def _flags() -> Iterator[str]:
    from nc_runner.commands.hydra_app.app import parser

    for action in parser()._actions:
        yield from (flag for flag in action.option_strings if flag not in _HIDDEN)
    yield from _OWN


def _parsers() -> Iterator[argparse.ArgumentParser]:
    from nc_runner.commands import flow, measure, plot_arguments, status

    yield from (plot_arguments.parser(), status.parser(), flow.parser(), measure.parser())


def _hint(parser: argparse.ArgumentParser, files: Mapping[str, object]) -> None:
    """Tell shtab, by the attributes it looks at, which arguments are files, and words that others may be."""
    words = _words()
    for action in parser._actions:
        if action.dest in files:
            vars(action)["complete"] = files[action.dest]
        elif (parser.prog, action.dest) in words:
            action.choices = words[parser.prog, action.dest]


def _words() -> dict[tuple[str, str], Sequence[str]]:
    from nc_runner.columns import WIDER_COLUMNS
    from nc_runner.figures.choice import known_names
    from nc_runner.figures.sheets import SHEETS
    from nc_runner.status import STATES

    return {
        ("nc-status", "state"): [state for state in STATES if state.isalpha()],
        ("nc-status", "sort"): ("state", "epoch", "nc1", "test", "left", "folder"),
        ("nc-plot", "only"): known_names([]),
        ("nc-plot", "style"): SHEETS,
        ("nc-measure", "metrics"): ("core", "all", *WIDER_COLUMNS),
    }
