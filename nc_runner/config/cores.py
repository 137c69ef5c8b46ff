"""The CPU cores that this process may use. Imports no torch."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Slurm's share where there is one, else the cores that the system lets this process run on."""
    if given := os.environ.get("SLURM_CPUS_PER_TASK", "").strip():
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
