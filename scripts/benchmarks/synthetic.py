"""Run folders as a sweep leaves them, without its training: a real run's record, curves with all digits.

    python scripts/benchmarks/synthetic.py FOLDER [OVERRIDE ...] [--rows N] [--seeds N]

writes the finished runs of a sweep into FOLDER: by default the paper's, 750 runs of 350 rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import nc_runner.commands.hydra_app.resolvers  # noqa: F401  registers ${nc_...} for the configuration
from nc_runner.columns import TIME_COLUMNS, metric_columns, snr_columns
from nc_runner.commands.hydra_app.compose import compose, session, sweep_jobs
from nc_runner.config.identity import folder_name, identity
from nc_runner.config.schema import Config
from nc_runner.runs.record import COMPLETE, DIVERGED, METRICS_FILE, RUN_FILE

PAPER = (
    "experiment=paper_lr",
    "analysis.schedule=every",
    "data=mnist,fashionmnist,svhn,cifar10,stl10",
    "net=vgg,resnet,densenet",
    "loss=mse,ce",
)  # times 25 learning rates
CLASSES, TRAIN_IMAGES, TEST_IMAGES = 10, 60_000, 10_000
DIVERGES_FROM = 0.2  # with cross-entropy and a learning rate from here on, a run diverges after a third

Columns: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


def sweep_configs(overrides: Sequence[str]) -> list[Config]:
    """The settings of all runs that ``nc-run -m OVERRIDES`` would make."""
    with session() as app:
        jobs = sweep_jobs(app, compose(app, [*overrides, "hydra.mode=MULTIRUN"], sweep=True))
    return [job.config for job in jobs]


def with_seeds(configs: Iterable[Config], seeds: int) -> list[Config]:
    """The same settings with each of the seeds 0, 1, ..."""
    return [config.model_copy(update={"seed": seed}) for config in configs for seed in range(seeds)]


def write_sweep(outputs: Path, configs: Sequence[Config], rows: int) -> None:
    """A folder for each of ``configs`` below ``outputs``, with a row for each of ``rows`` epochs."""
    record = _real_record()
    for number, config in enumerate(configs):
        folder = outputs / folder_name(config)
        folder.mkdir(parents=True)
        diverges = config.loss.name == "ce" and config.lr >= DIVERGES_FROM
        lines = list(_lines(_curves(config, number, rows)))
        kept = lines[: 1 + rows // 3] if diverges else lines
        (folder / METRICS_FILE).write_text("\n".join(kept) + "\n")
        content = record | {
            "state": DIVERGED if diverges else COMPLETE,
            "settings": config.model_dump(mode="json", by_alias=True) | {"epochs": rows},
            "identity": identity(config) | {"epochs": rows},
            "reason": "the loss is not finite" if diverges else None,
        }
        (folder / RUN_FILE).write_text(json.dumps(content, indent=2, default=str) + "\n")


def _real_record() -> dict[str, Any]:
    """``run.json`` of a run that is trained for it: one epoch on digits."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nc_runner.commands.run", "epochs=1", "hydra.run.dir=run"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        record: dict[str, Any] = json.loads(Path(folder, "run", RUN_FILE).read_text())
    return record


def _curves(config: Config, number: int, rows: int) -> Columns:
    """Measures that fall as powers of the epoch, with noise; accuracies that are shares of the images."""
    random = np.random.default_rng(number)
    names = metric_columns(CLASSES)
    epoch = np.arange(1, rows + 1)
    time = 350.0 * epoch / rows
    drop = np.where(time < 117, 1.0, np.where(time < 234, 0.1, 0.01))  # the learning rate's
    speed = 0.3 + 0.15 * (4 + np.log10(max(config.lr, 1e-4)))
    fall = np.sqrt(drop) * time**-speed
    size = random.uniform(0.1, 2.0, len(names))
    noisy = size * fall[:, None] * random.lognormal(0.0, 0.05, (rows, len(names)))
    columns: Columns = dict(zip(names, noisy.T, strict=True))
    wrong = 0.5 * np.exp(-time * speed / 20) * random.lognormal(0.0, 0.2, rows)
    train, test = np.clip(1 - wrong, 0.1, 1), np.clip(0.93 - 0.1 / speed - wrong, 0.1, 1)
    columns |= {
        "epoch": epoch,
        "lr": config.lr * drop,
        "train_accuracy": np.round(TRAIN_IMAGES * train) / TRAIN_IMAGES,
        "test_accuracy": np.round(TEST_IMAGES * test) / TEST_IMAGES,
        "mse_residual": random.normal(0.0, 1e-16, rows),
        "ridge": np.full(rows, 0.0025),
    }
    for place, name in enumerate(snr_columns(CLASSES)):
        columns[name] = (5 - 0.4 * place) * time**0.25 * random.lognormal(0.0, 0.02, rows)
    for name in TIME_COLUMNS:
        columns[name] = random.lognormal(2.0, 0.1, rows)
    return columns


def _lines(columns: Columns) -> Iterator[str]:
    """The lines of ``metrics.csv``, as nc-run writes them."""
    yield ",".join(columns)
    for row in zip(*(values.tolist() for values in columns.values()), strict=True):
        yield ",".join(map(repr, row))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", default=list(PAPER))
    parser.add_argument("--rows", type=int, default=350, metavar="N", help="epochs (default: 350)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="of each setting (default: 1)")
    arguments = parser.parse_args()
    configs = with_seeds(sweep_configs(arguments.overrides), arguments.seeds)
    write_sweep(arguments.folder, configs, arguments.rows)
    print(f"{len(configs)} runs of {arguments.rows} rows are in {arguments.folder}")


if __name__ == "__main__":
    main()
