"""Run by two ranks under torchrun: each updates the torchmetrics metric with its part of the samples.

Argument: a JSON file for what one process has and what each rank got, by case.
"""

import json
import sys
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from nc_runner.integrations.torchmetrics import NeuralCollapse

CLASSES, DIM, COUNT = 4, 6, 101


def main(out: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    layer, labels = nn.Linear(DIM, CLASSES), torch.arange(COUNT) % CLASSES
    features = 1e-4 * torch.randn(COUNT, DIM) + torch.randn(CLASSES, DIM)[labels]  # deep in collapse
    found = {}
    splits = {"even": 50, "uneven": 97, "a rank without samples": COUNT}
    for (case, first), keep in product(splits.items(), (False, True)):
        parts = [slice(0, first), slice(first, COUNT)]

        def metric(part: slice, keep: bool = keep, **options: object) -> NeuralCollapse:
            made = NeuralCollapse(
                CLASSES, DIM, layer, metrics="all", keep_features=keep, ridge=1e-3, **options
            )
            if len(labels[part]):
                made.update(features[part], labels[part])
            return made

        alone = numbers(metric(slice(0, COUNT), sync_on_compute=False))
        columns = [None, None]
        dist.all_gather_object(columns, numbers(metric(parts[rank])))
        found[f"{case}{', features kept' if keep else ''}"] = [alone, *columns]
    if rank == 0:
        out.write_text(json.dumps(found))
    dist.destroy_process_group()


def numbers(metric: NeuralCollapse) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
