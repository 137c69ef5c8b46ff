"""The rows that a callback measures while another library trains, and the run folder that they go to."""

from __future__ import annotations

import csv
import math
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from nc_runner.errors import MeasurementWarning
from nc_runner.integrations.options import Options
from nc_runner.measurement.measure import measure
from nc_runner.measurement.result import Measurement
from nc_runner.runs.measured import KIND, MeasuredFolder, Source
from nc_runner.runs.record import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    LAYERS_FILE,
    RUN_FILE,
    last_rows,
    read_run_file,
)


@dataclass(frozen=True, eq=False)
class Batches:
    """What is measured on; see :func:`nc_runner.measure`."""

    train: Iterable[object]
    test: Iterable[object] | None = None
    ood: Iterable[object] | None = None


@dataclass(eq=False)
class Recording:
    """Measures, and keeps the rows: in ``rows``, and in a run folder where one is named.

    ``rows``, ``layers``: the rows of this training, with their epochs, and their lines of layers.csv.
    ``out``: the folder; ``overwrite``: whether one of an earlier training is replaced. A training that was
    resumed goes on with the folder's rows up to where it resumed.
    """

    options: Options
    out: Path | None = None
    overwrite: bool = False
    rows: list[dict[str, float]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    _folder: MeasuredFolder | None = None
    _warned: bool = False

    def start(
        self, source: Source, further: Sequence[str], *, resumed_at: int = 0, write: bool = True
    ) -> None:
        """Begin a training, after epoch ``resumed_at``; ``further``: columns beyond those of every run.

        Raises RunFolderError where the folder is in use. Without ``write`` no folder is made.
        """
        self.close(FAILED, "the training before it did not end")
        earlier = self._earlier(resumed_at) if resumed_at else []
        self.rows, self.layers = [row for row, _ in earlier], [line for _, lines in earlier for line in lines]
        if self.out is None or not write:
            return
        folder = MeasuredFolder(
            self.out, source, further, custom=tuple(self.options.custom), ridge=self.options.ridge,
            overwrite=self.overwrite or bool(earlier),
        )  # fmt: skip
        self._folder = folder.__enter__()
        for row, lines in earlier:
            self._write(row, lines)

    def measure(self, model: nn.Module, batches: Batches, epoch: int, lr: float) -> dict[str, float]:
        """The row of an epoch, which is kept. What to beware of is a warning in the first row only."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasurementWarning)
            measured = measure(model, batches.train, test=batches.test, ood=batches.ood, **self.options.given)
        if not self._warned:
            self._warned = True
            for caution in measured.cautions:
                warnings.warn(caution, MeasurementWarning, stacklevel=2)
        return self._keep(measured, epoch, lr)

    def measured(self, epoch: int) -> bool:
        """Whether the last row is of this epoch, or of a later one."""
        return bool(self.rows) and self.rows[-1]["epoch"] >= epoch

    def fail(self, error: BaseException) -> None:
        """The training ended with this error."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.close(INTERRUPTED)
        else:
            self.close(FAILED, f"{type(error).__name__}: {error}")

    def close(self, state: str = COMPLETE, reason: str | None = None) -> None:
        """The training ended so; nothing where no folder is open."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.close(state, reason)

    def _keep(self, measured: Measurement, epoch: int, lr: float) -> dict[str, float]:
        row = {**measured.row, "epoch": float(epoch), "lr": lr}
        lines: list[dict[str, Any]] = [{"epoch": epoch, **line} for line in measured.layers]
        self.rows.append(row)
        self.layers += lines
        self._write(row, lines)
        return row

    def _write(self, row: Mapping[str, float], lines: Iterable[Mapping[str, Any]]) -> None:
        if self._folder is not None:
            without_epoch = [{key: value for key, value in line.items() if key != "epoch"} for line in lines]
            self._folder.add(int(row["epoch"]), row, without_epoch)

    def _earlier(self, last: int) -> list[tuple[dict[str, float], list[dict[str, Any]]]]:
        """The folder's rows up to an epoch, each with its lines of layers.csv."""
        if self.out is None or not (self.out / RUN_FILE).exists():
            return []
        if read_run_file(self.out).get("kind") != KIND:
            return []
        lines: list[dict[str, Any]] = []
        if (self.out / LAYERS_FILE).exists():
            with (self.out / LAYERS_FILE).open(newline="") as file:
                lines = [dict(line) for line in csv.DictReader(file)]
        rows = [row for row in last_rows(self.out, sys.maxsize) if row["epoch"] <= last]
        return [(row, [line for line in lines if line["epoch"] == str(int(row["epoch"]))]) for row in rows]

    def __getstate__(self) -> dict[str, Any]:
        """Without the open folder, which belongs to this process."""
        return {**self.__dict__, "_folder": None}


def described(source: Source | None, names: Source, epochs: int | None) -> Source:
    """What the rows are of, as the caller says it, or as it was found."""
    given = source or names
    return given if given.epochs is not None else replace(given, epochs=epochs)


def known(row: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The columns to log: without the epoch, and without those that are NaN."""
    return {
        prefix + column: value for column, value in row.items() if column != "epoch" and not math.isnan(value)
    }
