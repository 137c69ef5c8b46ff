"""A whole nc-run on digits, with a measurement after every epoch: what is not training."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.common import Bench, Finding
from nc_runner import runs


def run(bench: Bench) -> Iterator[Finding]:
    epochs = 40 if bench.quick else 350
    with tempfile.TemporaryDirectory() as folder:
        where = [f"threads={torch.get_num_threads()}", f"device={bench.device.type}"]
        command = [sys.executable, "-m", "nc_runner", f"epochs={epochs}", "progress=plain", *where]
        subprocess.run(command, cwd=folder, env=os.environ, check=True, stdout=subprocess.DEVNULL)
        (record,) = Path(folder).rglob(runs.RUN_FILE)
        run = runs.read_run(record.parent)
        total = runs.read_run_file(record.parent)["seconds"]
    training, analysis = (float(run.rows[column].sum()) for column in runs.TIME_COLUMNS)
    seconds = {"whole": total, "training": training, "analysis": analysis}
    yield Finding(
        f"nc-run on digits, {epochs} epochs, each analysed: all but training",
        1 - training / total, "%", at_most=0.25, seconds=seconds,
        note=f"analysis {analysis / total:.1%}; rows, log, display, checkpoints "
        f"{1 - (training + analysis) / total:.1%}",
    )  # fmt: skip
