"""Whether the numbers stayed: the rows of a seeded run on digits, here and at an earlier commit.

python scripts/bench.py rows --before COMMIT
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Bench, Finding
from nc_runner.columns import TIME_COLUMNS
from nc_runner.runs.record import METRICS_FILE

ROOT = Path(__file__).parents[2]


def run(bench: Bench) -> Iterator[Finding]:
    epochs = 3 if bench.quick else 20
    with tempfile.TemporaryDirectory() as folder:
        earlier, now = Path(folder, "before"), Path(folder, "now")
        for place, commit in ((earlier, bench.before), (now, None)):
            check_out(place, commit)
        before, after = (rows_of(place, bench, epochs) for place in (earlier, now))
    for name, value, limit in differences(before, after):
        yield Finding(f"{name}, {epochs} epochs: largest difference", value, "1", at_most=limit)


def check_out(place: Path, commit: str | None) -> None:
    """The package and its configs as a commit has them, or as they lie here, in a folder of their own."""
    place.mkdir()
    if commit is None:
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "nc_runner", "conf"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.split("\n")  # fmt: skip
        for name in filter(None, files):
            if (ROOT / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes((ROOT / name).read_bytes())
    else:
        packed = subprocess.run(
            ["git", "archive", commit, "nc_runner", "conf"], cwd=ROOT, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(place, filter="data")
    (place / "nc_runner" / "conf").symlink_to(Path("..", "conf"))


def rows_of(place: Path, bench: Bench, epochs: int) -> dict[str, np.ndarray]:
    """The columns of metrics.csv of nc-run's default run, all wider ones included."""
    command = [
        sys.executable, "-m", "nc_runner", f"epochs={epochs}", f"threads={torch.get_num_threads()}",
        "progress=none", "analysis.metrics=all", f"device={bench.device.type}",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(place)}
    subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
    (table,) = place.rglob(METRICS_FILE)
    header, *lines = table.read_text().splitlines()
    values = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    return dict(zip(header.split(","), values.T, strict=True))


def differences(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> Iterator[tuple[str, float, float | None]]:
    """Of every column that both have: the largest over all, and the worst columns by themselves."""
    shared = [name for name in before if name in after and name not in TIME_COLUMNS]
    worst = {}
    for name in shared:
        if name == "mse_residual":  # all rounding: compared with the loss that it is left of
            worst[name] = float(np.max(np.abs(after[name] - before[name]) / before["mse_total"]))
        else:
            scale = np.maximum(np.abs(before[name]), 1e-30)
            worst[name] = float(np.nanmax(np.abs(after[name] - before[name]) / scale))
    yield f"all {len(shared)} columns, relative", max(worst.values()), 1e-6
    for name in sorted(worst, key=worst.__getitem__)[-3:][::-1]:
        yield f"  {name}", worst[name], None
