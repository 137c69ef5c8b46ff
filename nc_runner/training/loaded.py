"""A run read back from its folder: trained network, settings, rows, and the data as the run used it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nc_runner.config.data_schema import DATA_SETS
from nc_runner.config.plugins import look_in, reason
from nc_runner.config.schema import NETWORKS, Config
from nc_runner.config.validation import shown
from nc_runner.data.batches import Batches
from nc_runner.data.dataset import Dataset
from nc_runner.distributed.torchrun import Place
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.networks import LastLayer, Network, build_network
from nc_runner.runs.origin import Origin, origin_of
from nc_runner.runs.reader import Run, read_record, read_run
from nc_runner.runs.settings import config_of
from nc_runner.runs.weights import kept_epochs
from nc_runner.training.checkpoint import load_checkpoint
from nc_runner.training.devices import choose_device
from nc_runner.training.recorded_data import RecordedData
from nc_runner.training.weights import load_weights

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class LoadedRun:
    """What :func:`load_run` returns.

    Attributes:
        folder: the run folder.
        record: ``run.json``, typed: ``record.state``, ``record.seed``, ...; ``record.content`` is all of it
            as a dict, and ``record.layers`` the table of ``layers.csv`` (None without that file).
        settings: all settings of the run, checked and frozen.
        network: the model, in eval mode, and its classifier; ``forward_with_features`` gives last-layer
            features too.
        epoch: how many epochs the weights have been trained.
        step: and how many steps of the next epoch; 0 unless the run was stopped, or is, within an epoch.
        device: where the model and the data set are.
    """

    folder: Path
    record: Run
    settings: Config
    network: Network
    epoch: int
    step: int
    device: torch.device
    _data: RecordedData = field(repr=False)

    def __repr__(self) -> str:
        return f"LoadedRun({str(self.folder)!r}, state={self.record.state!r}, epoch={self.epoch})"

    @property
    def model(self) -> nn.Module:
        """The trained network, in eval mode; takes images (B, channels, S, S) as of :meth:`batches`."""
        return self.network.model

    @property
    def rows(self) -> pd.DataFrame:
        """The table of ``metrics.csv``: a row for each measured epoch, in order; may go beyond ``epoch``."""
        return self.record.rows

    def data(self, root: str | os.PathLike[str] | None = None) -> Dataset:
        """The data set as the run used it: subset, padding, recorded mean and std; on ``device``.

        It is loaded once and kept: later calls, and :meth:`batches`, use it.

        Args:
            root: the folder of the data files, where it is another than the recorded ``data.root``. A
                relative ``data.root`` is looked for in the folder in which the run's command was given, and
                then in the current one. Files that are missing are fetched as nc-run does
                (``data.download``).

        Raises:
            DataError: the files are missing or damaged, or hold other images or labels than the run had.
            ConfigError: a custom loader is not there, or no longer takes these settings.
        """
        return self._data.dataset(root)

    def batches(self, split: str = "train", batch_size: int | None = None) -> Batches:
        """Normalised batches of a split in its order, to iterate over repeatedly: see :class:`Batches`.

        Args:
            split: ``train`` or ``test``.
            batch_size: images of a batch; None: the run's ``analysis.batch_size``.

        Raises:
            DataError, ConfigError: as :meth:`data`; for another folder of the data files call that first.
        """
        size = self.settings.analysis.batch_size if batch_size is None else batch_size
        return Batches(self.data(), split, size, self.settings.channels_last)


def load_run(
    folder: str | os.PathLike[str], epoch: int | None = None, device: str | torch.device = "cpu"
) -> LoadedRun:
    """Read a run back: its network with the trained weights, its settings, rows and data.

    The weights are those of the newest whole checkpoint, so a run that is not finished, or still running,
    can be loaded too: ``epoch`` and ``step`` of what is returned say how far they were trained. Files of the
    run folder execute nothing (``torch.load(..., weights_only=True)``), but custom callables that its record
    names are imported and called: from the installed packages, the current folder, or the folder in which the
    record says that the command was given (SECURITY.md). Nothing in the run folder is changed, and torch's
    random generator stays as it was.

    Args:
        folder: the run folder, as ``outputs/mse-resnet8-digits/lr0.1-seed0-76933a25``.
        epoch: load the weights after this epoch, where the run kept them, in place of the newest.
        device: of model and data: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``.

    Raises:
        RunFolderError: it is not a run folder; no checkpoint is whole; no weights of this epoch were kept;
            the settings are those of another version and cannot be completed; the network cannot be built
            again or does not fit the weights.
        ConfigError: there is no such device.
        DataError: the record of an earlier version does not have the images' size, and the data set, which
            has it, cannot be loaded.
    """
    folder = Path(folder)
    run = _record(folder)
    config = _settings(folder, run)
    there = _device(device)
    origin = origin_of(folder)
    if _is_custom(config):
        look_in(origin.folders)
    data = RecordedData(folder, run, config, origin, there)
    weights = _weights(folder, epoch)
    network = _network(folder, config, data, origin)
    _load(folder, network.model, weights.model)
    network.model.to(there)
    if config.channels_last:
        network.model.to(memory_format=torch.channels_last)
    network.model.eval()
    return LoadedRun(folder, run, config, network, weights.epoch, weights.step, there, data)


@dataclass(frozen=True)
class _Weights:
    model: Mapping[str, Tensor]
    epoch: int
    step: int


def _record(folder: Path) -> Run:
    kind = read_record(folder).content.get("kind")  # flow: of nc-flow; measured: rows of another training
    if kind is not None:
        raise RunFolderError(
            f"{folder} has no network: it is a folder of kind {kind}\nname one that nc-run trained"
        )
    run = read_run(folder)
    for warning in run.warnings:
        warnings.warn(f"{folder / 'metrics.csv'}: {warning}", stacklevel=3)
    return run


def _settings(folder: Path, run: Run) -> Config:
    try:
        return config_of(run.settings)
    except ConfigError as error:
        problem = str(error).partition("\n")[0]
        raise RunFolderError(
            f"{folder}: its settings cannot be read as those of this nc-runner: {problem}\n"
            "load it with the version that trained it; nc_runner.read_runs reads its rows with this one"
        ) from error


def _device(device: str | torch.device) -> torch.device:
    try:
        return choose_device(str(device), Place())
    except RuntimeError:
        raise ConfigError(
            f"device={device} is not valid\ndevice must be cpu, cuda, cuda:N, mps or auto"
        ) from None


def _is_custom(config: Config) -> bool:
    """Whether network or data set come from a user's module."""
    inner = str(getattr(config.data.options, "dataset", ""))
    return config.net.target not in NETWORKS or config.data.target not in DATA_SETS or "." in inner


def _weights(folder: Path, epoch: int | None) -> _Weights:
    """Of an epoch that the run kept, or of the newest whole checkpoint."""
    kept = kept_epochs(folder)
    if epoch is not None and epoch in kept:
        return _Weights(load_weights(folder, epoch), epoch, 0)
    checkpoint, problems = load_checkpoint(folder)
    if epoch is not None and (checkpoint is None or (checkpoint["epoch"], checkpoint["step"]) != (epoch, 0)):
        held = f"its checkpoint is of epoch {checkpoint['epoch']}" if checkpoint else "it has no checkpoint"
        if kept:
            held = f"it kept those of {shown(kept)}; {held}"
        raise RunFolderError(f"{folder}: this run kept no weights of epoch {epoch}\n{held}")
    if checkpoint is None:
        raise RunFolderError(f"{folder} has no checkpoint yet: there are no weights to load")
    for problem in problems:
        warnings.warn(f"{problem}; the one before it is used", stacklevel=3)
    return _Weights(checkpoint["model"], checkpoint["epoch"], checkpoint["step"])


def _network(folder: Path, config: Config, data: RecordedData, origin: Origin) -> Network:
    shape = data.shape()
    try:
        with torch.random.fork_rng(devices=[]):
            return build_network(
                config.net,
                LastLayer(config.head, etf=config.classifier == "etf"),
                num_classes=shape.num_classes,
                in_channels=shape.in_channels,
                image_size=shape.image_size,
            )
    except ConfigError as error:
        problem = str(error).partition("\n")[0]
        where = f"; nc-run was started in {origin.start}" if origin.start else ""
        raise RunFolderError(
            f"{folder}: its network cannot be built again: {problem}\n"
            f"its code must be there as it was: start Python in the folder that has it{where}"
        ) from error


def _load(folder: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(weights)
    except Exception as error:  # whatever a custom network's code may raise
        raise RunFolderError(
            f"{folder}: the weights do not fit the network ({reason(error)})\n"
            "was its code changed since? put it back as it was when the run was trained"
        ) from error
