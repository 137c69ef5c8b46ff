"""The finished runs of a folder, as far as another run may continue them. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nc_runner.errors import RunFolderError
from nc_runner.runs.reader import Record, read_record
from nc_runner.runs.record import COMPLETE, REPLACED, RUN_FILE


@dataclass(frozen=True)
class FinishedRun:
    """A complete run: its folder, its record, and how many epochs it has."""

    folder: Path
    record: Record
    epochs: int

    @property
    def apart_from_epochs(self) -> dict[str, Any]:
        """What identifies it, but for the number of epochs."""
        return apart_from_epochs(self.record.content.get("identity", {}))


def apart_from_epochs(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without the number of epochs: equal for runs of which one may continue the other."""
    return {key: value for key, value in identity.items() if key != "epochs"}


def finished_runs(parent: Path) -> Iterator[FinishedRun]:
    """The complete runs in the folder ``parent``, if it is there; damaged records are left out."""
    for folder in parent.iterdir() if parent.is_dir() else ():
        if REPLACED in folder.name or not (folder / RUN_FILE).exists():
            continue
        try:
            record = read_record(folder)
        except RunFolderError:
            continue
        if record.state == COMPLETE and record.epochs:
            yield FinishedRun(folder, record, record.epochs)
