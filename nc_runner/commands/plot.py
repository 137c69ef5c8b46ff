"""``nc-plot``: draws the figures of any number of runs, and writes their summary."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.errors import NCRunnerError, RunFolderError
from nc_runner.runs import flows
from nc_runner.runs.reader import Run, find_runs, read_run
from nc_runner.runs.record import LAYERS_FILE, METRICS_FILE, RUN_FILE, read_run_file

if TYPE_CHECKING:
    from nc_runner.figures.claims import Judgement

SELECTIONS = ("all", "best-test", "last")  # figures.select.RULES, which help need not import
FORMATS = ("png", "pdf", "svg")
DONE, FAILED, BAD_ARGUMENTS, STOPPED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nc-plot",
        usage="%(prog)s [options] RUNS [RUNS ...]",
        description="Draw the Neural Collapse figures of runs: networks as rows, data sets as columns, "
        "one colour for each loss. Also writes summary.csv. Flows of nc-flow get figures of their own.",
        epilog="examples: nc-plot outputs/    nc-plot outputs/mse-resnet18-cifar10 --format svg --out paper/",
    )
    result.add_argument(
        "runs", nargs="+", metavar="RUNS", type=Path, help="run folders, or any folder above them"
    )
    result.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the figures (default: figures/ inside RUNS)"
    )
    result.add_argument(
        "--format",
        dest="formats",
        action="append",
        choices=FORMATS,
        help="may be given several times (default: png and pdf)",
    )
    result.add_argument(
        "--select",
        choices=SELECTIONS,
        default=SELECTIONS[0],
        help="of the runs of each network, data set and loss: all (default); best-test: those of the setting "
        "with the best test accuracy after the last epoch, as in the paper; last: of the one started last",
    )
    result.add_argument(
        "--html",
        action="store_true",
        help="also write report.html: claims, runs, figures, settings and all rows in one page",
    )
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    chosen = parser().parse_args(arguments)
    try:
        formats = list(dict.fromkeys(chosen.formats or ("png", "pdf")))
        return _plot(chosen.runs, chosen.out, formats, chosen.select, chosen.html)
    except NCRunnerError as error:
        _complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        return STOPPED


def _complain(message: str) -> None:
    print(f"nc-plot: {message}", file=sys.stderr)


def _plot(paths: list[Path], out: Path | None, formats: list[str], rule: str, html: bool) -> int:
    try:
        folders = find_runs(paths)
    except RunFolderError as error:
        _complain(f"{error}\ngive run folders, or a folder above them such as outputs/")
        return BAD_ARGUMENTS
    if not folders:
        _complain(f"no runs in {', '.join(map(str, paths))}: no folder there holds a {RUN_FILE}")
        return BAD_ARGUMENTS
    runs, flows = _read(folders)
    if runs:
        from nc_runner.figures.select import select

        runs, remarks = select(runs, rule)
        for remark in remarks:
            _complain(remark)
    drawn = [run for run in runs if len(run.rows)]
    if not drawn and not flows:
        _complain("nothing to draw: none of these runs can be read and has a measured epoch")
        return FAILED

    # Imported late: they bring matplotlib, which help and errors need not wait for.
    from nc_runner.figures.claims import CLAIMS_FILE, judge, write_claims
    from nc_runner.figures.draw import draw_all
    from nc_runner.figures.flow import draw_flows
    from nc_runner.figures.summary import SUMMARY_FILE, by_cell, write_summary

    runs, drawn = by_cell(runs), by_cell(drawn)
    out = out or Path(os.path.commonpath([path.resolve() for path in paths])) / "figures"
    judgements = judge(runs)
    files: list[Path] = []
    empty: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        if runs:
            write_summary(runs, out)
            write_claims(judgements, out)
        with tempfile.TemporaryDirectory(prefix="nc-plot-") as folder:
            pictures = Path(folder) if html else None
            if drawn:
                files, empty = draw_all(drawn, out, formats, pictures)
            if flows:
                files += draw_flows(flows, out, formats, pictures)
            if pictures:
                from nc_runner.figures.report import write_report

                files.append(write_report(runs, flows, judgements, out, pictures))
    except OSError as error:
        raise RunFolderError(
            f"cannot write figures to {out}: {error.strerror or error}\nchoose another folder with --out DIR"
        ) from None
    for name in empty:
        _complain(f"the figure {name} is left out: no run has values for it")
    if runs:
        _print_tables(runs, judgements)
    table = f", {SUMMARY_FILE} and {CLAIMS_FILE}" if runs else ""
    print(f"{len(files)} files{table} are in {_nearby(out)}")
    return DONE


def _print_tables(runs: list[Run], judgements: list[Judgement]) -> None:
    from rich.console import Console

    from nc_runner.figures.claims import overall, print_claims
    from nc_runner.figures.seeds import group_seeds
    from nc_runner.figures.summary import print_table

    console = Console()
    print_table(group_seeds(runs), console)
    print_claims(overall(judgements), console)


def _read(folders: list[Path]) -> tuple[list[Run], list[flows.FlowRun]]:
    """The runs and flows that can be read; a line on stderr for whatever is wrong with the others."""
    runs, flow_runs = [], []
    for folder in folders:
        try:
            if flows.is_flow(read_run_file(folder)):
                flow_runs.append(flows.read_flow(folder))
                continue
            run = read_run(folder)
        except RunFolderError as error:
            _complain(f"left out: {' '.join(str(error).split())}")
            continue
        for warning in run.warnings:
            _complain(f"{_nearby(folder)}/{METRICS_FILE}: {warning}")
        for warning in run.layer_warnings:
            _complain(f"{_nearby(folder)}/{LAYERS_FILE}: {warning}")
        if not len(run.rows):
            _complain(f"{_nearby(folder)} has no measured epoch yet: not drawn")
        runs.append(run)
    return runs, flow_runs


def _nearby(path: Path) -> str:
    """``path`` as seen from the working directory, where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
