"""One run, from its settings to a finished folder: data, network, trainer, rows, checkpoints, record."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import torch

from nc_runner.columns import wider_columns
from nc_runner.config.schedules import analysed_epochs
from nc_runner.config.schema import Config
from nc_runner.data.dataset import Dataset, analysed_part, attacked_images, load_dataset
from nc_runner.distributed.data_parallel import synchronised
from nc_runner.distributed.group import ALONE, Group
from nc_runner.distributed.torchrun import place
from nc_runner.errors import ConfigError, DataError, DivergedError, NCRunnerError, TrainingError
from nc_runner.measurement.batchnorm import Recomputation
from nc_runner.measurement.custom import find_custom_metrics
from nc_runner.measurement.layers import check_refitted, find_layers
from nc_runner.measurement.measurer import MeasurementPlan, Measurer
from nc_runner.networks import LastLayer, Network, build_network, start_from
from nc_runner.runs.record import LOG_FILE
from nc_runner.training.advice import memory_advice
from nc_runner.training.devices import choose_device, keep_freed_memory, set_threads
from nc_runner.training.folder import RunFolder
from nc_runner.training.losses import build_loss
from nc_runner.training.objective import objective_of
from nc_runner.training.optimizers import penalty
from nc_runner.training.progress import choose_progress
from nc_runner.training.recorder import Recorder, RunRecorder, Tracker, TrackerFactory
from nc_runner.training.reproducible import deterministic_algorithms
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
        GroupError: the ranks can no longer compute together: the command must end.
        NCRunnerError: the run cannot start or continue; the message says why and what to do. Raised on all
            ranks at the same point: a sweep can continue with its next run.
    """
    with deterministic_algorithms(config.deterministic):
        trainer = _prepared_alike(config, group)
        run_folder = RunFolder(folder, config, trainer)
        if not group.is_first:
            _carry_out(trainer, run_folder, Recorder(trainer, signals, config))
            return
        # without a ridge, and with other losses, L_perp says little
        on_path = config.loss.target == "mse" and trainer.measurer.ridge is not None
        display = choose_progress(config.progress, config.epochs, label, path=on_path)
        with _log_file(folder), ExitStack() as opened:  # trackers hear of the end when the record has it

            def open_trackers() -> list[Tracker]:
                return [opened.enter_context(closing(factory(folder))) for factory in trackers]

            recorder = RunRecorder(trainer, signals, config, run_folder.writer, display, open_trackers)
            _carry_out(trainer, run_folder, recorder)


def _carry_out(trainer: Trainer, folder: RunFolder, recorder: Recorder) -> None:
    """Resume, train and complete the run, on all ranks."""
    group, config = trainer.group, folder.config
    with group.guarded():
        trainer.distribute()
    checkpoint = group.on_first(folder.resume)
    try:
        with group.guarded(DivergedError, StopRequested):
            if checkpoint is not None and not group.is_first:
                folder.restore(checkpoint)
            with recorder, memory_advice(config.batch_size, config.analysis.batch_size):
                trainer.run(recorder)
    except BaseException as error:
        if group.is_first:
            folder.record_failure(error)
        raise
    finally:
        trainer.end_distribution()
    group.on_first(folder.complete)


def _prepared_alike(config: Config, group: Group) -> Trainer:
    """The trainer, where all ranks could prepare it on the same data; else all raise what one of them met."""
    if group.world_size == 1:
        return prepare(config)
    own: Trainer | NCRunnerError
    try:
        own = prepare(config, group)
    except NCRunnerError as error:
        own = error
    except Exception as error:
        own = TrainingError(f"{type(error).__name__}: {error}")
        own.__cause__ = error
    held = own if isinstance(own, NCRunnerError) else own.dataset.fingerprint
    everyones = group.all_of((socket.gethostname(), held))
    first_host, first = everyones[0]
    if len({str(held) for _, held in everyones}) == 1 and isinstance(own, NCRunnerError):
        raise own
    for rank, (host, held) in enumerate(everyones):
        if isinstance(held, NCRunnerError):
            raise type(held)(f"rank {rank} of {group.world_size} on {host}: {held}")
        if held != first:
            raise DataError(
                f"{host} holds other data than {first_host}\n"
                "give all hosts the same files, or a data.root that they share"
            )
    return own  # type: ignore[return-value]  # no rank has an error


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
    for chosen, name in (("net", config.net.target), ("optimizer", config.optimizer.target)):
        if name in ("ufm", "lbfgs") and config.batch_size != count:
            raise ConfigError(
                f"{chosen}={name} takes one full batch a step, but batch_size={config.batch_size}\n"
                f"give batch_size={count}, the number of train images"
            )
    return build_trainer(config, dataset, device, group)


def build_trainer(config: Config, dataset: Dataset, device: torch.device, group: Group = ALONE) -> Trainer:
    """Network, loss, measurement and optimizer of a run, on a data set. The seed decides the weights."""
    seed_everything(config.seed)
    last = LastLayer(config.head, etf=config.classifier == "etf")
    network = build_network(
        config.net,
        last,
        num_classes=dataset.num_classes,
        in_channels=dataset.in_channels,
        image_size=dataset.image_size,
    )
    network = start_from(network, config.net, last)
    if config.sync_batchnorm and group.world_size > 1:
        synchronised(network.model, device)
    with memory_advice(config.batch_size, config.analysis.batch_size):
        dataset = dataset.to(device)
        measured = analysed_part(dataset, config.analysis.samples, config.seed)
        plan = _plan(config, network, dataset)
        measurer = _measurer(config, network, measured, plan, group)
        epochs = analysed_epochs(config.analysis.schedule, config.epochs)
        return Trainer(config, measurer, epochs, device, dataset)


def _plan(config: Config, network: Network, dataset: Dataset) -> MeasurementPlan:
    """``dataset``: all of it, of which ``analysis.samples`` may take a part."""
    analysis = config.analysis
    anew = Recomputation(
        dataset, config.batch_size, config.seed, config.channels_last, beside=analysis.batchnorm == "both"
    )
    return MeasurementPlan(
        wider=wider_columns(analysis.metrics, analysis.ood is not None),
        ridge=analysis.ridge,
        weight_decay=config.weight_decay or 0.0,
        objective=objective_of(config),
        refit=config.classifier == "least_squares",
        batch_size=analysis.batch_size,
        channels_last=config.channels_last,
        custom=find_custom_metrics(analysis.custom),
        penalty=partial(penalty, network, config),
        robustness=attacked_images(dataset, analysis.robustness, config.seed),
        recomputation=None if analysis.batchnorm == "running" else anew,
    )


def _measurer(
    config: Config, network: Network, dataset: Dataset, plan: MeasurementPlan, group: Group
) -> Measurer:
    black = torch.zeros(2, *dataset.train.shape[1:], device=network.classifier.weight.device)
    layers = find_layers(network.model, config.analysis.layers, lambda: network.model(black), len(black))
    if plan.refit:
        check_refitted(layers, network.classifier)
    return Measurer(network, dataset, build_loss(config.loss), plan, layers, group)


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
