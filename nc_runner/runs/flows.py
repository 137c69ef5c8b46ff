"""The folder of a flow of ``nc-flow``: written, and read as a table. Imports no torch.

It holds ``flow.csv`` (a row for each law and time) and ``run.json``, in which ``"kind": "flow"``
distinguishes it from a training run (:func:`is_flow`). :func:`nc_runner.runs.reader.find_runs` finds both.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nc_runner.columns import COLUMNS
from nc_runner.errors import RunFolderError
from nc_runner.runs.reader import Record, read_record
from nc_runner.runs.record import COMPLETE, FORMAT, RUN_FILE
from nc_runner.runs.tables import write_atomically

if TYPE_CHECKING:
    import pandas as pd

FLOW_FILE = "flow.csv"
KIND = "flow"
Law = Literal["projected", "raw"]
LAWS: tuple[Law, ...] = ("projected", "raw")

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


@dataclass(frozen=True)
class FlowSettings:
    """Settings of a flow: C classes of n samples in P features, the spectrum at time 0, laws and times."""

    classes: int
    features: int
    samples: int
    spectrum: list[float]  # largest first
    seed: int
    laws: list[Law]
    times: list[float]
    per_decade: int
    threads: int = 1  # of the CPU; the one setting that does not identify the flow

    @property
    def spectrum_length(self) -> int:
        """J: how many singular values the centred means of C classes in R^P can have."""
        return spectrum_length(self.classes, self.features)

    @property
    def folder_name(self) -> str:
        """The folder below the outputs folder, such as ``flow/C10-P16-n20-seed0-1f0c3a9b``."""
        identity = {key: value for key, value in asdict(self).items() if key != "threads"}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        sizes = f"C{self.classes}-P{self.features}-n{self.samples}"
        return f"flow/{sizes}-seed{self.seed}-{digest}"


@dataclass(frozen=True)
class FlowOutcome:
    """The result of one law's simulation. ``difference``: the largest relative one from the closed form."""

    law: Law
    steps: int
    difference: float
    exponents: tuple[float, float]  # smallest and largest d log omega / d log t between the last two times
    seconds: float


@dataclass(frozen=True)
class FlowRow:
    """A line of ``flow.csv``. ``measures`` has the keys :data:`MEASURES`."""

    law: Law
    time: float
    simulated: list[float]
    exact: list[float]
    measures: Mapping[str, float]

    def cells(self) -> list[str]:
        """In the order of :func:`columns`, with all digits."""
        numbers = (self.time, *self.simulated, *self.exact, *(self.measures[name] for name in MEASURES))
        return [self.law, *(repr(float(number)) for number in numbers)]


def write_flow(
    folder: Path,
    settings: FlowSettings,
    rows: Iterable[FlowRow],
    outcomes: Sequence[FlowOutcome] = (),
    versions: Mapping[str, str] | None = None,
) -> None:
    """Write a finished flow's folder, the table first.

    Raises :class:`RunFolderError` where it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(settings.spectrum_length))
    writer.writerows(row.cells() for row in rows)
    content = {
        "format": FORMAT,
        "kind": KIND,
        "state": COMPLETE,
        "settings": asdict(settings),
        "versions": dict(versions or {}),
        "steps": {outcome.law: outcome.steps for outcome in outcomes},
        "largest_difference": {outcome.law: outcome.difference for outcome in outcomes},
        "seconds": {outcome.law: outcome.seconds for outcome in outcomes},
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
    record: Record
    sizes: tuple[int, int, int]  # (C, P, n)
    seed: int
    rows: pd.DataFrame

    @property
    def num_classes(self) -> int:
        return self.sizes[0]

    @property
    def spectrum_length(self) -> int:
        return spectrum_length(*self.sizes[:2])

    @property
    def laws(self) -> list[Law]:
        present = set(self.rows["law"])
        return [law for law in LAWS if law in present]

    def of_law(self, law: str) -> pd.DataFrame:
        """The rows of one law, in the order of time."""
        rows: pd.DataFrame = self.rows.loc[self.rows["law"] == law].sort_values("time")
        return rows


def is_flow(record: Record) -> bool:
    """Whether a ``run.json`` is that of a flow."""
    return record.content.get("kind") == KIND


def read_flow(folder: Path) -> FlowRun:
    """Read a flow's folder. Raises :class:`RunFolderError` with the reason where it cannot be read."""
    import pandas as pd

    record = read_record(folder)
    again = "remove the folder and call nc-flow again"
    numbers = [record.settings.get(key) for key in ("classes", "features", "samples", "seed")]
    classes, features, samples, seed = (number if type(number) is int else 0 for number in numbers)
    if not all(type(number) is int for number in numbers):
        raise RunFolderError(f"{folder / RUN_FILE} is damaged: it lacks the flow's settings\n{again}")
    path = folder / FLOW_FILE
    header = columns(spectrum_length(classes, features))
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
    return FlowRun(folder, record, (classes, features, samples), seed, rows)
