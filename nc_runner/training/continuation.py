"""Finished runs with fewer epochs, which a run continues where its rates do not depend on their number.

The longer run is another run with a folder of its own, which begins with a copy of the shorter one's last
checkpoint and rows; the shorter run stays as it is. Both have the bits of a run trained in one go.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from nc_runner.config.identity import identity
from nc_runner.config.learning_rates import depends_on_epochs
from nc_runner.config.schedules import weight_epochs
from nc_runner.config.schema import Config
from nc_runner.errors import RunFolderError
from nc_runner.runs.finished import apart_from_epochs, finished_runs
from nc_runner.runs.weights import kept_epochs, weights_file
from nc_runner.training.checkpoint import Checkpoint, load_checkpoint
from nc_runner.training.trainer import Trainer

log = logging.getLogger("nc_runner")


def shorter_run(folder: Path, config: Config, trainer: Trainer) -> tuple[Path, Checkpoint] | None:
    """The longest finished run beside ``folder`` that this one continues, and what of its state is kept.

    It differs in having fewer epochs alone, and was trained on the same data. None where there is none, where
    the learning rates depend on the number of epochs, or with ``overwrite=true``. A run whose checkpoint
    cannot be read is left out.
    """
    if config.overwrite or depends_on_epochs(config):
        return None
    found = sorted(_candidates(folder, config, trainer), reverse=True)
    for epochs, path in found:
        try:
            checkpoint, _ = load_checkpoint(path)
        except RunFolderError as error:
            log.warning("%s is not continued: %s", path, error)
            continue
        if checkpoint is not None and checkpoint["epoch"] == epochs and checkpoint["step"] == 0:
            return path, _kept(checkpoint, trainer.analysed)
    return None


def copy_weights(source: Path, folder: Path, config: Config, analysed: Collection[int]) -> None:
    """Copy the weights of single epochs that ``keep_checkpoints`` asks for. Raises OSError."""
    wanted = set(weight_epochs(config.keep_checkpoints, analysed))
    for epoch in wanted.intersection(kept_epochs(source)):
        there = weights_file(folder, epoch)
        there.parent.mkdir(exist_ok=True)
        shutil.copy2(weights_file(source, epoch), there)


def _candidates(folder: Path, config: Config, trainer: Trainer) -> Iterator[tuple[int, Path]]:
    """(epochs, folder) of each run beside ``folder`` that could be continued, by its record."""
    asked = apart_from_epochs(identity(config))
    for run in finished_runs(folder.parent):
        content = run.record.content
        if (
            run.folder != folder
            and run.epochs < config.epochs
            and run.apart_from_epochs == asked
            and content.get("data_fingerprint") == trainer.dataset.fingerprint
            and content.get("weights_digest") == trainer.network.weights_digest
        ):
            yield run.epochs, run.folder


def _kept(checkpoint: Checkpoint, analysed: Collection[int]) -> Checkpoint:
    """Without the rows of epochs that the longer run does not measure: the last one is always measured."""
    layers = checkpoint.get("layer_rows")
    kept: Checkpoint = {**checkpoint, "rows": _of_epochs(checkpoint["rows"], analysed)}
    kept["layer_rows"] = None if layers is None else _of_epochs(layers, analysed)
    return kept


def _of_epochs(table: str, epochs: Collection[int]) -> str:
    """The lines of a table whose first cell, the epoch, is among ``epochs``, below its header."""
    header, *lines = table.splitlines(keepends=True)
    return header + "".join(line for line in lines if int(line.partition(",")[0]) in epochs)
