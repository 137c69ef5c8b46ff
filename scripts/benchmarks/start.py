"""How long the commands take to start, and to skip what is finished: each in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.common import Bench, Finding, Times, medians
from nc_runner.commands.hydra_app.compose import compose, session, sweep_jobs
from nc_runner.config.identity import folder_name, identity
from nc_runner.config.schema import Config
from nc_runner.runs.record import COMPLETE, RunWriter, rows_digest

NC_RUN, NC_PLOT = ([sys.executable, "-m", f"nc_runner.commands.{name}"] for name in ("run", "plot"))
SWEEP = (
    "experiment=paper_lr",
    "data=mnist,fashionmnist,svhn,cifar10,stl10",
    "net=vgg,resnet,densenet",
    "loss=mse,ce",
)  # times 25 learning rates
SMALL_SWEEP = ("experiment=paper_lr", "net=vgg,resnet,densenet")


def run(bench: Bench) -> Iterator[Finding]:
    yield from commands(bench)
    yield from one_epoch(bench)
    yield finished_sweep(bench)


def commands(bench: Bench) -> Iterator[Finding]:
    """What is printed without training."""
    tasks = {
        "nc-run --help": ([*NC_RUN, "--help"], 0, 0.3),
        "nc-run epoch=3: the error": ([*NC_RUN, "epoch=3"], 2, 1.0),
        "nc-plot --help": ([*NC_PLOT, "--help"], 0, None),
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(1 + bench.repeats):
            for name, (command, code, _) in tasks.items():
                took = seconds(command, Path(folder), code)
                if turn:
                    times[name].append(took)
    for name, (_, _, limit) in tasks.items():
        yield Finding(name, median(times[name]), "s", at_most=limit)


def one_epoch(bench: Bench) -> Iterator[Finding]:
    """The shortest run on digits, less ``import torch``; and less the first step of an optimizer of torch.

    The step is what any program that trains pays too: torch then imports its compiler, compiled or not.
    """
    where = [f"threads={torch.get_num_threads()}", f"device={bench.device.type}"]
    step = (
        "import torch; weight = torch.zeros(1, requires_grad=True); weight.grad = torch.ones(1); "
        "torch.optim.SGD([weight], lr=0.1).step()"
    )
    times: Times = {"import torch": [], "a step of torch": [], "nc-run epochs=1": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(1 + bench.repeats):
            commands = (
                [sys.executable, "-c", "import torch"],
                [sys.executable, "-c", step],
                [*NC_RUN, "epochs=1", f"hydra.run.dir=run{turn}", *where],
            )
            for name, command in zip(times, commands, strict=True):
                took = seconds(command, Path(folder))
                if turn:
                    times[name].append(took)
    whole = times["nc-run epochs=1"]
    for name, limit in (("import torch", 1.2), ("a step of torch", None)):
        yield Finding(
            f"nc-run epochs=1 on digits, less {name}",
            median(ours - other for ours, other in zip(whole, times[name], strict=True)), "s", at_most=limit,
            note=f"{median(whole):.2f} s less {median(times[name]):.2f} s", seconds=medians(times),
        )  # fmt: skip


def finished_sweep(bench: Bench) -> Finding:
    """The command of a sweep, given again when all its runs are finished: it composes, checks and skips."""
    overrides = SMALL_SWEEP if bench.quick else SWEEP
    with tempfile.TemporaryDirectory() as folder:
        with session() as app:
            jobs = sweep_jobs(app, compose(app, [*overrides, "hydra.mode=MULTIRUN"], sweep=True))
        for job in jobs:
            write_run(Path(folder, "outputs", folder_name(job.config)), job.config, rows=50)
        command = [*NC_RUN, "-m", *overrides]
        printed = f"{len(jobs)} runs: {len(jobs)} complete"
        times = [seconds(command, Path(folder), printed=printed) for _ in range(1 if bench.quick else 3)]
    limit = None if bench.quick else 20
    return Finding(f"nc-run -m, {len(jobs)} finished runs skipped", median(times), "s", at_most=limit)


def seconds(command: list[str], folder: Path, code: int = 0, printed: str = "") -> float:
    """Seconds of a command, which must end with ``code`` and print ``printed``."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode != code or printed not in done.stdout:
        shown = f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
        raise SystemExit(f"bench: {shown.strip()}")
    return took


def write_run(folder: Path, config: Config, rows: int) -> None:
    """A finished run's folder, with curves like those of a real run."""
    folder.mkdir(parents=True)
    writer = RunWriter(folder, num_classes=10)
    rng = np.random.default_rng(config.seed)
    lines = [",".join(writer.columns)]
    for epoch in range(1, rows + 1):
        fall = rng.uniform(0.8, 1.2, len(writer.columns)) * 10 ** (-2.5 * epoch / rows)
        row = dict(zip(writer.columns, fall.tolist(), strict=True))
        row |= {
            "epoch": epoch,
            "lr": 0.1,
            "train_accuracy": min(1.0, 0.5 + epoch / rows),
            "test_accuracy": 0.9,
        }
        row |= {f"snr_{j}": 10 * epoch**0.25 / j for j in range(1, 10)}
        lines.append(",".join(repr(row[column]) for column in writer.columns))
    writer.rows.start("\n".join(lines) + "\n")
    writer.update(
        state=COMPLETE, settings=config.model_dump(mode="json", by_alias=True), identity=identity(config),
        num_classes=10, train_images=1500, rows_digest=rows_digest(folder),
    )  # fmt: skip
