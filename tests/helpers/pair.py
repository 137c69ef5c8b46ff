"""Run by two ranks under torchrun: what they compute together, beside what rank 0 computes alone.

Rank 0 writes it as JSON to the path in the first argument; tests/distributed/test_pair.py judges.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from helpers.lab import Listening, few_images
from helpers.settings import settings_of
from nc_runner.collapse import ClassStatistics, collapse_metrics, mse_decomposition
from nc_runner.config.schema import Config
from nc_runner.data.dataset import Dataset, load_dataset
from nc_runner.distributed.group import ALONE, Group
from nc_runner.distributed.process_group import joined
from nc_runner.errors import DataError
from nc_runner.training.run import build_trainer
from nc_runner.training.signals import StopSignals
from nc_runner.training.trainer import Trainer

ALL = ("analysis.metrics=all", "analysis.ood=digits", "analysis.layers=[relu,layer*.*]")
CASES = {
    "core": (),
    "all": ALL,
    "least_squares": ("classifier=least_squares", "analysis.layers=[relu]"),
    "fewer passes than ranks": (*ALL, "analysis.batch_size=1000000"),
    "uneven": (*ALL, "analysis.batch_size=97"),
    "recomputed": (*ALL, "analysis.batchnorm=recomputed", "batch_size=180"),  # 3 batches for 2 ranks
    "both": (*ALL, "analysis.batchnorm=both", "batch_size=600"),  # 1 batch for 2 ranks
    "refitted": ("classifier=least_squares", "analysis.batchnorm=recomputed", "analysis.layers=[relu]"),
    "robustness": ("analysis.robustness=7", "analysis.batch_size=2"),
}
CPU = torch.device("cpu")


class Smooth(nn.Module):
    """A network without batch norm, in float64: two ranks train it as one does, but for rounding."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(6 * (image_size // 2) ** 2, 16), nn.ReLU(), nn.Linear(16, num_classes),
        ).double()  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.double())


def row_of(config: Config, dataset: Dataset, group: Group) -> dict:
    """A row of a network with fixed weights and running statistics, and its layers' lines."""
    trainer = build_trainer(config, dataset, CPU, group)
    with torch.no_grad():
        trainer.network.model.train()(dataset.normalise(dataset.train.images[:200], channels_last=False))
    pauses = []
    measurement = trainer.measurer.measure(lambda: pauses.append(group.agree(1)), with_layers=True)
    return {**measurement.row, "layers": measurement.layers, "pauses": len(pauses)}


def measured(group: Group) -> dict:
    """By case: the row of both ranks, and that of one."""
    rows = {}
    for case, overrides in CASES.items():
        config = settings_of("data.samples_per_class=60", *overrides)
        dataset = load_dataset(config.data, seed=0, ood=config.analysis.ood)
        rows[case] = [row_of(config, dataset, part) for part in (group, ALONE)]
    return rows


def trained(group: Group) -> dict:
    """By loss: the rows of training on both ranks, and on one."""
    rows = {}
    for loss in ("mse", "ce"):
        config = settings_of(
            "net=custom", "net._target_=helpers.pair.Smooth", f"loss={loss}", "epochs=4", "batch_size=40",
            "data.samples_per_class=40", "analysis.metrics=all",
        )  # fmt: skip
        dataset = load_dataset(config.data, seed=0)
        rows[loss] = []
        for part in (group, ALONE):
            listener = Listening()
            trainer = build_trainer(config, dataset, CPU, part)
            trainer.distribute()
            trainer.run(listener)
            trainer.end_distribution()
            rows[loss].append(listener.rows)
    return rows


def merged(group: Group) -> float:
    """Largest relative error of merged statistics in deep collapse; no rank has seen all classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) // 10
    spread = 1e-6 * torch.randn(60, 9, generator=generator, dtype=torch.float64)
    features = torch.eye(6, 9, dtype=torch.float64)[labels] + spread
    mine = slice(0, 34) if group.rank == 0 else slice(34, 60)
    alone, part = ClassStatistics(6, 9), ClassStatistics(6, 9)
    alone.update(features, labels)
    part.update(features[mine], labels[mine])
    together = group.merge(part)
    weight = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    numbers = [
        {**collapse_metrics(stats, weight), **mse_decomposition(stats, weight, None, 1e-3)}
        for stats in (together, alone)
    ]
    return max(abs(numbers[0][key] / numbers[1][key] - 1) for key in numbers[1])


def exchanged(group: Group) -> dict:
    """What the plain collectives give this rank, of rows that name their rank and place."""
    rank = group.rank
    rows = torch.tensor([[rank, i] for i in range(3 + 2 * rank)])
    owners = torch.arange(len(rows)) % 2
    aligned = torch.full((2, 3), float(rank)).T
    group.align([aligned])
    return {
        "gather": group.gather(rows).tolist(),
        "nothing": group.gather(rows[: 2 * rank]).tolist(),
        "exchange": group.exchange(rows, owners).tolist(),
        "sum": group.sum(torch.tensor([1.5, rank])).tolist(),
        "mean": group.mean([2.0, float("nan")][rank], [4, 0][rank]),
        "align": aligned.tolist(),
        "agree": group.agree(rank, -rank, 5),
        "all_of": group.all_of({"rank": rank}),
        "broadcast": group.broadcast(f"from {rank}"),
        "on_first": group.on_first(lambda: f"by {rank}"),
        "failed on first": caught(lambda: group.on_first(lambda: fail(DataError("no file")))),
        "unforeseen on first": caught(lambda: group.on_first(lambda: fail(KeyError("key")))),
        "and on": group.sum(torch.tensor(1)).item(),
    }


def fail(error: Exception) -> None:
    raise error


def caught(action: object) -> list[str]:
    try:
        action()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def diverged(group: Group) -> list[str]:
    """What a trainer raises when the features of rank 1 alone are not finite."""
    dataset = few_images(count=32)
    if group.rank == 1:
        dataset = replace(dataset, mean=(float("nan"),), std=(0.5,))
    trainer: Trainer = build_trainer(
        settings_of("net=resnet8", "batch_size=4", "analysis.batch_size=4"), dataset, CPU, group
    )
    return caught(lambda: trainer._measure(1, Listening(), whole=True))


if __name__ == "__main__":
    with joined(120) as group, StopSignals():
        results = {
            "rows": measured(group), "trained": trained(group), "merged": merged(group),
            "exchanged": group.all_of(exchanged(group)), "diverged": group.all_of(diverged(group)),
        }  # fmt: skip
        results["equal"] = [repr(rows) == repr(results["rows"]) for rows in group.all_of(results["rows"])]
        if group.is_first:
            Path(sys.argv[1]).write_text(json.dumps(results))
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    if any("gloo" in name for name in names):
        sys.exit("threads of the group are left: at the end of Python one of them may abort the process")
