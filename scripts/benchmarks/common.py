"""What all parts share: settings, trainers, timing in turns, and findings with their targets."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import nc_runner.commands.hydra_app.resolvers  # noqa: F401  registers ${nc_...} for the configuration
from nc_runner.commands.hydra_app.compose import compose, session, single_job
from nc_runner.config.schema import Config
from nc_runner.data.dataset import Dataset, Split
from nc_runner.measurement.measurer import Measurement, MeasurementPlan, Measurer
from nc_runner.networks import build_network
from nc_runner.training.losses import build_loss
from nc_runner.training.trainer import Trainer, seed_everything

Times = dict[str, list[float]]


@dataclass
class Finding:
    """One line of a table: a measured value, and its target, if there is one."""

    name: str
    value: float
    unit: str  # "x" for ratios, "%" for shares, "s" for seconds, "1" for errors
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)  # medians, of what the value is made of

    @property
    def met(self) -> bool | None:
        if self.at_least is None and self.at_most is None:
            return None
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f">= {shown(self.at_least, self.unit)}"
        return f"<= {shown(self.at_most, self.unit)}" if self.at_most is not None else ""


def shown(value: float, unit: str) -> str:
    """A value with its unit; a ratio with enough digits to compare it with its target."""
    if unit == "x":
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"
    return {"%": f"{100 * value:.1f} %", "s": f"{value:.2f} s", "1": f"{value:.1e}"}[unit]


@dataclass
class Bench:
    """How to measure: on which device, how often, and whether only for a quick look."""

    device: torch.device
    quick: bool = False

    @property
    def repeats(self) -> int:
        return 3 if self.quick else 5

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def alternate(self, tasks: Mapping[str, Callable[[], Any]], repeats: int | None = None) -> Times:
        """Seconds of each task, timed in turns, after one round that is not counted.

        What slows the machine down for a while slows all tasks of that round.
        """
        times: Times = {name: [] for name in tasks}
        for turn in range(1 + (repeats or self.repeats)):
            for name, task in tasks.items():
                gc.collect()
                self.wait()
                began = time.perf_counter()
                task()
                self.wait()
                if turn:
                    times[name].append(time.perf_counter() - began)
        return times


def ratio(times: Times, above: str, below: str) -> float:
    """The median over the rounds of one task's time over another's."""
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


def medians(times: Times) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}


def settings_of(*overrides: str) -> Config:
    """The checked settings that ``nc-run OVERRIDES`` would use."""
    with session() as app:
        return single_job(compose(app, overrides), overrides).config


def random_images(count: int, channels: int, size: int, classes: int = 10) -> Dataset:
    """Random images of balanced classes, of which class c is brighter in row c; one of each to test on."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % classes
        images = torch.randint(0, 156, (count, channels, size, size), dtype=torch.uint8, generator=generator)
        images[torch.arange(count), :, labels % size] += 99
        return Split(images, labels)

    mean, std = (0.5,) * channels, (0.5,) * channels
    return Dataset(split(count), split(classes), classes, mean, std, "random", "")


def trainer_of(bench: Bench, dataset: Dataset, *overrides: str) -> Trainer:
    """A trainer as nc-run makes it, on this data set; its rows have the core columns."""
    config = settings_of(*overrides)
    seed_everything(config.seed)
    network = build_network(
        config.net,
        num_classes=dataset.num_classes,
        in_channels=dataset.in_channels,
        image_size=dataset.image_size,
    )
    plan = MeasurementPlan(
        ridge=config.analysis.ridge,
        weight_decay=config.weight_decay,
        batch_size=config.analysis.batch_size,
        channels_last=config.channels_last,
    )
    measurer = Measurer(network, dataset.to(bench.device), build_loss(config.loss), plan)
    return Trainer(config, measurer, (), bench.device)


class Rows:
    """Listens to a training, keeps its rows, and neither stops nor saves it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def pause(self) -> None:
        pass

    def measured(self, measurement: Measurement) -> None:
        self.rows.append(measurement.row)

    def reached(self, epoch: int) -> None:
        pass

    def epoch_done(self) -> None:
        pass


def train_an_epoch(trainer: Trainer) -> None:
    """All steps of one epoch with nc-runner's own loop, without the measurement."""
    trainer.step = 0
    trainer._train_epoch(Rows())


def require_equal(
    what: str, ours: float | Tensor, theirs: float | Tensor, rtol: float, atol: float = 0.0
) -> None:
    """End the benchmark where two ways that are to be timed give different numbers."""
    a, b = (torch.as_tensor(x).detach().double().cpu() for x in (ours, theirs))
    if not torch.allclose(a, b, rtol=rtol, atol=atol):
        gap = ((a - b).abs() / b.abs().clamp(min=1e-300)).max()
        raise SystemExit(
            f"bench: {what} differs between the ways to be timed, by {gap:.1e}: nothing is timed"
        )
