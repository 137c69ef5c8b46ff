"""A run folder of rows that were measured outside of nc-run: nc-plot and nc-status read it. No torch."""

from __future__ import annotations

import math
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nc_runner import __version__
from nc_runner.columns import metric_columns
from nc_runner.errors import RunFolderError
from nc_runner.runs.locks import PATIENCE
from nc_runner.runs.record import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    LAYERS_FILE,
    LOCK_FILE,
    METRICS_FILE,
    RUN_FILE,
    RUNNING,
    RunWriter,
    read_run_file,
    rows_digest,
)

KIND = "measured"  # run.json's "kind"


@dataclass(frozen=True)
class Source:
    """What the rows are of: names for figures and tables, and further settings that are worth a record.

    ``epochs``: the number of the last epoch, where it is known. ``settings``: such as ``{"lr": 0.1}``.
    """

    net: str = "model"
    data: str = "data"
    loss: str = "ce"
    epochs: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_settings(self, custom: Sequence[str], ridge: str | float) -> dict[str, Any]:
        """As the settings of a run have it."""
        names = {"net": {"name": self.net}, "data": {"name": self.data}, "loss": {"name": self.loss}}
        analysis: dict[str, Any] = {"ridge": ridge, "custom": dict.fromkeys(custom, "")}
        for key in ("samples", "batchnorm"):  # what the rows are of, where it is not what is usual
            if (value := self.settings.get("analysis", {}).get(key)) is not None:
                analysis[key] = value
        epochs = {} if self.epochs is None else {"epochs": self.epochs}  # not those of the run's settings
        return {"epochs": None, **self.settings, **epochs, **names, "analysis": analysis}


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """That rows can be written to a folder, before the work of measuring them. Raises RunFolderError."""
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not parent.is_dir():
        raise RunFolderError(f"{parent} is not a folder\nchoose another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunFolderError(f"{folder} cannot be written\nchoose another folder")
    if parent == folder:
        _check_replaceable(folder, overwrite)


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not any(entry.name != LOCK_FILE for entry in folder.iterdir()):
        return
    if not ((folder / RUN_FILE).exists() and read_run_file(folder).get("kind") == KIND):
        raise RunFolderError(f"{folder} is not empty\nchoose a new folder")
    if not overwrite:
        raise RunFolderError(
            f"{folder} is not empty: it holds measured rows already\nchoose a new folder, or give --overwrite"
        )


class MeasuredFolder:
    """Writes a run folder row by row, each whole when :meth:`add` returns. A context manager.

    Left normally, the run is complete; by KeyboardInterrupt, interrupted; by another exception, failed.

    Args:
        further: columns beyond those of every run: of the wider set, and of custom metrics.
        custom: those of ``further`` that are custom metrics.
        ridge: what the rows' ridge was chosen by.
        overwrite: replace an earlier folder of this kind.

    Raises RunFolderError, on entering, where the folder holds something else, or another process writes it.
    """

    def __init__(
        self,
        folder: Path,
        source: Source,
        further: Sequence[str] = (),
        *,
        custom: Sequence[str] = (),
        ridge: str | float = "objective",
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.settings = source.as_settings(custom, ridge)
        self.further = tuple(further)
        self.overwrite = overwrite
        self._writer: RunWriter | None = None
        self._epochs: list[int] = []
        self._closed = False
        self._held = ExitStack()

    def __enter__(self) -> MeasuredFolder:
        from filelock import FileLock, Timeout

        locked_before = (self.folder / LOCK_FILE).exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(FileLock(self.folder / LOCK_FILE, timeout=PATIENCE))
        except Timeout:
            raise RunFolderError(f"{self.folder} is being written by another process") from None
        except OSError as error:
            raise RunFolderError(f"{self.folder} cannot be written: {error.strerror or error}") from None
        try:
            self._clear()
        except BaseException:
            self._held.close()
            if not locked_before:
                (self.folder / LOCK_FILE).unlink(missing_ok=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            self.close()
        else:
            state = INTERRUPTED if issubclass(kind, (KeyboardInterrupt, SystemExit)) else FAILED
            self.close(state, reason=None if state == INTERRUPTED else f"{kind.__name__}: {error}")

    def add(self, epoch: int, row: Mapping[str, float], layers: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write the row of an epoch, from 0 on, and its lines of inner layers.

        ``row`` has the columns of metrics.csv, but for those that it does not know: they are NaN. The number
        of classes is that of the first row. Raises ValueError where an epoch does not come after the last.
        """
        if self._epochs and epoch <= self._epochs[-1]:
            raise ValueError(f"epoch {epoch} does not come after epoch {self._epochs[-1]}")
        if self._writer is None:
            self._writer = self._begun(row, with_layers=bool(layers))
        self._epochs.append(epoch)
        self.settings["analysis"]["schedule"] = self._epochs
        if layers:
            self._writer.layers.append(*({"epoch": epoch, **layer} for layer in layers))
        complete = {name: row.get(name, math.nan) for name in self._writer.columns}
        self._writer.append({**complete, "epoch": epoch})

    def close(self, state: str = COMPLETE, reason: str | None = None) -> None:
        """Record how it ended, and let go of the folder; a second call does nothing.

        A folder without rows is removed again.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._writer is None:
                (self.folder / LOCK_FILE).unlink(missing_ok=True)
                if not any(self.folder.iterdir()):
                    self.folder.rmdir()
                return
            if self.settings["epochs"] is None and state == COMPLETE:
                self.settings["epochs"] = self._epochs[-1]
            digest = rows_digest(self.folder) if state == COMPLETE else None
            self._writer.update(
                state=state, reason=reason, ended=_now(), rows_digest=digest, settings=self.settings
            )
        finally:
            self._held.close()

    def _begun(self, row: Mapping[str, float], *, with_layers: bool) -> RunWriter:
        num_classes = 1 + sum(name.startswith("snr_") for name in row)
        writer = RunWriter(self.folder, num_classes, self.further)
        if unknown := set(row) - set(metric_columns(num_classes, self.further)):
            raise ValueError(f"the row has columns that the folder does not: {', '.join(sorted(unknown))}")
        writer.rows.start()
        if with_layers:
            writer.layers.start()
        writer.update(
            kind=KIND,
            state=RUNNING,
            settings=self.settings,
            identity={key: value for key, value in self.settings.items() if key != "epochs"},
            num_classes=num_classes,
            versions={"nc_runner": __version__},
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_now(),
        )
        return writer

    def _clear(self) -> None:
        """Empty the folder of an earlier run of this kind; anything else is left alone."""
        _check_replaceable(self.folder, self.overwrite)
        for name in (METRICS_FILE, LAYERS_FILE, RUN_FILE):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "figures", ignore_errors=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
