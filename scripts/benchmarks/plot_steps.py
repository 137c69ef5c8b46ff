"""The steps of ``nc-plot`` but the drawing, each timed once, in a process without torch.

    python scripts/benchmarks/plot_steps.py FOLDER

prints the seconds of each as JSON: of this process alone, but for "read by all cores".
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  not to be timed with what is read first

import nc_runner
from nc_runner.commands.plot import _print_tables
from nc_runner.config.cores import usable_cores
from nc_runner.figures.judging import judge, write_claims
from nc_runner.figures.seeds import group_seeds
from nc_runner.figures.select import BEST_TEST, select
from nc_runner.figures.summary import by_cell, write_summary
from nc_runner.runs.many import read_all
from nc_runner.runs.reader import Run, find_runs


def main(outputs: str) -> None:
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = step()
        seconds[name] = time.perf_counter() - began
        return result

    folders = timed("find", lambda: find_runs([outputs]))
    timed("read by all cores", lambda: read_all(folders, usable_cores()))
    found = timed("read", lambda: read_all(folders))
    runs = timed("order", lambda: by_cell([run for run in found if isinstance(run, Run)]))
    timed("select the best", lambda: select(runs, BEST_TEST))
    judgements = timed("judge", lambda: judge(runs))
    timed("group seeds", lambda: group_seeds(runs))
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        timed("write the summary", lambda: write_summary(runs, Path(out)))
        timed("write the claims", lambda: write_claims(judgements, Path(out)))
        timed("print the tables", lambda: _print_tables(runs, judgements))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timed("read_runs", lambda: nc_runner.read_runs(outputs))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
