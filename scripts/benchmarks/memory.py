"""How much faster training on a CPU is because a run keeps the memory that it frees."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

SIZES = {"resnet8": (1024, 1, 28), "resnet18": (128, 3, 32)}  # images, channels, pixels


def run(bench: Bench) -> Iterator[Finding]:
    if bench.device.type != "cpu":
        return
    for net in ("resnet8",) if bench.quick else SIZES:
        command = [sys.executable, __file__, net, str(bench.repeats), str(torch.get_num_threads())]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        times = json.loads(done.stdout)
        yield Finding(
            f"an epoch of {net}: freed memory handed back / kept",
            ratio(times, "handed back", "kept"), "x", seconds=medians(times),
        )  # fmt: skip


def main(net: str, repeats: str, threads: str) -> None:
    """Time epochs in this process: first as glibc does by default, then with the setting, which is final."""
    torch.set_num_threads(int(threads))
    bench = Bench(torch.device("cpu"))
    trainer = trainer_of(bench, random_images(*SIZES[net]), f"net={net}", "lr=0.01")
    task = {"epoch": lambda: train_an_epoch(trainer)}
    times = {"handed back": bench.alternate(task, int(repeats))["epoch"]}
    keep_freed_memory()
    times["kept"] = bench.alternate(task, int(repeats))["epoch"]
    print(json.dumps(times))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import (  # noqa: E402  the path above comes first
    Bench,
    Finding,
    medians,
    random_images,
    ratio,
    train_an_epoch,
    trainer_of,
)
from nc_runner.training.devices import keep_freed_memory  # noqa: E402

if __name__ == "__main__":
    main(*sys.argv[1:])
