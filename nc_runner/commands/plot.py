"""``nc-plot``: draws the figures of any number of runs, and writes their summary."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.commands.ending import DONE, FAILED, complain, finish
from nc_runner.commands.plot_arguments import FORMATS, check, choice, parser
from nc_runner.config.cores import usable_cores
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.many import read_all
from nc_runner.runs.reader import Run, find_runs
from nc_runner.runs.record import LAYERS_FILE, METRICS_FILE, RUN_FILE

if TYPE_CHECKING:
    from nc_runner.figures.choice import Choice
    from nc_runner.figures.claims import Thresholds
    from nc_runner.figures.judging import Judgement

PROGRAM = "nc-plot"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return finish(PROGRAM, lambda: _plot(parser().parse_args(arguments)))


@dataclass(frozen=True)
class _Output:
    """Where the files go, and which are written."""

    folder: Path
    formats: list[str]
    html: bool
    latex: bool
    thresholds: Thresholds

    def write(
        self,
        runs: list[Run],
        flow_runs: list[FlowRun],
        judgements: Sequence[Judgement],
        chosen: Choice,
    ) -> list[Path]:
        """Write everything; return the figures and the report. Raises :class:`RunFolderError`."""
        # Imported here: they bring matplotlib, which help and errors need not wait for.
        from nc_runner.figures.choice import plan
        from nc_runner.figures.draw import FigureWriter, draw_all, draw_flows
        from nc_runner.figures.judging import write_claims
        from nc_runner.figures.sheets import drawing
        from nc_runner.figures.summary import write_summary

        drawn = [run for run in runs if len(run.rows)]
        files: list[Path] = []
        with drawing(chosen.sheet):
            planned = plan(drawn, chosen) if drawn else None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if runs:
                write_summary(runs, self.folder)
                write_claims(judgements, self.folder)
            if runs and self.latex:
                from nc_runner.figures.latex import write_latex

                files.append(write_latex(runs, self.folder))
            with tempfile.TemporaryDirectory(prefix="nc-plot-") as temporary:
                pictures = Path(temporary) if self.html else None
                writer = FigureWriter(self.folder, self.formats, pictures, chosen.sheet)
                if planned:
                    found, empty = draw_all(planned, writer)
                    files += found
                    for name in empty:
                        complain(PROGRAM, f"the figure {name} is left out: no run has values for it")
                if flow_runs:
                    files += draw_flows(flow_runs, chosen.only, writer)
                made = {file.stem for file in files}
                for name in planned.undrawn if planned else chosen.only:
                    if name not in made:
                        against = f" against {chosen.x}" if chosen.x else ""
                        complain(PROGRAM, f"the figure {name} is left out: no run has values for it{against}")
                if pictures:
                    from nc_runner.figures.report import Content, write_report

                    shown = planned.jobs if planned else ()
                    content = Content(runs, flow_runs, judgements, shown, pictures, self.thresholds)
                    files.append(write_report(content, self.folder))
        except OSError as error:
            reason = f"cannot write figures to {self.folder}: {error.strerror or error}"
            raise RunFolderError(f"{reason}\nchoose another folder with --out DIR") from None
        return files


def _plot(chosen: argparse.Namespace) -> int:
    check(chosen)
    runs, flow_runs = _read(_find(chosen.runs))
    if runs:
        from nc_runner.figures.select import select

        runs, remarks = select(runs, chosen.select)
        for remark in remarks:
            complain(PROGRAM, remark)
    if not any(len(run.rows) for run in runs) and not flow_runs:
        complain(PROGRAM, "nothing to draw: no run that can be read has a measured epoch")
        return FAILED

    from nc_runner.figures.claims import Thresholds
    from nc_runner.figures.judging import CLAIMS_FILE, judge
    from nc_runner.figures.summary import SUMMARY_FILE, by_cell

    figures = choice(chosen)
    runs = by_cell(runs)
    thresholds = Thresholds(negligible=chosen.negligible)
    judgements = judge(runs, thresholds)
    folder = chosen.out or Path(os.path.commonpath([path.resolve() for path in chosen.runs])) / "figures"
    formats = list(dict.fromkeys(chosen.formats or FORMATS[:1]))
    files = _Output(folder, formats, chosen.html, chosen.latex, thresholds).write(
        runs, flow_runs, judgements, figures
    )
    if runs:
        _print_tables(runs, judgements)
    if chosen.in_words:
        _print_words(runs, thresholds)
    tables = f", {SUMMARY_FILE} and {CLAIMS_FILE}" if runs else ""
    count = f"{len(files)} file{'s' * (len(files) != 1)}"
    print(f"{count}{tables} are in {_nearby(folder)}")
    if chosen.in_words and (picture := folder / "overview.png") in files:
        print(f"begin with {_nearby(picture)}")
    return DONE


def _find(paths: list[Path]) -> list[Path]:
    try:
        folders = find_runs(paths)
    except RunFolderError as error:
        raise ConfigError(f"{error}\ngive run folders, or a folder above them such as outputs/") from None
    if not folders:
        raise ConfigError(f"no runs in {', '.join(map(str, paths))}: no folder there contains a {RUN_FILE}")
    return folders


def _print_tables(runs: Sequence[Run], judgements: Sequence[Judgement]) -> None:
    from rich.console import Console

    from nc_runner.commands.plot_tables import print_claims, print_table
    from nc_runner.figures.judging import overall
    from nc_runner.figures.seeds import group_seeds

    console = Console()
    with console.capture() as tables:  # print() ends quietly where a pipe is closed; rich exits with 1
        print_table(group_seeds(runs), console)
        print_claims(overall(judgements), console)
    print(tables.get(), end="")


def _print_words(runs: Sequence[Run], thresholds: Thresholds) -> None:
    from nc_runner.figures.report_runs import run_name
    from nc_runner.figures.words import in_words
    from nc_runner.runs.varying import Varying

    varying = Varying(runs)
    width = min(100, shutil.get_terminal_size().columns)
    for run in runs:
        title, *lines = in_words(run, thresholds, run_name(run, varying) if len(runs) > 1 else "")
        print(title)
        for line in lines:
            print(textwrap.fill(line, width, initial_indent="  - ", subsequent_indent="    "))
        print()


def _read(folders: list[Path]) -> tuple[list[Run], list[FlowRun]]:
    """The runs and flows that can be read; a line on stderr for whatever is wrong with the others."""
    runs: list[Run] = []
    flow_runs: list[FlowRun] = []
    for folder, run in zip(folders, read_all(folders, usable_cores()), strict=True):
        if isinstance(run, RunFolderError):
            complain(PROGRAM, f"left out: {run.in_one_line}")
            continue
        if isinstance(run, FlowRun):
            flow_runs.append(run)
            continue
        for warning in run.warnings:
            complain(PROGRAM, f"{_nearby(folder)}/{METRICS_FILE}: {warning}")
        for warning in run.layer_warnings:
            complain(PROGRAM, f"{_nearby(folder)}/{LAYERS_FILE}: {warning}")
        if not len(run.rows):
            complain(PROGRAM, f"{_nearby(folder)} has no measured epoch yet: not drawn")
        runs.append(run)
    return runs, flow_runs


def _nearby(path: Path) -> str:
    """``path`` relative to the working directory, where it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
