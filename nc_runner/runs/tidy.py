"""Many runs as one tidy table: their rows, beside the settings in which they differ. Imports no torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.columns import ASKED_COLUMNS, WIDER_COLUMNS, metric_columns
from nc_runner.errors import RunFolderError
from nc_runner.runs.flows import is_flow
from nc_runner.runs.groups import legible
from nc_runner.runs.reader import Run, find_runs, read_record, run_of
from nc_runner.runs.varying import CELL, Varying

if TYPE_CHECKING:
    import pandas as pd

FIRST = ("run", "state", "loss", "net", "data", "seed")  # the first columns of the table
AnyPath = str | os.PathLike[str]


def read_runs(paths: AnyPath | Iterable[AnyPath]) -> pd.DataFrame:
    """The rows of all runs at or below ``paths`` as one tidy table: a row for each run and measured epoch.

    Its columns are

    - ``run``, the folder, relative to the current one where it is below it: :func:`nc_runner.load_run` takes
      it; ``state``, as in run.json; ``loss``, ``net``, ``data``, by name; ``seed``;
    - each further setting in which the runs differ, by its dotted key, such as ``weight_decay`` or
      ``net.depth``. Values are numbers, text or true and false; a list is written as on the command line
      (``[1/3,2/3]``); what a run does not have, or has as null, is missing. The run's learning rate is
      ``run_lr``, since ``lr`` is the one of the epoch. Settings that cannot change a run's numbers, such as
      ``device``, are left out. Older runs have the neutral value of a setting that came after them;
    - the columns of ``metrics.csv``, missing where a run does not have one.

    Runs that are not finished are read as far as they got. A folder that cannot be read, a run without rows,
    and lines that cannot be read are left out with a warning (``UserWarning``); flows of ``nc-flow`` and
    folders that ``overwrite=true`` replaced without one.

    Args:
        paths: a run folder, any folder above some, or several of them.

    Raises:
        RunFolderError: a path is not a folder, or there is no run at or below the paths.
    """
    import pandas as pd

    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    folders = find_runs([Path(path) for path in given])
    if not folders:
        raise RunFolderError(f"there is no run at or below {', '.join(map(str, given)) or 'no path'}")
    runs = list(readable(folders, stacklevel=3))
    if not runs:
        empty: pd.DataFrame = pd.DataFrame(columns=[*FIRST, "epoch"])
        return empty
    rows = _rows(runs)
    about = pd.DataFrame(_about(runs, set(rows.columns)))
    of_row = [number for number, run in enumerate(runs) for _ in range(len(run.rows))]
    table: pd.DataFrame = about.iloc[of_row].reset_index(drop=True).join(rows)
    return table


def readable(folders: Sequence[Path], stacklevel: int) -> Iterator[Run]:
    """The runs that have rows, each with the warnings of its table; flows are left out.

    ``stacklevel``: how far above this the line is that a user wrote, to which warnings belong.
    """

    def warn(message: str) -> None:
        warnings.warn(message, stacklevel=stacklevel + 1)

    for folder in folders:
        try:
            record = read_record(folder)
            run = None if is_flow(record) else run_of(folder, record)
        except RunFolderError as error:
            warn(f"{error.in_one_line}: it is left out")
            continue
        if run is None:
            continue
        for warning in run.warnings:
            warn(f"{folder / 'metrics.csv'}: {warning}")
        if len(run.rows):
            yield run
        else:
            warn(f"{folder} has no row ({run.state}): it is left out")


def _rows(runs: Sequence[Run]) -> pd.DataFrame:
    """The tables of all runs below each other; columns in the order of the registry, then custom ones."""
    import pandas as pd

    joined = pd.concat([run.rows for run in runs], ignore_index=True)
    rows = joined.drop(columns=list(FIRST), errors="ignore")
    known = metric_columns(max(run.num_classes for run in runs), (*WIDER_COLUMNS, *ASKED_COLUMNS))
    order = [column for column in known if column in rows.columns]
    ordered: pd.DataFrame = rows[[*order, *(column for column in rows.columns if column not in order)]]
    return ordered


def _about(runs: Sequence[Run], taken: set[str]) -> list[dict[str, Any]]:
    """For each run the columns that are equal in all its rows; ``taken`` are the names of the others."""
    varying = Varying(runs)
    named = {key: f"run_{key}" if key in taken or key in FIRST else key for key in varying.keys}
    return [
        {
            "run": legible(_shortest(run.folder)),
            "state": run.state,
            **{column: legible(varying.value(run, key)) for key, column in CELL.items()},
            **{column: legible(varying.value(run, key)) for key, column in named.items()},
        }
        for run in runs
    ]


def _shortest(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
