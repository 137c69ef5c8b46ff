"""Metrics of given features, without a network: against the notebook's loops, and the one product X^T X."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.apart import beside_note, notebook_ways
from benchmarks.common import Bench, Finding, medians, ratio, require_equal
from benchmarks.rivals import notebook_metrics, notebook_statistics
from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    mse_decomposition,
    mse_loss,
    ncc_mismatch,
    snr_spectrum,
)

P, C, BATCH = 512, 10, 128


def samples(count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (N, P) after a ReLU, labels, a classifier's weight, and its outputs: half-way to collapse."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randperm(count, generator=generator) % C
    means = 2 * torch.randn(C, P, generator=generator)
    features = (means[labels] + torch.randn(count, P, generator=generator)).relu()
    weight = means - means.mean(dim=0) + torch.randn(C, P, generator=generator)
    outputs = features @ weight.T / P
    return tuple(part.to(device) for part in (features, labels, weight, outputs))  # type: ignore[return-value]


def collapse_of(features: Tensor, labels: Tensor, weight: Tensor, outputs: Tensor) -> dict[str, float]:
    """NC1 to NC4."""
    stats = ClassStatistics(C, P)
    stats.update(features, labels)
    mismatch = ncc_mismatch(features, outputs.argmax(dim=1), stats.means)
    return collapse_metrics(stats, weight) | {"nc4_ncc_mismatch": mismatch}


def row_of(features: Tensor, labels: Tensor, weight: Tensor, outputs: Tensor) -> None:
    """All that a row of metrics.csv takes from the train features."""
    stats = ClassStatistics(C, P)
    stats.update(features, labels)
    ncc_mismatch(features, outputs.argmax(dim=1), stats.means)
    collapse_metrics(stats, weight)
    mse_decomposition(stats, weight, None, 1e-3)
    mse_loss(features, labels, weight, None, 1e-3)
    snr_spectrum(stats)


def notebook_way(count: int, device: torch.device) -> Callable[[], dict[str, float]]:
    features, labels, weight, outputs = samples(count, device)
    batches = [tuple(part.split(BATCH)) for part in (features, outputs, labels)]

    def notebook() -> dict[str, float]:
        loops = notebook_statistics(lambda: zip(*batches, strict=True), C, P, device)
        return notebook_metrics(*loops, weight)

    return notebook


def run(bench: Bench) -> Iterator[Finding]:
    small = 2048 if bench.quick else 8192
    given = samples(small, bench.device)
    ways = notebook_ways(bench.device, notebook_way, small, bench.device)
    ours, theirs = collapse_of(*given), ways["notebook"]()
    for name, value in theirs.items():
        require_equal(f"metrics: {name}", ours[name], value, rtol=1e-3)
    exact = given[0].double()
    tasks = {
        **ways,
        "nc-runner": lambda given=given: collapse_of(*given),
        "product": lambda exact=exact: exact.T @ exact,
    }
    times = bench.alternate(tasks)
    yield Finding(
        f"NC1 to NC4, N = {small}: the notebook's loops / nc-runner",
        ratio(times, "notebook", "nc-runner"), "x", at_least=30, seconds=medians(times),
        note=beside_note(times, "nc-runner")
        + f"over the one product X^T X alone: {ratio(times, 'notebook', 'product'):.3g}",
    )  # fmt: skip

    for count, target in ((small, 2.0), (10_000 if bench.quick else 60_000, 1.3)):
        given = samples(count, bench.device)
        exact = given[0].double()
        tasks = {
            "nc-runner": lambda given=given: collapse_of(*given),
            "whole row": lambda given=given: row_of(*given),
            "product": lambda exact=exact: exact.T @ exact,
        }
        times = bench.alternate(tasks, bench.repeats + 2)
        yield Finding(
            f"NC1 to NC4, N = {count}: nc-runner / one float64 product X^T X",
            ratio(times, "nc-runner", "product"), "x", at_most=target, seconds=medians(times),
        )  # fmt: skip
        yield Finding(
            f"  the same with MSE terms and SNR spectrum, N = {count}",
            ratio(times, "whole row", "product"),
            "x",
        )
