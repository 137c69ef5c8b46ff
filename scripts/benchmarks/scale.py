"""Growth over samples, features and classes: time and peak memory against the order that is expected."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks.common import Bench, Finding
from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    mse_decomposition,
    ncc_mismatch,
    snr_spectrum,
)
from nc_runner.training.devices import keep_freed_memory

DEPARTS = 1.5  # growth beyond the expected order by more than this is flagged
MIB = 2**20

Size = tuple[int, int, int]  # N, P, C


def statistics_order(N: int, P: int, C: int) -> float:
    """N P^2 for the scatter, and a few passes over the features."""
    return N * P**2 + 60 * N * P


def nearest_order(N: int, P: int, C: int) -> float:
    """N P C for the distances, and a few passes over features and distances."""
    return N * P * C + 20 * N * (P + C)


def numbers_order(N: int, P: int, C: int) -> float:
    """P^3 for the factors of the covariance, C P^2 to use them, C^2 P and C^3 for pairs of classes."""
    return P**3 + 6 * C * P**2 + 6 * C**2 * P + 6 * C**3


ORDERS = {"statistics": statistics_order, "nearest means": nearest_order, "metrics": numbers_order}


def sizes(bench: Bench) -> dict[str, list[Size]]:
    """The points along each axis; the first of an axis is what the others are compared with."""
    if bench.quick:
        return {
            "N": [(8192, 128, 10), (32_768, 128, 10), (131_072, 128, 10)],
            "P": [(8192, 128, 10), (8192, 256, 10), (8192, 512, 10)],
            "C": [(16_384, 256, 10), (16_384, 256, 100)],
        }
    return {
        "N": [(16_384, 512, 10), (65_536, 512, 10), (262_144, 512, 10), (1_048_576, 512, 10)],
        "P": [(16_384, 512, 10), (16_384, 1024, 10), (16_384, 2048, 10), (16_384, 4096, 10)],
        "C": [(65_536, 512, 10), (65_536, 512, 100), (65_536, 512, 1000)],
    }


def run(bench: Bench) -> Iterator[Finding]:
    measured: dict[Size, tuple[dict[str, float], float]] = {}
    for axis, points in sizes(bench).items():
        for point in points:
            if needed_memory(*point) > 0.7 * free_memory(bench):
                yield Finding(
                    f"{axis}: {named(point)}", math.nan, "x", note="left out: too little free memory"
                )
                continue
            if point not in measured:
                measured[point] = in_own_process(bench, point)
            yield compare(axis, point, points[0], measured)


def compare(
    axis: str, point: Size, first: Size, measured: dict[Size, tuple[dict[str, float], float]]
) -> Finding:
    """The worst growth of a step, and that of memory, beyond its order, from the first point of this axis."""
    times, peak = measured[point]
    growth = {
        name: (times[name] / measured[first][0][name]) / (order(*point) / order(*first))
        for name, order in ORDERS.items()
    }
    worst = max(growth, key=growth.__getitem__)
    of_memory = peak / needed_memory(*point)
    of_memory_first = measured[first][1] / needed_memory(*first)
    beyond = [worst] if growth[worst] > DEPARTS else []
    if of_memory > DEPARTS * of_memory_first:
        beyond.append("memory")
    departs = f"  DEPARTS: {' and '.join(beyond)}" if beyond else ""
    spent = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in times.items())
    return Finding(
        f"{axis}: {named(point)}: time over the expected order",
        growth[worst],
        "x",
        seconds=times,
        note=f"{spent}; peak {peak / MIB:.0f} MiB, {of_memory:.2f} of the expected{departs}",
    )


def named(point: Size) -> str:
    return "N = {:,}, P = {}, C = {}".format(*point)


def needed_memory(N: int, P: int, C: int) -> float:
    """Bytes: the features in float32, the statistics and a few copies of them in float64, blocks of rows."""
    return 4 * N * P + 8 * (6 * P**2 + 8 * C * P + 6 * C**2) + 24 * N + 16 * MIB


def in_own_process(bench: Bench, point: Size) -> tuple[dict[str, float], float]:
    """``measure`` in a new process: memory kept from earlier points would hide the peak of the next."""
    start_anew = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, start_anew) as pool:
        return pool.submit(measure, bench, torch.get_num_threads(), *point).result()


def measure(bench: Bench, threads: int, N: int, P: int, C: int) -> tuple[dict[str, float], float]:
    """Median seconds of each step, and the peak of memory above what was held before, in bytes."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as nc-run does
    torch.linalg.eigvalsh(torch.eye(2, device=bench.device))  # loads libraries, which are not counted
    reset_peak(bench)
    before = peak_memory(bench)
    features, labels, weight = samples(bench, N, P, C)
    stats = ClassStatistics(C, P)
    stats.update(features, labels)  # once before, as for all timings
    predicted = labels

    def statistics() -> None:
        ClassStatistics(C, P).update(features, labels)

    def nearest() -> None:
        ncc_mismatch(features, predicted, stats.means)

    def metrics() -> None:
        collapse_metrics(stats, weight)
        mse_decomposition(stats, weight, None, 1e-3)
        snr_spectrum(stats)

    steps: dict[str, Callable[[], None]] = {
        "statistics": statistics,
        "nearest means": nearest,
        "metrics": metrics,
    }
    times = {}
    for name, step in steps.items():
        rounds = bench.alternate({name: step}, 1 if N * P**2 > 2e11 else bench.repeats)
        times[name] = median(rounds[name])
    return times, peak_memory(bench) - before


def samples(bench: Bench, N: int, P: int, C: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % C
    means = torch.randn(C, P, generator=generator)
    features = torch.empty(N, P)
    for start in range(0, N, 8192):
        stop = min(start + 8192, N)
        noise = torch.randn(stop - start, P, generator=generator)
        features[start:stop] = means[labels[start:stop]] + noise
    return tuple(part.to(bench.device) for part in (features, labels, means))  # type: ignore[return-value]


def free_memory(bench: Bench) -> float:
    if bench.device.type == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def reset_peak(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak to what is held now


def peak_memory(bench: Bench) -> float:
    """The largest size of this process's memory since the reset, in bytes; of the GPU's where it computes."""
    if bench.device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    return 1024.0 * int(status.split("VmHWM:")[1].split()[0])
