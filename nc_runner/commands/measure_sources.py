"""What ``nc-measure`` measures: features files, run folders at chosen epochs, a model with its weights."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from nc_runner.commands.ending import complain
from nc_runner.commands.hydra_app.compose import composed_settings
from nc_runner.config.schema import Config
from nc_runner.data.batches import Batches
from nc_runner.data.dataset import Dataset, analysed_part, load_dataset
from nc_runner.distributed.torchrun import Place
from nc_runner.errors import ConfigError, MeasurementWarning
from nc_runner.measurement.batchnorm import Recomputation
from nc_runner.measurement.custom import CustomMetric, find_custom_metrics
from nc_runner.measurement.features import FeaturesPlan, chosen_columns, measure_features
from nc_runner.measurement.features_file import read_features
from nc_runner.measurement.measure import loss_of, measure
from nc_runner.measurement.result import Measurement
from nc_runner.measurement.samples import LossFunction
from nc_runner.networks.loading import load_model, load_weights_file
from nc_runner.runs.measured import Source
from nc_runner.runs.weights import kept_epochs
from nc_runner.training.devices import choose_device, set_threads
from nc_runner.training.loaded import LoadedRun, load_run
from nc_runner.training.losses import build_loss
from nc_runner.training.objective import objective_of
from nc_runner.training.optimizers import penalty

BATCH_SIZE = 512  # images per pass


@dataclass(frozen=True)
class Task:
    """One thing to measure. ``epoch``: of its row, where its source tells."""

    label: str
    source: Source
    epoch: int | None
    measure: Callable[[], Measurement]


class Sources:
    """The tasks of a command line, found and checked before anything is measured.

    Raises ConfigError, RunFolderError, DataError and MeasurementError.
    """

    def __init__(self, chosen: argparse.Namespace, settings: Sequence[str]) -> None:
        self.chosen = chosen
        self.settings = list(settings)
        self.device = choose_device(chosen.device, Place())
        set_threads(chosen.threads, self.device, 1)
        self.custom: dict[str, CustomMetric] = find_custom_metrics(_pairs(chosen.custom), "--custom ")
        self.metrics = chosen.metrics[0] if len(chosen.metrics) == 1 else chosen.metrics
        self.batch_size = chosen.batch_size or BATCH_SIZE
        self.ridge = None if chosen.ridge is None else number_or_name(chosen.ridge)
        self._plan(chosen_columns(self.metrics, test=True, ood=True))  # raises for what none can satisfy

    def tasks(self, sources: Sequence[str]) -> list[Task]:
        """One for each source, each of a run's chosen epochs, and each file of a model's weights."""
        if self.chosen.model is not None:
            return self._of_model()
        found: list[Task] = []
        for path in map(Path, sources):
            found += self._of_run(path) if path.is_dir() else [self._of_file(path)]
        return found

    @cached_property
    def config(self) -> Config:
        """The settings of the data that the command line names."""
        return composed_settings(self.settings)

    @cached_property
    def dataset(self) -> Dataset:
        dataset = load_dataset(self.config.data, seed=self.config.seed, device=self.device)
        return dataset.to(self.device)

    def _of_file(self, path: Path) -> Task:
        loss = self.chosen.loss or "ce"

        def carry_out() -> Measurement:
            with _spinner(path):
                features = read_features(path, loss_of(loss))
                has_test, has_ood = features.test is not None, features.ood is not None
                columns = chosen_columns(self.metrics, test=has_test, ood=has_ood)
                return measure_features(features, self._plan(columns))

        return Task(path.name, Source("features", path.stem, loss), _last_number(path), carry_out)

    def _plan(self, columns: tuple[str, ...]) -> FeaturesPlan:
        ridge = "objective" if self.ridge is None else self.ridge
        return FeaturesPlan(
            columns, self.custom, ridge, self.chosen.weight_decay or 0.0, self.chosen.min_samples
        )

    def _of_model(self) -> list[Task]:
        loss, name = self.chosen.loss or "ce", str(self.chosen.model)
        source = Source(re.split(r"[:/]", name)[-1], str(self.config.data.name), loss)
        shape = {"num_classes": self.dataset.num_classes, "in_channels": self.dataset.in_channels}
        model = load_model(name, **shape, image_size=self.dataset.image_size)

        def carry_out(weights: Path | None) -> Measurement:
            if weights is not None:
                load_weights_file(model, weights)
            measured = self._measured(model, self.dataset, loss_of(loss), self._batchnorm(self.dataset))
            return replace(measured, cautions=(*measured.cautions, *self._normalisation()))

        if not self.chosen.weights:
            if name.startswith(("torchvision:", "timm:")):
                complain("nc-measure", f"{name} has random weights; give --weights FILE for trained ones")
            return [Task(name, source, None, partial(carry_out, None))]
        return [
            Task(file.name, source, _last_number(file), partial(carry_out, file))
            for file in self.chosen.weights
        ]

    def _normalisation(self) -> list[str]:
        """What to beware of where the command line does not say how images are normalised."""
        if {"data.mean", "data.std"} <= {setting.partition("=")[0] for setting in self.settings}:
            return []
        mean, std = (",".join(f"{x:.4g}" for x in per) for per in (self.dataset.mean, self.dataset.std))
        return [
            f"images are normalised with data.mean=[{mean}] data.std=[{std}]; if the model was trained with "
            "others, give those"
        ]

    def _of_run(self, folder: Path) -> list[Task]:
        def carry_out(epoch: int | None) -> Measurement:
            run = load_run(folder, epoch, self.device)
            config = run.settings
            loss = build_loss(config.loss) if self.chosen.loss is None else loss_of(self.chosen.loss)
            dataset = self._for_run(run) if self.settings else _as_measured(run)
            batchnorm = self._batchnorm(run.data(), config)
            measurement = self._measured(run.model, dataset, loss, batchnorm, config)
            if self.chosen.weight_decay is None:
                row = measurement.row
                row["train_loss_regularized"] = row["train_loss"] + penalty(run.network, config)
            return measurement

        run = load_run(folder)
        loss_name, net = str(self.chosen.loss or run.settings.loss.name), str(run.settings.net.name)
        settings, data = run.record.settings, run.settings.data.name
        anew = (self.chosen.batchnorm or run.settings.analysis.batchnorm) == "recomputed"
        analysis = {**settings.get("analysis", {}), "batchnorm": "recomputed" if anew else None}
        if self.settings:  # all of other data is measured
            analysis["samples"] = None
            data = self.config.data.name
        settings = {**settings, "analysis": analysis}
        source = Source(net, str(data), loss_name, settings=settings)
        epochs = _epochs(folder, self.chosen.epoch)
        label = folder.resolve().name
        if not epochs:
            return [Task(label, source, run.epoch, partial(carry_out, None))]
        return [Task(f"{label}, epoch {epoch}", source, epoch, partial(carry_out, epoch)) for epoch in epochs]

    def _for_run(self, run: LoadedRun) -> Dataset:
        """The other data set that the command line names, normalised as the run's network expects."""
        own = run.data()
        if (self.dataset.in_channels, self.dataset.num_classes) != (own.in_channels, own.num_classes):
            raise ConfigError(
                f"{self.dataset.name} has {self.dataset.in_channels} channel(s) and "
                f"{self.dataset.num_classes} classes, but the run's network has {own.in_channels} and "
                f"{own.num_classes}"
            )
        return replace(self.dataset, mean=own.mean, std=own.std)

    def _batchnorm(self, dataset: Dataset, config: Config | None = None) -> str | Iterable[object]:
        """The batches that batch norm's statistics are computed of: those of the train set, as in training.

        ``config``: of the run, whose choice holds where the command line gives none.
        """
        own = "running" if config is None else config.analysis.batchnorm
        if (self.chosen.batchnorm or own) != "recomputed":
            return "running"
        size, seed = (self.batch_size, 0) if config is None else (config.batch_size, config.seed)
        return Recomputation(dataset, size, seed).batches()

    def _measured(
        self,
        model: nn.Module,
        dataset: Dataset,
        loss: LossFunction,
        batchnorm: str | Iterable[object],
        config: Config | None = None,
    ) -> Measurement:
        """``config``: of the run, whose ridge and objective hold where the command line gives none."""
        chosen = self.chosen
        ridge, weight_decay, objective = self.ridge, chosen.weight_decay, None
        if config is not None:
            ridge = config.analysis.ridge if ridge is None else ridge
            objective = objective_of(config) if weight_decay is None else None
        train, tested = (Batches(dataset, split, self.batch_size) for split in ("train", "test"))
        test = tested if len(tested) else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasurementWarning)  # the table has them
            return measure(
                model, train, test=test, ood=_ood_batches(dataset, self.batch_size), metrics=self.metrics,
                custom=self.custom, layers=chosen.layers, classifier=chosen.classifier, loss=loss,
                ridge="objective" if ridge is None else ridge, weight_decay=weight_decay or 0.0,
                objective=objective, min_samples=chosen.min_samples, batchnorm=batchnorm, device=self.device,
                progress=sys.stderr.isatty(),
            )  # fmt: skip


def _as_measured(run: LoadedRun) -> Dataset:
    """The images that the run's rows describe: with ``analysis.samples`` a part of them."""
    return analysed_part(run.data(), run.settings.analysis.samples, run.settings.seed)


def _ood_batches(dataset: Dataset, batch_size: int) -> list[Tensor] | None:
    if dataset.ood is None:
        return None
    return [dataset.normalise(block, channels_last=True) for block in torch.split(dataset.ood, batch_size)]


def _epochs(folder: Path, chosen: Sequence[str]) -> list[int]:
    """The epochs that ``--epoch`` means for a run; none for its last weights."""
    if not chosen:
        return []
    if list(chosen) == ["all"]:
        if kept := kept_epochs(folder):
            return kept
        raise ConfigError(f"{folder} kept no weights of single epochs\ntrain with keep_checkpoints=analysed")
    if not all(epoch.isdecimal() for epoch in chosen):
        raise ConfigError(f"--epoch {' '.join(chosen)} is not valid\ngive epochs, such as 10 20, or all")
    return sorted(set(map(int, chosen)))


def _pairs(given: Sequence[str]) -> Mapping[str, str]:
    for pair in given:
        if "=" not in pair:
            raise ConfigError(
                f"--custom {pair} is not valid\ngive COLUMN=PATH, as --custom gap=my_metrics.py:gap"
            )
    return dict(pair.split("=", 1) for pair in given)


def number_or_name(text: str | float) -> str | float:
    """The number that a text is, or the text itself, as of --ridge."""
    try:
        return float(text)
    except ValueError:
        return text


def _last_number(path: Path) -> int | None:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None


@contextmanager
def _spinner(path: Path) -> Iterator[None]:
    """On a terminal, a line while a file is measured."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"measuring {path.name}"):
        yield
