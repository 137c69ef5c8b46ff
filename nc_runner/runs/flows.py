"""The archive of ``nc-flow``: file and column names of a flow's folder. Imports no torch.

The folder holds ``flow.csv`` (a row for each law and time) and ``run.json``, which says ``"kind": "flow"``.
:func:`nc_runner.runs.find_runs` finds it among training runs; :func:`is_flow` tells the two apart.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.columns import COLUMNS
from nc_runner.errors import RunFolderError
from nc_runner.runs.record import COMPLETE, FORMAT, RUN_FILE, read_run_file
from nc_runner.runs.tables import write_atomically

if TYPE_CHECKING:
    import pandas as pd

FLOW_FILE = "flow.csv"
KIND = "flow"
LAWS = ("projected", "raw")
SETTINGS = ("classes", "features", "samples", "spectrum", "seed", "laws", "times", "per_decade")

MEASURES = tuple(
    column
    for column in COLUMNS
    if column in ("mse_ls", "mse_nc1", "mse_nc23", "nc1", "nc3_self_duality", "nc4_ncc_mismatch")
    or column.startswith("nc2_")
)


def spectrum_length(num_classes: int, dim: int) -> int:
    """J: how many singular values the centred means of C classes in R^P can have."""
    return min(num_classes - 1, dim)


def simulated_columns(count: int) -> tuple[str, ...]:
    """``omega_1`` (the largest) to ``omega_J``: the SNR spectrum measured on the simulated features."""
    return tuple(f"omega_{j}" for j in range(1, count + 1))


def exact_columns(count: int) -> tuple[str, ...]:
    """``exact_omega_1`` to ``exact_omega_J``: the closed form."""
    return tuple(f"exact_omega_{j}" for j in range(1, count + 1))


def columns(count: int) -> tuple[str, ...]:
    """The header of ``flow.csv`` for a spectrum of ``count`` values."""
    return ("law", "time", *simulated_columns(count), *exact_columns(count), *MEASURES)


def folder_name(settings: Mapping[str, Any]) -> str:
    """The folder of a flow below the outputs folder, such as ``flow/C10-P16-n20-seed0-1f0c3a9b``."""
    canonical = json.dumps({key: settings[key] for key in SETTINGS}, sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    sizes = f"C{settings['classes']}-P{settings['features']}-n{settings['samples']}"
    return f"flow/{sizes}-seed{settings['seed']}-{digest}"


def write_flow(
    folder: Path, settings: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], **record: Any
) -> None:
    """Write a finished flow's folder. ``rows``: dicts with :func:`columns` as their keys; the table first.

    Raises :class:`RunFolderError` where it cannot be written.
    """
    text = io.StringIO()
    header = columns(spectrum_length(settings["classes"], settings["features"]))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([row[key] if key == "law" else repr(float(row[key])) for key in header])
    content = {
        "format": FORMAT,
        "kind": KIND,
        "state": COMPLETE,
        "settings": dict(settings),
        **record,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FLOW_FILE, text.getvalue().encode())
        write_atomically(folder / RUN_FILE, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise RunFolderError(
            f"cannot write {folder}: {error.strerror or error}\nchoose another folder with --out DIR"
        ) from None


@dataclass
class FlowRun:
    """A flow's folder as read from disk. ``rows``: the table of ``flow.csv``, by law and time."""

    folder: Path
    settings: dict[str, Any]
    rows: pd.DataFrame

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(C, P, n)."""
        return self.settings["classes"], self.settings["features"], self.settings["samples"]

    @property
    def laws(self) -> list[str]:
        present = set(self.rows["law"])
        return [law for law in LAWS if law in present]

    def of_law(self, law: str) -> pd.DataFrame:
        """The rows of one law, in the order of time."""
        rows: pd.DataFrame = self.rows.loc[self.rows["law"] == law].sort_values("time")
        return rows


def is_flow(record: Mapping[str, Any]) -> bool:
    """Whether a ``run.json`` is a flow's."""
    return record.get("kind") == KIND


def read_flow(folder: Path) -> FlowRun:
    """Read a flow's folder. Raises :class:`RunFolderError` with the reason where it cannot be read."""
    import pandas as pd

    settings = read_run_file(folder).get("settings")
    again = "remove the folder and call nc-flow again"
    whole = ("classes", "features", "samples", "seed")
    if not isinstance(settings, dict) or not all(type(settings.get(key)) is int for key in whole):
        raise RunFolderError(f"{folder / RUN_FILE} is damaged: it lacks the flow's settings\n{again}")
    path = folder / FLOW_FILE
    header = columns(spectrum_length(settings["classes"], settings["features"]))
    try:
        rows = pd.read_csv(path, dtype={name: str if name == "law" else float for name in header})
    except FileNotFoundError:
        raise RunFolderError(f"{folder} has no {FLOW_FILE}\n{again}") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise RunFolderError(f"{path} cannot be read: {' '.join(str(error).split())}\n{again}") from None
    absent = [name for name in header if name not in rows.columns]
    if absent or not len(rows) or not set(rows["law"]) <= set(LAWS):
        reason = f"it lacks {', '.join(absent)}" if absent else "it holds no rows of a known law"
        raise RunFolderError(f"{path} is damaged: {reason}\n{again}")
    return FlowRun(folder, settings, rows)
