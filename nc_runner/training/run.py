"""One run, from its settings to a finished folder: data, network, trainer, rows, checkpoints, record."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from nc_runner.columns import wider_columns
from nc_runner.config.schedules import analysed_epochs
from nc_runner.config.schema import Config
from nc_runner.data.dataset import Dataset, load_dataset
from nc_runner.distributed.data_parallel import synchronised
from nc_runner.distributed.group import ALONE, Group
from nc_runner.distributed.torchrun import place
from nc_runner.errors import ConfigError, DataError, DivergedError, NCRunnerError, TrainingError
from nc_runner.measurement.custom import find_custom_metrics
from nc_runner.measurement.layers import find_layers
from nc_runner.measurement.measurer import Measured, Measurer
from nc_runner.networks import Network, build_network
from nc_runner.runs.record import LOG_FILE
from nc_runner.training.advice import memory_advice
from nc_runner.training.devices import choose_device, keep_freed_memory, set_threads
from nc_runner.training.folder import RunFolder
from nc_runner.training.losses import build_loss
from nc_runner.training.progress import choose_progress
from nc_runner.training.recorder import Recorder, RunRecorder, TrackerFactory
from nc_runner.training.signals import StopRequested, StopSignals
from nc_runner.training.trainer import Trainer, seed_everything

log = logging.getLogger("nc_runner")


def execute(
    config: Config,
    folder: Path,
    signals: StopSignals,
    group: Group = ALONE,
    trackers: Sequence[TrackerFactory] = (),
    label: str = "",
) -> None:
    """Carry out a run in ``folder``, from its start or from its checkpoint.

    Called on every rank of ``group`` with the same settings. Rank 0 alone touches the folder, whose lock the
    caller holds there: it reads the checkpoint and broadcasts it, and writes rows, record and log.
    ``run.json`` ends as complete, interrupted, diverged or failed.

    Args:
        trackers: open a tracker each for the folder, on rank 0.
        label: put in front of each line of progress, such as ``[2/4]``.

    Raises:
        StopRequested: a signal came; the run can be resumed. Raised on all ranks.
        GroupError: the ranks cannot go on together: the command must end.
        NCRunnerError: the run cannot start or go on; the message says why and what to do. Raised on all
            ranks at the same point: a sweep can go on with its next run.
    """
    trainer = _prepared(config, group)
    if not group.is_first:
        _carry_out(trainer, None, Recorder(trainer, signals, config.checkpoint_seconds))
        return
    with _log_file(folder):
        run_folder = RunFolder(folder, config, trainer)
        mse = config.loss.target == "mse"
        display = choose_progress(config.progress, config.epochs, label, path=mse)
        recorder = RunRecorder(trainer, signals, config, run_folder.writer, display, trackers)
        _carry_out(trainer, run_folder, recorder)


def prepare(config: Config, group: Group = ALONE) -> Trainer:
    """Data, network and trainer of a run, on this rank; the ranks exchange nothing here.

    Everything that can be wrong with settings and data is found here, before a row is written.
    Raises ConfigError, DataError or TrainingError.
    """
    device = choose_device(config.device, place())
    set_threads(config.threads, device, place().local_world_size)
    keep_freed_memory()
    dataset = load_dataset(config.data, seed=config.seed, ood=config.analysis.ood, device=device)
    if config.batch_size > (count := len(dataset.train)):
        raise ConfigError(
            f"batch_size={config.batch_size} is larger than the train set of {count} images\n"
            f"give batch_size={count} or less"
        )
    seed_everything(config.seed)
    network = build_network(
        config.net,
        num_classes=dataset.num_classes,
        in_channels=dataset.in_channels,
        image_size=dataset.image_size,
    )
    if config.sync_batchnorm and group.world_size > 1:
        synchronised(network.model, device)
    with memory_advice(config.batch_size, config.analysis.batch_size):
        measurer = _measurer(config, network, dataset, device, group)
        epochs = analysed_epochs(config.analysis.schedule, config.epochs)
        return Trainer(config, measurer, epochs, device)
