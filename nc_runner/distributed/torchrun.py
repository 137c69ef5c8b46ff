"""What torchrun tells each of its processes, and what a process tells torchrun. Imports no torch."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nc_runner.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """A process among those of one command: ``rank`` of ``world_size``, and its place on its own host."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def place() -> Place:
    """This process's place; alone, unless torchrun or a launcher that sets the same variables started it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return Place()
    try:
        rank, world_size, local_rank = (int(os.environ[name]) for name in names)
        return Place(rank, world_size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", world_size)))
    except ValueError:
        return Place()


def report(message: str) -> None:
    """Have torchrun's own summary of failed processes show ``message`` for this one."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        details = {"py_callstack": message, "timestamp": str(int(time.time()))}
        content = {"message": {"message": message, "extraInfo": details}}
        with suppress(OSError):
            Path(path).write_text(json.dumps(content))


def check_settings(batch_size: int, device: str) -> None:
    """Raise ConfigError for settings that several ranks cannot share."""
    size = place().world_size
    if size == 1:
        return
    if rest := batch_size % size:
        near = " or ".join(f"batch_size={n}" for n in (batch_size - rest, batch_size + size - rest) if n)
        raise ConfigError(
            f"batch_size={batch_size} is the batch of all ranks together, and cannot be split among {size}\n"
            f"try {near}, or another number of processes"
        )
    if device == "mps" or ":" in device:
        raise ConfigError(
            f"device={device} is one device, and torchrun started {size} processes\n"
            "use device=cuda: each process then takes the GPU of its own number"
        )


def check_launcher(target: str) -> None:
    """Raise ConfigError for a sweep with another launcher than Hydra's own, which runs one job at a time."""
    if place().world_size > 1 and not target.endswith(".BasicLauncher"):
        raise ConfigError(
            "a sweep under torchrun runs one job after the other, each on all ranks\n"
            "leave out launcher=, or leave out torchrun"
        )
