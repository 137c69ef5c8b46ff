"""The data set of a recorded run: found again, loaded as it was used, and compared with the record."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nc_runner.config.data_schema import Data
from nc_runner.config.schema import Config
from nc_runner.data.dataset import Dataset, load_dataset
from nc_runner.errors import DataError, RunFolderError
from nc_runner.runs.origin import Origin
from nc_runner.runs.reader import Record
from nc_runner.runs.record import RUN_FILE


@dataclass(frozen=True)
class Shape:
    """What a network is built for."""

    num_classes: int
    in_channels: int
    image_size: int


class RecordedData:
    """Loads the data set of a run when it is first asked for, and keeps it."""

    def __init__(
        self, folder: Path, record: Record, config: Config, origin: Origin, device: torch.device
    ) -> None:
        self.folder = folder
        self.record = record
        self.config = config
        self.origin = origin
        self.device = device
        self._root: Path | None = None  # of the data set that is held, where it was given
        self._held: Dataset | None = None

    def shape(self) -> Shape:
        """From the record; from the data set where an earlier version did not record it. Raises DataError."""
        content = self.record.content
        classes, images = content.get("num_classes"), content.get("image_shape")
        sizes = [classes, *images] if isinstance(images, list) else []
        if [type(size) for size in sizes] == [int] * 4 and min(sizes) > 0:
            return Shape(*sizes[:3])
        dataset = self.dataset()
        return Shape(dataset.num_classes, dataset.in_channels, dataset.image_size)

    def dataset(self, root: str | os.PathLike[str] | None = None) -> Dataset:
        """The data set on the device: see :meth:`nc_runner.training.loaded.LoadedRun.data`."""
        given = None if root is None else Path(root).absolute()
        if self._held is None or given not in (None, self._root):
            config = self.config
            settings = self._normalised(self._placed(given))
            dataset = load_dataset(settings, config.seed, config.analysis.ood, self.device)
            self._compare(dataset, settings.root)
            self._held, self._root = dataset.to(self.device), given
        return self._held

    def _placed(self, root: Path | None) -> Data:
        """The settings with the paths at which the files are now."""
        data, start = self.config.data, self.origin.start
        if root is not None:
            return data.model_copy(update={"root": str(root)})
        if start is None:
            return data
        update: dict[str, Any] = {"root": _found(start, data.root)}
        options = {
            key: _found(start, value)
            for key in ("folder", "file")
            if isinstance(value := getattr(data.options, key, None), str)
        }
        if options:
            update["options"] = data.options.model_copy(update=options)
        return data.model_copy(update=update)

    def _normalised(self, data: Data) -> Data:
        """With the mean and std that the run computed, where the settings do not give them."""
        recorded = {key: self.record.content.get(f"data_{key}") for key in ("mean", "std")}
        update = {}
        for key, value in recorded.items():
            if isinstance(value, list):
                if not all(type(number) in (int, float) and math.isfinite(number) for number in value):
                    raise RunFolderError(f"{self.folder / RUN_FILE}: data_{key} is not a list of numbers")
                update[key] = tuple(value)
        return data.model_copy(update=update)

    def _compare(self, dataset: Dataset, root: str) -> None:
        recorded = self.record.content.get("data_fingerprint")
        if recorded is not None and recorded != dataset.fingerprint:
            raise DataError(
                f"{self.folder} was trained on other data than {root} now holds\n"
                "put the old data back, or name their folder: run.data(root=FOLDER)"
            )


def _found(start: Path, path: str) -> str:
    """A path below the folder ``start`` where it is there, else as it is: relative to the current folder."""
    there = start / Path(path).expanduser()
    return str(there) if there.exists() else path
