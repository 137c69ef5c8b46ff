"""``nc-run`` in a process of its own, as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

FAST = ("epochs=2", "threads=1", "progress=plain")
WHOLE = (
    "epochs=12",
    "threads=1",
    "progress=plain",
    "checkpoint_seconds=0",
)  # to be stopped within


def nc_run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "nc_runner", *arguments],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def start(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "nc_runner", *arguments],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def only_run(folder):
    (record,) = Path(folder).rglob("run.json")
    return record.parent
