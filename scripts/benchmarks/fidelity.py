"""Whether training in bf16 leads to the same collapse: its curves against the spread of seeds in fp32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Bench, Finding, Rows, settings_of
from nc_runner.errors import NCRunnerError
from nc_runner.training.run import prepare

SEEDS = (0, 1, 2)
METRICS = ("train_loss", "nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc3_self_duality")


def run(bench: Bench) -> Iterator[Finding]:
    digits, fashion = (15, 4) if bench.quick else (60, 15)
    yield from compare(bench, "digits", digits, "data=digits")
    small = ("data=fashionmnist", "data.samples_per_class=100", "data.download=false", "batch_size=50")
    try:
        yield from compare(bench, "FashionMNIST, 100 of each class", fashion, *small)
    except NCRunnerError as error:
        yield Finding("FashionMNIST", float("nan"), "x", note=f"left out: {str(error).splitlines()[0]}")


def compare(bench: Bench, name: str, epochs: int, *overrides: str) -> Iterator[Finding]:
    """How far the mean bf16 curve is from the mean fp32 curve, over the range of fp32's seeds.

    Both are means over the epochs of differences of log10: 1 is as far as the seeds are apart.
    """
    curves = {
        precision: np.stack([curves_of(bench, epochs, seed, precision, *overrides) for seed in SEEDS])
        for precision in ("fp32", "bf16")
    }  # (seeds, epochs, metrics)
    distance = np.abs(curves["bf16"].mean(axis=0) - curves["fp32"].mean(axis=0)).mean(axis=0)
    spread = np.ptp(curves["fp32"], axis=0).mean(axis=0)
    for metric, apart, seeds in zip(METRICS, distance, spread, strict=True):
        yield Finding(
            f"{name}, {epochs} epochs, {metric}: bf16 from fp32 / spread of {len(SEEDS)} seeds",
            float(apart / seeds), "x", at_most=1.0,
            note=f"a factor of {10**apart:.3f} against {10**seeds:.3f}",
        )  # fmt: skip


def curves_of(bench: Bench, epochs: int, seed: int, precision: str, *overrides: str) -> NDArray[np.float64]:
    """log10 of the metrics (epochs, metrics) of one run."""
    config = settings_of(
        "net=resnet8", f"epochs={epochs}", f"seed={seed}", f"precision={precision}",
        f"device={bench.device.type}", *overrides,
    )  # fmt: skip
    listener = Rows()
    prepare(config).run(listener)
    return np.log10([[row[metric] for metric in METRICS] for row in listener.rows])
