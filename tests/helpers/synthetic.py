"""Run folders without training: plausible curves, written through the archive as nc-run writes them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nc_runner.columns import snr_columns
from nc_runner.runs.record import COMPLETE, RunWriter
from nc_runner.runs.sweeps import SweepArchive, new_name


def settings_of(
    net: str, data: str, loss: str, seed: int = 0, lr: float = 0.05, epochs: int = 350
) -> dict[str, Any]:
    """The part of a run's settings that its readers use."""
    return {
        "net": {"name": net},
        "data": {"name": data},
        "loss": {"name": loss},
        "seed": seed,
        "lr": lr,
        "epochs": epochs,
        "weight_decay": 5e-4,
        "analysis": {"schedule": "every", "ridge": "objective"},
    }


def synthetic_row(
    epoch: int, epochs: int, num_classes: int, loss: str, seed: int, lr: float
) -> dict[str, Any]:
    """A row as after ``epoch`` of ``epochs``: collapse goes as a power of the epoch, with a little wiggle."""
    t = 350.0 * epoch / epochs
    wiggle = 1.0 + 0.08 * math.sin(5e4 * math.sin(t + 7.0 * seed))
    speed = 0.8 if loss == "mse" else 0.6
    drop = 1.0 if t < 117 else 0.35 if t < 234 else 0.22  # the learning rate's two drops
    fade = drop * wiggle * t**-speed
    perp = 0.3 * (1.0 if loss == "mse" else 40.0) * drop * wiggle * t ** (-1.3 * speed)
    mse_nc1, mse_nc23 = 0.0025 + 0.2 * fade, 0.05 * drop * wiggle * t ** (-1.5 * speed)
    train_accuracy = min(
        1.0, 1.0 - 0.4 * wiggle * math.exp(-t / (22.0 if loss == "mse" else 12.0 + 2.0 * seed)) + 2e-4
    )
    row: dict[str, Any] = {
        "epoch": epoch,
        "lr": lr,
        "train_loss": 0.5 * fade + 1e-4,
        "train_loss_regularized": 0.5 * fade + 0.01,
        "train_accuracy": train_accuracy,
        "test_loss": 0.5 * fade + 0.05,
        "test_accuracy": (0.93 if loss == "mse" else 0.9) * train_accuracy + 0.01 * (1 - fade),
        "nc1": 6.0 * fade,
        "nc2_equinorm_means": 0.35 * fade**0.5,
        "nc2_equinorm_classifier": 0.30 * fade**0.4,
        "nc2_equiangular_means": 0.3 * fade**0.5,
        "nc2_equiangular_classifier": 0.26 * fade**0.4,
        "nc2_maxangle_means": 0.33 * fade**0.5,
        "nc2_maxangle_classifier": 0.28 * fade**0.4,
        "nc3_self_duality": 1.2 * fade**0.6,
        "nc4_ncc_mismatch": 0.2 * wiggle * math.exp(-t / 25.0),
        "test_nc4_ncc_mismatch": 0.2 * wiggle * math.exp(-t / 25.0) + 0.03,
        "mse_total": mse_nc1 + mse_nc23 + perp,
        "mse_ls": mse_nc1 + mse_nc23,
        "mse_nc1": mse_nc1,
        "mse_nc23": mse_nc23,
        "mse_perp": perp,
        "mse_residual": 1e-9,
        "ridge": num_classes * 5e-4 / 2,
        "train_seconds": 1.5,
        "analysis_seconds": 0.5,
        "perp_share": perp / (mse_nc1 + mse_nc23 + perp),
        "path_distance": perp**0.5,
    }
    for j, column in enumerate(snr_columns(num_classes)):
        row[column] = (1.0 + 4.0 * math.exp(-0.3 * j - t / 150.0)) * t**0.25 / drop**0.3
    return row


def add_initial_row(folder: Path, **change: float) -> Path:
    """Give a run the row of epoch 0, the network at initialisation: that of epoch 1 with these changes."""
    path = folder / "metrics.csv"
    header, first, *rest = path.read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    row |= {"epoch": "0", "lr": "nan", "train_seconds": "0.0"} | {k: repr(v) for k, v in change.items()}
    path.write_text("\n".join([header, ",".join(row.values()), first, *rest]) + "\n")
    return folder


def layer_rows(epoch: int, layers: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of layers.csv after ``epoch``: the deeper and the later, the more collapsed."""
    return [
        {
            "epoch": epoch,
            "layer": layer,
            "depth": depth,
            "features": 16 * depth,
            "nc1": 10.0 / epoch ** (0.2 * depth),
            "nc2_equinorm_means": 0.5 / epoch ** (0.1 * depth),
            "nc2_equiangular_means": 0.4 / epoch ** (0.1 * depth),
            "nc2_maxangle_means": 0.45 / epoch ** (0.1 * depth),
            "ncc_accuracy": 1.0 - 0.5 / (depth * epoch**0.5),
            "test_ncc_accuracy": 0.9 - 0.5 / (depth * epoch**0.5),
        }
        for depth, layer in enumerate(layers, start=1)
    ]


def write_run(
    root: Path,
    net: str = "resnet8",
    data: str = "digits",
    loss: str = "mse",
    *,
    seed: int = 0,
    lr: float = 0.05,
    epochs: int = 350,
    rows: int | None = None,
    state: str = COMPLETE,
    num_classes: int = 10,
    change: dict[str, Any] | None = None,
    wider: tuple[str, ...] = (),
    layers: Sequence[str] = (),
) -> Path:
    """Write a run folder below ``root`` and return it. ``rows``: how far it got (default: to the end).

    ``change`` replaces columns in every row: by a number, or by a function of the epoch; ``wider`` adds
    columns, whose values must be among the changes. ``layers``: the inner layers measured too.
    """
    settings = settings_of(net, data, loss, seed, lr, epochs)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    folder = root / f"{loss}-{net}-{data}" / f"lr{lr:.6g}-seed{seed}-{digest}"
    folder.mkdir(parents=True)
    writer = RunWriter(folder, num_classes, wider)
    lines = [",".join(writer.columns)]
    for epoch in range(1, (epochs if rows is None else rows) + 1):
        row = synthetic_row(epoch, epochs, num_classes, loss, seed, lr)
        for column, value in (change or {}).items():
            row[column] = value(epoch) if callable(value) else value
        lines.append(",".join(repr(row[column]) for column in writer.columns))
    writer.rows.start("\n".join(lines) + "\n")
    if layers:
        writer.layers.start()
        for epoch in range(1, (epochs if rows is None else rows) + 1):
            writer.layers.append(*layer_rows(epoch, layers))
    writer.update(state=state, settings=settings, num_classes=num_classes)
    return folder


@contextmanager
def sweep(root: Path, *folders: Path, epochs: int = 20, anew: bool = False) -> Iterator[None]:
    """A sweep below ``root`` that plans ``folders``, alive as long as the context."""
    archive = SweepArchive(root, new_name())
    with archive.alive():
        archive.plan(dict.fromkeys(folders, epochs), anew)
        yield
