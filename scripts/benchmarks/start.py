"""How long commands take that compute nothing: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.common import Bench, Finding, settings_of
from nc_runner.config.schema import deciding_settings
from nc_runner.runs.record import COMPLETE, RunWriter, folder_name, rows_digest


def seconds(command: list[str], folder: Path, code: int = 0) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode != code:
        raise SystemExit(f"bench: {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return took


def run(bench: Bench) -> Iterator[Finding]:
    nc_run, nc_plot = ([sys.executable, "-m", f"nc_runner.commands.{name}"] for name in ("run", "plot"))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        tasks = {
            "nc-run --help": ([*nc_run, "--help"], 0, 0.7),
            "nc-run epoch=3: the error": ([*nc_run, "epoch=3"], 2, 1.0),
            "nc-plot --help": ([*nc_plot, "--help"], 0, None),
        }
        times: dict[str, list[float]] = {name: [] for name in tasks}
        for turn in range(1 + bench.repeats):
            for name, (command, code, _) in tasks.items():
                took = seconds(command, here, code)
                if turn:
                    times[name].append(took)
        for name, (_, _, limit) in tasks.items():
            yield Finding(name, median(times[name]), "s", at_most=limit)
        epochs = 100 if bench.quick else 350
        for number, (loss, net, data, seed) in enumerate(
            product(("mse", "ce"), ("resnet8", "vgg6", "densenet10"), ("digits", "fashionmnist"), range(3))
        ):
            if number < 30:
                write_run(here / "outputs", epochs, loss, net, data, seed)
        plots = [seconds([*nc_plot, "outputs"], here) for _ in range(1 if bench.quick else 5)]
        yield Finding(f"nc-plot, 30 runs of {epochs} rows, PNG and PDF", median(plots), "s", at_most=12)


def write_run(outputs: Path, epochs: int, loss: str, net: str, data: str, seed: int) -> None:
    """A finished run's folder with curves like those of a real run."""
    settings = settings_of(f"loss={loss}", f"net={net}", f"data={data}", f"seed={seed}", f"epochs={epochs}")
    folder = outputs / folder_name(settings, deciding_settings(settings))
    folder.mkdir(parents=True)
    writer = RunWriter(folder, num_classes=10)
    writer.start_rows()
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        fall = rng.uniform(0.8, 1.2, len(writer.columns)) * 10 ** (-2.5 * epoch / epochs)
        row = dict(zip(writer.columns, fall.tolist(), strict=True))
        row |= {
            "epoch": epoch,
            "lr": 0.1,
            "train_accuracy": min(1.0, 0.5 + epoch / epochs),
            "test_accuracy": 0.9,
        }
        row |= {f"snr_{j}": 10 * epoch**0.25 / j for j in range(1, 10)}
        writer.append(row)
    writer.update(
        state=COMPLETE, settings=settings, deciding=deciding_settings(settings), num_classes=10,
        train_images=1500, rows_digest=rows_digest(folder),
    )  # fmt: skip
