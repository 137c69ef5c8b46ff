"""Small ingredients for tests of the lab: composed settings, a data set of a few images, a tiny network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from helpers.settings import settings_of
from nc_runner.data.dataset import Dataset, Split
from nc_runner.measurement.forward import no_pause
from nc_runner.measurement.layers import LayerRow
from nc_runner.measurement.measurer import Measurement
from nc_runner.training.run import build_trainer
from nc_runner.training.trainer import Trainer

__all__ = ["Listening", "TinyNetwork", "few_images", "rows_of", "settings_of", "trainer_of"]


def few_images(channels: int = 1, size: int = 8, count: int = 10, num_classes: int = 10) -> Dataset:
    """Random images of which class k is brighter in row k: there is something to learn."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = np.arange(count) % num_classes
        images = rng.integers(0, 128, (count, channels, size, size), dtype=np.uint8)
        images[np.arange(count), :, labels % size] += 127
        return Split(torch.from_numpy(images), torch.from_numpy(labels))

    mean, std = (0.5,) * channels, (0.5,) * channels
    return Dataset(split(count), split(num_classes), num_classes, mean, std, "few", "fingerprint")


class TinyNetwork(nn.Module):
    """A network with dropout, so that its training draws random numbers."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, width: int = 12) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_channels * image_size**2, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.norm(self.hidden(images.flatten(1))).relu()))


def trainer_of(*overrides: str, dataset: Dataset | None = None, loss: Any = None) -> Trainer:
    """A trainer on a few images, for a tiny network unless ``net=`` is among the overrides.

    ``loss``: a function in place of the one that the settings name.
    """
    if not any(override.startswith("net=") for override in overrides):
        overrides = ("net=custom", "net._target_=helpers.lab.TinyNetwork", *overrides)
    config = settings_of("batch_size=5", *overrides)
    trainer = build_trainer(config, dataset or few_images(count=32), torch.device("cpu"))
    if loss is not None:
        trainer.loss_function = trainer.measurer.loss_function = loss
    return trainer


class Listening:
    """Keeps the rows of a training; calls ``on_step`` at each pause."""

    def __init__(self, on_step: Callable[[], None] = no_pause) -> None:
        self.pause = on_step
        self.rows: list[dict[str, float]] = []
        self.layers: list[list[LayerRow]] = []

    def measured(self, measurement: Measurement) -> None:
        self.rows.append(measurement.row)
        self.layers.append(measurement.layers)

    def reached(self, epoch: int) -> None:
        pass

    def epoch_done(self) -> None:
        pass


def rows_of(trainer: Trainer, on_step: Callable[[], None] = no_pause) -> list[dict[str, float]]:
    """Train to the end; the rows."""
    listener = Listening(on_step)
    trainer.run(listener)
    return listener.rows
