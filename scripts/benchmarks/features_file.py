"""A features file of 2 GiB: its statistics and its row beside one float64 product X^T X."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

P, C, BLOCK = 512, 10, 65_536


def run(bench: Bench) -> Iterator[Finding]:
    if bench.device.type != "cpu":
        return
    count = 131_072 if bench.quick else 1_048_576
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.npz")
        write(path, count)
        command = [sys.executable, __file__, str(path), str(bench.repeats), str(torch.get_num_threads())]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    times = found["times"]
    size = f"{count:,} x {P} float32 from an .npz file"
    yield Finding(
        f"{size}: one float64 product X^T X in memory / the statistics",
        ratio(times, "product", "statistics"), "x", at_least=0.8, seconds=medians(times),
    )  # fmt: skip
    yield Finding("  the same / the whole row of nc-measure", ratio(times, "product", "row"), "x")
    yield Finding(
        "  peak memory beyond the file's pages, GiB", found["anonymous"] / 2**30, "x", at_most=1.0
    )  # fmt: skip


def write(path: Path, count: int) -> None:
    """Features half-way to collapse, written block by block: an uncompressed .npz as numpy.savez makes it."""
    random = np.random.default_rng(0)
    means = 2 * random.standard_normal((C, P))
    labels = random.integers(0, C, count)
    weight = (means - means.mean(axis=0)).astype(np.float32)
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, P)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, count, BLOCK):
                part = labels[start : start + BLOCK]
                noisy = means[part] + random.standard_normal((len(part), P), dtype=np.float32)
                file.write(np.maximum(noisy, 0).astype("<f4").tobytes())
        for name, array in {"labels": labels, "weight": weight}.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)


class AnonymousMemory:
    """The largest anonymous memory of this process while it is entered, looked at every 10 ms."""

    def __enter__(self) -> AnonymousMemory:
        self.begin = self.peak = self._now()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def main(path: str, repeats: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    loss = losses.cross_entropy

    def statistics() -> None:
        train = features_file.read_features(Path(path), loss).train.samples
        ClassStatistics(C, P).update(train.features, train.labels)

    def row() -> None:
        measure_features(features_file.read_features(Path(path), loss), FeaturesPlan())

    memory = AnonymousMemory()
    with memory:
        row()
    features = features_file.read_features(Path(path), loss).train.samples.features
    exact = features[:BLOCK].double()
    parts = len(features) / BLOCK

    def product() -> None:
        for _ in range(int(parts)):
            exact.T @ exact

    bench = Bench(torch.device("cpu"))
    times = bench.alternate({"product": product, "statistics": statistics, "row": row}, int(repeats))
    print(json.dumps({"times": times, "anonymous": memory.peak - memory.begin}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Bench, Finding, medians, ratio  # noqa: E402  the path above comes first
from nc_runner.collapse import ClassStatistics  # noqa: E402
from nc_runner.measurement import features_file, losses  # noqa: E402
from nc_runner.measurement.features import FeaturesPlan, measure_features  # noqa: E402

if __name__ == "__main__":
    main(*sys.argv[1:])
