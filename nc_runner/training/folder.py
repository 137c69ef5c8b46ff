"""A run's folder as training uses it, on rank 0: resumed from its checkpoint, with a record of its end."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from nc_runner import __version__
from nc_runner.config.identity import identity
from nc_runner.config.plugins import reason
from nc_runner.config.schedules import weight_epochs
from nc_runner.config.schema import Config
from nc_runner.distributed.data_parallel import has_batch_norm
from nc_runner.errors import DivergedError, GroupError, NCRunnerError, RankLostError, RunFolderError
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    RUNNING,
    RunWriter,
    read_run_file,
    rows_digest,
)
from nc_runner.runs.weights import drop_weights_after, missing_line, missing_weights
from nc_runner.training.advice import disk_advice
from nc_runner.training.checkpoint import Checkpoint, drop_previous, load_checkpoint, save_checkpoint
from nc_runner.training.continuation import copy_weights, shorter_run
from nc_runner.training.devices import device_name
from nc_runner.training.progress import show
from nc_runner.training.signals import StopRequested
from nc_runner.training.trainer import Trainer, parameter_count
from nc_runner.training.weights import save_weights

log = logging.getLogger("nc_runner")


class RunFolder:
    """The folder of one run that is being trained. The caller holds its lock."""

    def __init__(self, folder: Path, config: Config, trainer: Trainer) -> None:
        self.folder = folder
        self.config = config
        self.trainer = trainer
        self.writer = RunWriter(folder, trainer.dataset.num_classes, config.analysis.further_columns)
        self._began = time.perf_counter()

    def resume(self) -> Checkpoint | None:
        """Bring trainer and tables to the newest whole checkpoint, or to the start; the checkpoint.

        Raises RunFolderError: no checkpoint is whole, the checkpoint or the data does not fit, or the folder
        cannot be written.
        """
        checkpoint, problems = load_checkpoint(self.folder)
        for problem in problems:
            warn(f"{problem}; the one before it is used")
        if checkpoint is not None:
            if checkpoint["data_fingerprint"] != self.trainer.dataset.fingerprint:
                raise RunFolderError(
                    f"{self.folder} was begun on other data than {self.config.data.root} now holds\n"
                    "put the old data back, or start anew with overwrite=true"
                )
            self._check_start()
            self.restore(checkpoint)
        shorter = None if checkpoint else shorter_run(self.folder, self.config, self.trainer)
        with disk_advice(self.folder):
            if shorter is not None:
                checkpoint = self._begin_with(*shorter)
            self._start_tables(checkpoint)
            self._start_weights()
            self._start_record(checkpoint)
            if shorter is not None:  # last: a folder with a checkpoint has a record
                save_checkpoint(self.folder, shorter[1])
        ranks_before = len(checkpoint.get("history", [{}])) if checkpoint else 1
        self._tell_ranks(changed=len(self.trainer.history) > ranks_before)
        log.info("%s on %s, from epoch %d", self.folder, self.trainer.device, self.trainer.epoch)
        return checkpoint

    def _begin_with(self, source: Path, checkpoint: Checkpoint) -> Checkpoint:
        """Take over the state of a finished run with fewer epochs; the checkpoint."""
        self.restore(checkpoint)
        copy_weights(source, self.folder, self.config, self.trainer.analysed)
        self.writer.record["continued_from"] = source.name
        line = f"continues {source.name}, which is finished, from epoch {self.trainer.epoch}"
        log.info(line)
        show(line)
        return checkpoint

    def _check_start(self) -> None:
        """The file net.weights must be what the run was begun from: its identity has the name alone."""
        held = read_run_file(self.folder).get("weights_digest")
        if held is not None and held != self.trainer.network.weights_digest:
            raise RunFolderError(
                f"{self.folder} was begun from other weights than {self.config.net.weights} now holds\n"
                "put the old file back, or start anew with overwrite=true"
            )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Bring the trainer to a checkpoint of this folder. Raises RunFolderError where it does not fit."""
        try:
            self.trainer.restore(checkpoint)
        except Exception as error:
            raise RunFolderError(
                f"the checkpoint in {self.folder} does not fit this network ({reason(error)})\n"
                "was its code changed since? start anew with overwrite=true"
            ) from error

    def complete(self) -> None:
        """Record that the run is complete. Raises RunFolderError where that cannot be written."""
        with disk_advice(self.folder):
            drop_previous(self.folder)
            self.writer.record["rows_digest"] = rows_digest(self.folder)
            self._end(COMPLETE, None)

    def record_failure(self, error: BaseException) -> None:
        """Record how the run ended. Where that cannot be written the record says running: it is resumable."""
        cause = error.__cause__ if isinstance(error, GroupError) and error.__cause__ else error
        if not isinstance(cause, (NCRunnerError, StopRequested)):
            log.error("failed", exc_info=cause)
        try:
            if isinstance(error, (StopRequested, RankLostError)):
                self._end(INTERRUPTED, str(error))
            elif isinstance(error, DivergedError):
                self._end(DIVERGED, str(error))
            else:
                kind = "" if isinstance(error, GroupError) else f"{type(error).__name__}: "
                self._end(FAILED, f"{kind}{error}")
        except OSError as problem:
            log.warning("the end could not be recorded: %s", problem)

    def _end(self, state: str, reason: str | None) -> None:
        log.info("%s%s", state, f": {reason}" if reason else "")
        seconds = time.perf_counter() - self._began
        self.writer.update(state=state, ended=_now(), seconds=seconds, reason=reason)

    def _start_tables(self, checkpoint: Checkpoint | None) -> None:
        texts = {self.writer.rows: checkpoint["rows"] if checkpoint else None}
        if self.trainer.measurer.layers.modules:
            texts[self.writer.layers] = checkpoint.get("layer_rows") if checkpoint else None
        for table, text in texts.items():
            if kept := table.start(text):
                warn(f"{table.path.name} was changed by hand; it is kept as {kept.name}")

    def _start_weights(self) -> None:
        """Keep what the checkpoint has of the epochs to keep; say which were trained without being kept."""
        trainer = self.trainer
        reached = trainer.epoch if trainer.epoch or trainer.step else -1  # -1: before epoch 0 was measured
        drop_weights_after(self.folder, reached)
        wanted = weight_epochs(self.config.keep_checkpoints, trainer.analysed)
        missing = missing_weights(self.folder, (epoch for epoch in wanted if epoch <= reached))
        if trainer.epoch in missing and trainer.step == 0:
            save_weights(self.folder, trainer.epoch, trainer.network.model.state_dict())
            missing.remove(trainer.epoch)
        if missing:
            warn(missing_line(self.folder, missing))

    def _start_record(self, checkpoint: Checkpoint | None) -> None:
        trainer, dataset, network = self.trainer, self.trainer.dataset, self.trainer.network
        self.writer.update(
            state=RUNNING,
            settings=self.config.model_dump(mode="json", by_alias=True),
            identity=identity(self.config),
            num_classes=dataset.num_classes,
            image_shape=dataset.train.shape[1:],  # channels, height, width, padding included
            train_images=len(dataset.train),
            test_images=len(dataset.test),
            class_counts=dataset.class_counts,  # train images, by the labels that training sees
            label_noise=None if dataset.label_noise is None else asdict(dataset.label_noise),
            augment=None if dataset.augment is None else asdict(dataset.augment),
            features=network.classifier.in_features,
            parameters=parameter_count(network.model),
            weights_digest=network.weights_digest,  # of the file net.weights
            data_fingerprint=dataset.fingerprint,
            data_mean=dataset.mean,
            data_std=dataset.std,
            device=str(trainer.device),
            device_name=device_name(trainer.device),
            threads=torch.get_num_threads(),
            processes=trainer.history,
            versions=_versions(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_now(),
            resumed_from_epoch=trainer.epoch if checkpoint is not None else None,
        )

    def _tell_ranks(self, *, changed: bool) -> None:
        """Where several ranks compute the run, or others than before: what that means for its numbers."""
        batch, sizes = self.config.batch_size, [entry["processes"] for entry in self.trainer.history]
        normed, shared = has_batch_norm(self.trainer.network.model), self.config.sync_batchnorm
        seen = [batch if shared else batch // size for size in sizes]
        if sizes[-1] > 1:
            share = f"{sizes[-1]} ranks, each with {batch // sizes[-1]} of the {batch} images of a step"
            line = f"{share}; batch norm sees {seen[-1]}" if normed else share
            log.info(line)
            show(line)
        if changed:
            line = f"{sizes[-1]} rank{'s' * (sizes[-1] > 1)} from here on, {sizes[-2]} before"
            if normed and not shared:
                warn(f"{line}: batch norm saw {seen[-2]} images of a step, and now sees {seen[-1]}")
            else:
                log.info(line)


def warn(message: str) -> None:
    """Into the log, and on stderr."""
    log.warning(message)
    print(f"nc-run: {message}", file=sys.stderr)


def _versions() -> dict[str, str]:
    """Of what the numbers may depend on; torchvision is not imported for it, nor need it be there."""
    versions = {
        "nc_runner": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    with suppress(PackageNotFoundError):
        versions["torchvision"] = version("torchvision")
    return versions


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
