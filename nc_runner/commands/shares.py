"""What a run may use of a machine: its cores, its threads, its GPU. Imports no torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nc_runner.config.cores import usable_cores
from nc_runner.config.schema import Config
from nc_runner.runs.locks import hold_until_exit
from nc_runner.runs.sweeps import SweepArchive

VISIBLE = "CUDA_VISIBLE_DEVICES"
# How often GNU OpenMP's threads look for more work before they sleep. By its own choice, 300,000 times, the
# threads of two processes that share cores keep each other from working; below 3,000 one alone is slower.
SPIN, SPIN_COUNT = "GOMP_SPINCOUNT", "3000"


def gpus() -> list[str]:
    """Names of the GPUs of this machine, as CUDA_VISIBLE_DEVICES takes them, without asking torch."""
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    try:
        return [str(i) for i in range(len(list(Path("/proc/driver/nvidia/gpus").iterdir())))]
    except OSError:
        pass
    if not (command := shutil.which("nvidia-smi")):
        return []
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(ln for ln in listed.splitlines() if ln.startswith("GPU "))]


def runs_at_a_time(jobs: int | None) -> int:
    """How many runs go on at a time on one machine: ``launcher.jobs``; else one for each GPU, or core."""
    return jobs or len(gpus()) or usable_cores()


def cpus_of_run(cpus: int | None, jobs: int | None) -> int:
    """CPU cores, and threads, of each run: ``launcher.cpus``; else the cores over the runs at a time."""
    return cpus or max(1, usable_cores() // runs_at_a_time(jobs))


def gpus_of_ray_run(gpus_of_run: int | None) -> int:
    """GPUs that Ray is asked for: ``launcher.gpus``; else one where there are any."""
    return min(1, len(gpus())) if gpus_of_run is None else gpus_of_run


def with_threads(config: Config) -> Config:
    """The settings with this process's threads; OpenMP hears of them through the environment.

    ``threads`` where it is set; else, under a launcher, the run's share of the cores. Libraries read these
    variables when they are loaded, so this comes before torch is imported.
    """
    launcher = config.launcher
    threads = config.threads
    if threads is None and launcher.name != "basic":
        threads = cpus_of_run(launcher.cpus, launcher.jobs)
    if "torch" not in sys.modules:
        if threads is not None:
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                os.environ[name] = str(threads)
        if not {"OMP_WAIT_POLICY", SPIN} & os.environ.keys():
            os.environ[SPIN] = SPIN_COUNT
    return config.model_copy(update={"threads": threads})


def take_gpu(sweep: SweepArchive, jobs: int) -> None:
    """Show this process one GPU of those at hand, dealt out in turn to ``jobs`` processes, until it ends.

    A process keeps its GPU for all runs that it gets, so that at no time one GPU has two runs more than
    another. File locks decide which turn is free; the system frees them when their process ends.
    """
    names = gpus()
    if len(names) < 2 or "torch" in sys.modules:
        return
    for turn in range(jobs):
        if hold_until_exit(sweep.turn_lock(turn)):
            os.environ[VISIBLE] = names[turn % len(names)]
            return
