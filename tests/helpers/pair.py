"""Run by two processes under torchrun: what they measure together, beside what process 0 measures alone.

Process 0 writes it as JSON to the path in the first argument; tests/experiment/test_distributed.py judges.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from helpers.lab import settings_of
from nc_runner.collapse import ClassStatistics, collapse_metrics, mse_decomposition
from nc_runner.data.dataset import load_dataset
from nc_runner.distributed.group import ALONE, Processes, parallel
from nc_runner.distributed.sync_batchnorm import synchronise
from nc_runner.measurement.layers import find_layers
from nc_runner.measurement.measurer import measure
from nc_runner.networks import build_network
from nc_runner.training.losses import mse
from nc_runner.training.trainer import seed_everything

ALL = ("analysis.metrics=all", "analysis.ood=digits", "analysis.layers=[relu,layer*.*]")


def row_of(settings, dataset, processes):
    """A row of a network with fixed weights and running statistics, and its layers' lines."""
    seed_everything(0)
    network = build_network(
        settings["net"], num_classes=dataset.num_classes, in_channels=dataset.in_channels,
        image_size=dataset.image_size,
    )  # fmt: skip
    with torch.no_grad():
        network.model.train()(dataset.normalise(dataset.train.images[:200], channels_last=False))
    black = torch.zeros(2, *dataset.train.images.shape[1:])
    refitted = settings["classifier"] == "least_squares"
    layers = find_layers(network, settings["analysis"]["layers"], black, refitted=refitted)
    pauses = []
    row = measure(
        network, dataset, mse, settings, lambda: pauses.append(processes.agree(1)), layers, processes
    )
    return {**row, "layers": layers.rows(dataset, 1, processes), "pauses": len(pauses)}


def measured(processes):
    """By case: the row of all processes, and that of one."""
    cases = {
        "core": (),
        "all": ALL,
        "least_squares": ("classifier=least_squares", "analysis.layers=[relu]"),
        "fewer passes than processes": (*ALL, "analysis.batch_size=1000000"),
        "uneven": (*ALL, "analysis.batch_size=97"),
    }
    rows = {}
    for case, overrides in cases.items():
        settings = settings_of("data.samples_per_class=60", *overrides)
        dataset = load_dataset(settings["data"], seed=0, ood=settings["analysis"]["ood"])
        together = Processes(processes.rank, processes.size, settings["analysis"]["batch_size"])
        rows[case] = [row_of(settings, dataset, part) for part in (together, ALONE)]
    return rows


def merged(processes):
    """Largest relative error of merged statistics in deep collapse; no process has seen all classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) // 10
    spread = 1e-6 * torch.randn(60, 9, generator=generator, dtype=torch.float64)
    features = torch.eye(6, 9, dtype=torch.float64)[labels] + spread
    mine = slice(0, 34) if processes.rank == 0 else slice(34, 60)
    alone, part = ClassStatistics(6, 9), ClassStatistics(6, 9)
    alone.update(features, labels)
    part.update(features[mine], labels[mine])
    together = processes.merge(part)
    weight = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    numbers = [
        {**collapse_metrics(stats, weight), **mse_decomposition(stats, weight, None, 1e-3)}
        for stats in (together, alone)
    ]
    return max(abs(numbers[0][key] / numbers[1][key] - 1) for key in numbers[1])


def gradients(processes):
    """Largest relative error of a synchronised network's step in float64, against the batch as a whole."""

    def network():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 5, 3, bias=False), nn.BatchNorm2d(5, momentum=None), nn.ReLU(), nn.Flatten(),
            nn.Linear(5 * 36, 7, bias=False), nn.BatchNorm1d(7, affine=False), nn.Linear(7, 3),
        ).double()  # fmt: skip

    images, targets = torch.randn(12, 1, 8, 8).double(), torch.randn(12, 3).double()
    dist.broadcast(images, src=0), dist.broadcast(targets, src=0)
    whole, parts = network(), synchronise(network(), torch.device("cpu"))
    wrapped = parallel(parts, images[:2], torch.device("cpu"), own=True)
    errors = []
    for _ in range(2):
        for model in (whole, parts):
            model.zero_grad()
        nn.functional.mse_loss(whole(images), targets).backward()
        mine = slice(6 * processes.rank, 6 * processes.rank + 6)
        nn.functional.mse_loss(wrapped(images[mine]), targets[mine]).backward()
        pairs = [(p.grad, q.grad) for p, q in zip(parts.parameters(), whole.parameters(), strict=True)]
        pairs += list(zip(parts.buffers(), whole.buffers(), strict=True))
        errors += [float((p - q).double().norm() / q.double().norm()) for p, q in pairs]
    names = list(parts.state_dict()) == list(whole.state_dict())
    return {"error": max(errors), "names": names}


if __name__ == "__main__":
    dist.init_process_group("gloo", timeout=timedelta(minutes=2))
    processes = Processes(dist.get_rank(), dist.get_world_size())
    rows = measured(processes)
    result = {"rows": rows, "merged": merged(processes), "gradients": gradients(processes)}
    result["equal"] = [repr(row) == repr(rows) for row in processes.all_of(rows)]
    if processes.rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(result))
    dist.destroy_process_group()
