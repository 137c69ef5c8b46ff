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
from nc_runner.columns import TIME_COLUMNS
from nc_runner.runs.reader import read_run
from nc_runner.runs.record import RUN_FILE, read_run_file


def run(bench: Bench) -> Iterator[Finding]:
    epochs = 40 if bench.quick else 350
    with tempfile.TemporaryDirectory() as folder:
        where = [f"threads={torch.get_num_threads()}", f"device={bench.device.type}"]
        command = [sys.executable, "-m", "nc_runner", f"epochs={epochs}", "progress=plain", *where]
        subprocess.run(command, cwd=folder, env=os.environ, check=True, stdout=subprocess.DEVNULL)
        (record,) = Path(folder).rglob(RUN_FILE)
        run = read_run(record.parent)
        total = read_run_file(record.parent)["seconds"]
    training, analysis = (float(run.rows[column].sum()) for column in TIME_COLUMNS)
    rest = 1 - (training + analysis) / total
    seconds = {"whole": total, "training": training, "analysis": analysis}
    yield Finding(
        f"nc-run on digits, {epochs} epochs, each analysed: all but training",
        1 - training / total, "%", at_most=0.25, seconds=seconds,
        note=f"analysis {analysis / total:.1%}; rows, log, display and checkpoints {rest:.1%}",
    )  # fmt: skip
