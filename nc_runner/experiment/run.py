"""One run, from its settings to a finished folder: data, network, trainer, rows, checkpoints, record."""

from __future__ import annotations

import errno
import logging
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import torchvision

import nc_runner
from nc_runner import runs
from nc_runner.errors import ConfigError, DivergedError, NCRunnerError, RunFolderError, TrainingError
from nc_runner.experiment.checkpoint import drop_previous, load_checkpoint, save_checkpoint
from nc_runner.experiment.data import load_dataset
from nc_runner.experiment.devices import choose_device, device_name
from nc_runner.experiment.networks import build_network
from nc_runner.experiment.own_metrics import find_own_metrics
from nc_runner.experiment.plugins import locate, reason
from nc_runner.experiment.progress import choose_progress, describe
from nc_runner.experiment.schema import deciding_settings
from nc_runner.experiment.signals import StopRequested, StopSignals
from nc_runner.experiment.trainer import Trainer, parameter_count, seed_everything

log = logging.getLogger("nc_runner")


def prepare(settings: Mapping[str, Any]) -> Trainer:
    """Everything that can be wrong with settings and data is found here, before a row is written."""
    if settings["threads"] is not None:
        torch.set_num_threads(settings["threads"])
    device = choose_device(settings["device"])
    ood = settings["analysis"]["ood"]
    dataset = load_dataset(settings["data"], seed=settings["seed"], ood=ood, device=device)
    count = len(dataset.train.labels)
    if settings["batch_size"] > count:
        raise ConfigError(
            f"batch_size={settings['batch_size']} is larger than the train set of {count} images"
        )
    seed_everything(settings["seed"])
    network = build_network(
        settings["net"],
        num_classes=dataset.num_classes,
        in_channels=dataset.in_channels,
        image_size=dataset.image_size,
    )
    loss_function = locate(settings["loss"]["_target_"], "loss._target_")
    find_own_metrics(settings["analysis"])
    with _memory_advice(settings):
        return Trainer(settings, network, dataset.to(device), loss_function, device)


def execute(settings: Mapping[str, Any], folder: Path, signals: StopSignals) -> float:
    """Carry out a run in ``folder``, from its start or from its checkpoint; the last test accuracy.

    The caller holds the folder's lock. ``run.json`` ends as complete, interrupted, diverged or failed.

    Raises:
        NCRunnerError: the run cannot start or go on; the message says why and what to do.
        StopRequested: a signal came; the run can be resumed.
    """
    trainer = prepare(settings)
    analysis = trainer.settings["analysis"]
    further = (*runs.wider_columns(analysis), *runs.own_columns(analysis))
    writer = runs.RunWriter(folder, trainer.dataset.num_classes, further)
    began = time.perf_counter()
    with _log_file(folder):
        _resume(trainer, writer)
        log.info("%s on %s, from epoch %d", folder, trainer.device, trainer.epoch)
        try:
            _train(trainer, writer, signals)
        except StopRequested as stop:
            _end(writer, runs.INTERRUPTED, began, reason=str(stop))
            raise
        except DivergedError as error:
            _end(writer, runs.DIVERGED, began, reason=str(error))
            raise
        except BaseException as error:
            _end(writer, runs.FAILED, began, reason=f"{type(error).__name__}: {error}")
            if not isinstance(error, NCRunnerError):
                log.exception("failed")
            raise
        drop_previous(folder)
        writer.record["rows_digest"] = runs.rows_digest(folder)
        _end(writer, runs.COMPLETE, began, reason=None)
    return runs.last_row(folder)["test_accuracy"]


def _train(trainer: Trainer, writer: runs.RunWriter, signals: StopSignals) -> None:
    settings = trainer.settings
    last_saved = time.monotonic()

    def save() -> None:
        nonlocal last_saved
        with _disk_advice(writer.folder):
            state = trainer.state() | {
                "data_fingerprint": trainer.dataset.fingerprint,
                "rows": writer.rows_text(),
            }
            if trainer.layers.modules:
                state["layer_rows"] = writer.layers.text()
            save_checkpoint(writer.folder, state)
        last_saved = time.monotonic()

    def on_step() -> None:
        display.step(trainer.epoch + trainer.step / trainer.steps)
        if signals.received is not None:
            save()
            signals.pause()
        if time.monotonic() - last_saved > settings["checkpoint_seconds"] > 0:
            save()

    def on_row(row: dict[str, Any]) -> None:
        with _disk_advice(writer.folder):
            writer.append(row)
        log.info(describe(row, trainer.epochs))
        display.row(row)

    def on_layers(rows: list[dict[str, Any]]) -> None:
        with _disk_advice(writer.folder):
            writer.layers.append(*rows)

    def on_epoch() -> None:
        if settings["checkpoint_seconds"] == 0 or trainer.epoch == trainer.epochs:
            save()

    with choose_progress(settings["progress"], trainer.epochs) as display, _memory_advice(settings):
        trainer.run(on_step, on_row, on_epoch, on_layers)


def _resume(trainer: Trainer, writer: runs.RunWriter) -> None:
    """Bring trainer and folder to the newest whole checkpoint, or to the start."""
    folder = writer.folder
    state, problems = load_checkpoint(folder)
    for problem in problems:
        _tell(f"{problem}; the one before it is used")
    with _disk_advice(folder):
        if state is None:
            tables = {writer.rows: None, writer.layers: None}
        else:
            if state["data_fingerprint"] != trainer.dataset.fingerprint:
                raise RunFolderError(
                    f"{folder} was begun on other data than {trainer.settings['data']['root']} now holds\n"
                    "put the old data back, or start anew with overwrite=true"
                )
            try:
                trainer.restore(state)
            except Exception as error:
                raise RunFolderError(
                    f"the checkpoint in {folder} does not fit this network ({reason(error)})\n"
                    "was its code changed since? start anew with overwrite=true"
                ) from error
            tables = {writer.rows: state["rows"], writer.layers: state.get("layer_rows")}
        if not trainer.layers.modules:
            del tables[writer.layers]
        for table, text in tables.items():
            if kept := table.start(text):
                _tell(f"{table.path.name} was changed by hand; it is kept as {kept.name}")
        writer.update(
            state=runs.RUNNING,
            settings=trainer.settings,
            deciding=deciding_settings(trainer.settings),
            num_classes=trainer.dataset.num_classes,
            train_images=len(trainer.dataset.train.labels),
            test_images=len(trainer.dataset.test.labels),
            features=trainer.network.classifier.in_features,
            parameters=parameter_count(trainer.network.model),
            data_fingerprint=trainer.dataset.fingerprint,
            data_mean=trainer.dataset.mean,
            data_std=trainer.dataset.std,
            device=str(trainer.device),
            device_name=device_name(trainer.device),
            threads=torch.get_num_threads(),
            versions=_versions(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_now(),
            resumed_from_epoch=trainer.epoch if state is not None else None,
        )


def _tell(message: str) -> None:
    log.warning(message)
    print(f"nc-run: {message}", file=sys.stderr)


def _end(writer: runs.RunWriter, state: str, began: float, reason: str | None) -> None:
    log.info("%s%s", state, f": {reason}" if reason else "")
    try:
        writer.update(state=state, ended=_now(), seconds=time.perf_counter() - began, reason=reason)
    except OSError:
        if state == runs.COMPLETE:
            raise  # a full disk or a deleted folder; the state that stands, running, is resumable


def _versions() -> dict[str, str]:
    return {
        "nc_runner": nc_runner.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextmanager
def _log_file(folder: Path) -> Iterator[None]:
    handler = logging.FileHandler(folder / runs.LOG_FILE)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextmanager
def _disk_advice(folder: Path) -> Iterator[None]:
    """Errors of the file system, in words that help."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _disk_is_full(folder):
            raise  # torch reports a failed write as RuntimeError
        code = error.errno if isinstance(error, OSError) else errno.ENOSPC
        if code in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full: free some space, then give the same command again to go on"
        elif not folder.is_dir():
            advice = "the folder is gone: was it moved or deleted while the run went on?"
        else:
            advice = "make the folder writable, then give the same command again to go on"
        raise RunFolderError(
            f"cannot write to {folder}: {os.strerror(code or errno.EIO)}\n{advice}"
        ) from error


def _disk_is_full(folder: Path) -> bool:
    try:
        status = os.statvfs(folder)
    except OSError:
        return True
    return status.f_bavail * status.f_frsize < 2**20


@contextmanager
def _memory_advice(settings: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        batch, analysed = settings["batch_size"], settings["analysis"]["batch_size"]
        raise TrainingError(
            f"out of GPU memory with batch_size={batch} and analysis.batch_size={analysed}\n"
            f"try batch_size={max(1, batch // 2)} or analysis.batch_size={max(1, analysed // 4)}"
        ) from error
