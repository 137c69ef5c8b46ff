"""Small ingredients for tests of the lab: composed settings, a data set of a few images, a tiny network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from helpers.settings import settings_of
from nc_runner.data.dataset import Dataset, Split
from nc_runner.networks import build_network
from nc_runner.training.losses import mse

if TYPE_CHECKING:
    from nc_runner.training.trainer import Trainer

__all__ = ["TinyNetwork", "few_images", "rows_of", "settings_of", "trainer_of"]


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


def trainer_of(*overrides: str, dataset: Dataset | None = None, loss: Any = mse) -> Trainer:
    """A trainer on a few images, for a tiny network unless ``net=`` is among the overrides."""
    from nc_runner.training.trainer import Trainer, seed_everything

    if not any(override.startswith("net=") for override in overrides):
        overrides = ("net=custom", "net._target_=helpers.lab.TinyNetwork", *overrides)
    settings = settings_of("batch_size=5", *overrides)
    dataset = dataset or few_images(count=32)
    seed_everything(settings.seed)
    network = build_network(
        settings.net,
        num_classes=dataset.num_classes,
        in_channels=dataset.in_channels,
        image_size=dataset.image_size,
    )
    return Trainer(settings, network, dataset, loss, torch.device("cpu"))


def rows_of(trainer: Trainer, on_step: Any = lambda: None) -> list[dict[str, Any]]:
    """Train to the end; the rows."""
    rows: list[dict[str, Any]] = []
    trainer.run(on_step, rows.append, lambda: None)
    return rows
