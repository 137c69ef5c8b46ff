"""The arguments of ``nc-plot``, and the choice that they mean."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.commands.ending import add_examples, add_runs, add_version
from nc_runner.errors import ConfigError

if TYPE_CHECKING:
    from nc_runner.figures.choice import Choice

SELECTIONS = ("all", "best-test", "last")  # figures.select.RULES, which help need not import
PLACES = ("end", "phase", "min", "max")  # figures.against.AT
FORMATS = ("png", "pdf", "svg")
NEGLIGIBLE = 0.1  # figures.claims.Thresholds


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nc-plot",
        usage="%(prog)s [options] [RUNS ...]",
        description="Draw the Neural Collapse figures of runs: networks as rows, data sets as columns, "
        "colours for the settings that differ, or else for the loss. Also writes summary.csv and claims.csv. "
        "Also draws the flows of nc-flow.",
    )
    add_examples(
        result,
        "nc-plot",
        "nc-plot outputs/mse-resnet18-cifar10 --format svg --out paper/",
        "nc-plot --only nc1,errors --hue weight_decay",
        "nc-plot --x lr --at max",
        "nc-plot --xy nc1 test_accuracy",
    )
    add_runs(result)
    result.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the figures (default: figures/ inside RUNS)"
    )
    result.add_argument(
        "--format",
        dest="formats",
        action="append",
        choices=FORMATS,
        help="may be given several times (default: png; for a paper: pdf)",
    )
    result.add_argument(
        "--select",
        choices=SELECTIONS,
        default=SELECTIONS[0],
        help="which runs of each network, data set and loss: all (default); best-test: of the setting with "
        "the best test accuracy after the last epoch, as in the paper; last: of the setting started last",
    )
    result.add_argument(
        "--html",
        action="store_true",
        help="also write report.html: claims, runs, figures, settings and all rows in one page",
    )
    result.add_argument(
        "--negligible",
        type=_threshold,
        default=NEGLIGIBLE,
        metavar="SHARE",
        help=f"L_perp counts as negligible below this share of L_LS (default: {NEGLIGIBLE:g})",
    )
    result.add_argument(
        "--in-words", action="store_true", help="also print what each run shows, in plain words"
    )
    result.add_argument("--latex", action="store_true", help="also write summary.tex, a booktabs table")
    _add_figures(result)
    return add_version(result)


def _add_figures(result: argparse.ArgumentParser) -> None:
    """Which figures, and how they look."""
    figures = result.add_argument_group("figures")
    figures.add_argument(
        "--only",
        action="append",
        metavar="NAME[,NAME]",
        help="these figures alone, by the names of their files, such as nc1,errors or overview",
    )
    figures.add_argument(
        "--hue", metavar="KEY", help="the setting that colours stand for (default: what differs)"
    )
    figures.add_argument(
        "--x", metavar="KEY", help="values of whole runs against this setting, instead of epochs"
    )
    figures.add_argument(
        "--xy",
        nargs=2,
        metavar=("A", "B"),
        help="column B against column A, of metrics.csv or summary.csv: a point for each run",
    )
    figures.add_argument(
        "--at",
        choices=PLACES,
        help="which value of a run --x and --xy draw: at the end (default), at the start of the terminal "
        "phase, or the least or largest of all epochs",
    )
    figures.add_argument(
        "--epochs", type=_epochs, metavar="A:B", help="only these epochs; A or B may be left out"
    )
    figures.add_argument("--log-x", action="store_true", help="epochs on a log axis")
    figures.add_argument(
        "--style",
        metavar="SHEET",
        help="a style sheet of matplotlib's for sizes, fonts and resolution: column, page, slide, or a file",
    )


def check(chosen: argparse.Namespace) -> None:
    """Raises ConfigError where two arguments contradict each other."""
    for option in ("hue", "x", "style", "only"):
        given = getattr(chosen, option)
        texts = [given] if isinstance(given, str) else given or ()
        if any(not text.strip(" ,") for text in texts):
            raise ConfigError(f"--{option} is empty: give a value, or leave it out")
    over_runs = "--x" if chosen.x else "--xy" if chosen.xy else None
    if chosen.x and chosen.xy:
        raise ConfigError("--x and --xy are two kinds of figures: give one of them")
    if chosen.at and not over_runs:
        raise ConfigError("--at says which value --x or --xy draw: give one of these too")
    if over_runs and (chosen.epochs or chosen.log_x):
        raise ConfigError(
            f"--epochs and --log-x are for figures against the epoch: leave them out with {over_runs}"
        )
    if chosen.xy and chosen.only:
        raise ConfigError("--only chooses among named figures: leave it out with --xy")


def choice(chosen: argparse.Namespace) -> Choice:
    """What the arguments choose. Raises ConfigError for a style sheet that cannot be read."""
    from nc_runner.figures.choice import Choice
    from nc_runner.figures.sheets import read_sheet

    names = [name.strip() for given in chosen.only or () for name in given.split(",")]
    first, last = chosen.epochs or (0.0, math.inf)
    return Choice(
        only=tuple(dict.fromkeys(filter(None, names))),
        hue=chosen.hue,
        x=chosen.x,
        at=chosen.at or PLACES[0],
        xy=tuple(chosen.xy) if chosen.xy else None,
        first=first,
        last=last,
        log_x=chosen.log_x,
        sheet=read_sheet(chosen.style) if chosen.style else {},
    )


def _threshold(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: give a positive number such as 0.05")
    return share


def _epochs(text: str) -> tuple[float, float]:
    first, colon, last = text.partition(":")
    try:
        result = (float(first or 0), float(last or math.inf))
    except ValueError:
        colon = ""
    if not colon or not 0 <= result[0] <= result[1]:
        raise argparse.ArgumentTypeError(f"{text}: give two epochs such as 100:350, 100: or :50")
    return result
