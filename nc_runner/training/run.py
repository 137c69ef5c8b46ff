"""One run, from its settings to a finished folder: data, network, trainer, rows, checkpoints, record."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import torchvision

import nc_runner
from nc_runner.columns import wider_columns
from nc_runner.config.plugins import locate, reason
from nc_runner.config.schema import deciding_settings
from nc_runner.data.dataset import load_dataset
from nc_runner.distributed.crew import lead, understood
from nc_runner.distributed.group import Processes
from nc_runner.distributed.sync_batchnorm import has_batch_norm, synchronise
from nc_runner.distributed.torchrun import place
from nc_runner.errors import ConfigError, DivergedError, NCRunnerError, RunFolderError
from nc_runner.measurement.custom import find_own_metrics
from nc_runner.networks import build_network
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOG_FILE,
    RUNNING,
    RunWriter,
    last_row,
    rows_digest,
)
from nc_runner.trackers.tensorboard import Board
from nc_runner.training.advice import disk_advice, memory_advice
from nc_runner.training.checkpoint import drop_previous, load_checkpoint, save_checkpoint
from nc_runner.training.devices import choose_device, device_name, keep_freed_memory, set_threads
from nc_runner.training.progress import ProgressDisplay, choose_progress, describe
from nc_runner.training.signals import StopRequested, StopSignals
from nc_runner.training.trainer import Trainer, parameter_count, seed_everything

log = logging.getLogger("nc_runner")


def prepare(settings: Mapping[str, Any]) -> Trainer:
    """Everything that can be wrong with settings and data is found here, before a row is written."""
    device = choose_device(settings["device"])
    set_threads(settings["threads"], device)
    keep_freed_memory()
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
    if settings["sync_batchnorm"] and place().size > 1:
        synchronise(network.model, device)
    loss_function = locate(settings["loss"]["_target_"], "loss._target_")
    find_own_metrics(settings["analysis"])
    with memory_advice(settings):
        return Trainer(settings, network, dataset.to(device), loss_function, device)


def execute(settings: Mapping[str, Any], folder: Path, signals: StopSignals) -> float:
    """Carry out a run in ``folder``, from its start or from its checkpoint; the last test accuracy.

    The caller holds the folder's lock. ``run.json`` ends as complete, interrupted, diverged or failed. Under
    torchrun this is process 0, and the others come to :func:`assist`.

    Raises:
        NCRunnerError: the run cannot start or go on; the message says why and what to do.
        StopRequested: a signal came; the run can be resumed.
    """
    trainer = prepare(settings)
    analysis = trainer.settings["analysis"]
    further = (*wider_columns(analysis["metrics"], bool(analysis["ood"])), *analysis["own"])
    writer = RunWriter(folder, trainer.dataset.num_classes, further)
    began = time.perf_counter()
    with _log_file(folder), lead(settings, signals) as processes:
        processes.compare(trainer.dataset.fingerprint)
        trainer.distribute(processes)
        _resume(trainer, writer)
        log.info("%s on %s, from epoch %d", folder, trainer.device, trainer.epoch)
        try:
            _train(trainer, writer, signals)
        except StopRequested as stop:
            _end(writer, INTERRUPTED, began, reason=str(stop))
            raise
        except DivergedError as error:
            _end(writer, DIVERGED, began, reason=str(error))
            raise
        except BaseException as error:
            _end(writer, FAILED, began, reason=f"{type(error).__name__}: {error}")
            if not isinstance(error, NCRunnerError):
                log.exception("failed")
            raise
        drop_previous(folder)
        writer.record["rows_digest"] = rows_digest(folder)
        _end(writer, COMPLETE, began, reason=None)
    return last_row(folder)["test_accuracy"]


def assist(settings: Mapping[str, Any], processes: Processes, signals: StopSignals) -> None:
    """What the other processes do in a run that process 0 executes: they compute, and write nothing."""
    try:
        trainer = prepare(settings)
    except Exception as error:
        processes.compare(error)
        raise
    processes.compare(trainer.dataset.fingerprint)
    trainer.distribute(processes)
    state = processes.from_leader()
    if state is not None:
        trainer.restore(state)
    _train(trainer, None, signals)


def _train(trainer: Trainer, writer: RunWriter | None, signals: StopSignals) -> None:
    """Train to the end; ``writer`` is None on the processes that write nothing."""
    settings = trainer.settings
    last_saved = time.monotonic()

    def save() -> None:
        nonlocal last_saved
        state = trainer.state()
        if writer is not None:
            with disk_advice(writer.folder):
                state |= {"data_fingerprint": trainer.dataset.fingerprint, "rows": writer.rows_text()}
                if trainer.layers.modules:
                    state["layer_rows"] = writer.layers.text()
                save_checkpoint(writer.folder, state)
        last_saved = time.monotonic()

    def on_step() -> None:
        display.step(trainer.epoch + trainer.step / trainer.steps)
        due = time.monotonic() - last_saved > settings["checkpoint_seconds"] > 0
        stop, due = trainer.processes.agree(signals.received or 0, due)
        if stop:
            save()
            raise StopRequested(stop)
        if due:
            save()

    def on_row(row: dict[str, Any]) -> None:
        if writer is not None:
            with disk_advice(writer.folder):
                writer.append(row)
                if board is not None:
                    board.add(row)
            log.info(describe(row, trainer.epochs))
        display.row(row)

    def on_layers(rows: list[dict[str, Any]]) -> None:
        if writer is not None:
            with disk_advice(writer.folder):
                writer.layers.append(*rows)

    def on_epoch() -> None:
        if settings["checkpoint_seconds"] == 0 or trainer.epoch == trainer.epochs:
            save()

    silent = ProgressDisplay(trainer.epochs)
    chosen = choose_progress(settings["progress"], trainer.epochs) if writer is not None else silent
    events = Board(writer.folder) if settings["tensorboard"] and writer is not None else nullcontext()
    with chosen as display, events as board, memory_advice(settings), understood():
        trainer.run(on_step, on_row, on_epoch, on_layers)


def _resume(trainer: Trainer, writer: RunWriter) -> None:
    """Bring trainer and folder to the newest whole checkpoint, or to the start."""
    folder = writer.folder
    state, problems = load_checkpoint(folder)
    for problem in problems:
        _tell(f"{problem}; the one before it is used")
    with disk_advice(folder):
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
        trainer.processes.from_leader(state)
        if not trainer.layers.modules:
            del tables[writer.layers]
        for table, text in tables.items():
            if kept := table.start(text):
                _tell(f"{table.path.name} was changed by hand; it is kept as {kept.name}")
        writer.update(
            state=RUNNING,
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
            processes=trainer.history,
            versions=_versions(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started=_now(),
            resumed_from_epoch=trainer.epoch if state is not None else None,
        )
    _say_who_computes(trainer, len(trainer.history) > len((state or {}).get("history", [0])))


def _say_who_computes(trainer: Trainer, changed: bool) -> None:
    """Where several processes compute the run, or others than before: what that means for its numbers."""
    batch, sizes = trainer.settings["batch_size"], [entry["processes"] for entry in trainer.history]
    normed, shared = has_batch_norm(trainer.network.model), trainer.settings["sync_batchnorm"]
    seen = [batch if shared else batch // size for size in sizes]
    if sizes[-1] > 1:
        share = f"{sizes[-1]} processes, each with {batch // sizes[-1]} of the {batch} images of a step"
        line = f"{share}; batch norm sees {seen[-1]}" if normed else share
        log.info(line)
        print(line, flush=True)
    if changed:
        line = f"{sizes[-1]} process{'es' * (sizes[-1] > 1)} from here on, {sizes[-2]} before"
        if normed and not shared:
            _tell(f"{line}: batch norm saw {seen[-2]} images of a step, and now sees {seen[-1]}")
        else:
            log.info(line)


def _tell(message: str) -> None:
    log.warning(message)
    print(f"nc-run: {message}", file=sys.stderr)


def _end(writer: RunWriter, state: str, began: float, reason: str | None) -> None:
    log.info("%s%s", state, f": {reason}" if reason else "")
    try:
        writer.update(state=state, ended=_now(), seconds=time.perf_counter() - began, reason=reason)
    except OSError:
        if state == COMPLETE:
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
    handler = logging.FileHandler(folder / LOG_FILE)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
