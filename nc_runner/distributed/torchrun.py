"""What torchrun tells each of its processes, and what a run on several refuses. Imports no torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nc_runner.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """A process among those of one command: ``rank`` of ``size`` in all, and of those on its own host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def place() -> Place:
    """This process's place; alone, unless torchrun or a launcher that sets the same variables started it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return Place()
    try:
        rank, size, local_rank = (int(os.environ[name]) for name in names)
        return Place(rank, size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    except ValueError:
        return Place()


def report(message: str) -> None:
    """Let torchrun's own report on failed processes say why: it shows what stands in this file."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        details = {"py_callstack": message, "timestamp": str(int(time.time()))}
        content = {"message": {"message": message, "extraInfo": details}}
        with suppress(OSError):
            Path(path).write_text(json.dumps(content))


def check(settings: Mapping[str, Any]) -> None:
    """Refuse what several processes cannot share. Raises ConfigError."""
    size = place().size
    if size == 1:
        return
    if rest := settings["batch_size"] % size:
        below, above = settings["batch_size"] - rest, settings["batch_size"] + size - rest
        near = " or ".join(f"batch_size={number}" for number in (below, above) if number)
        raise ConfigError(
            f"batch_size={settings['batch_size']} is the batch of all processes together, and cannot be "
            f"divided among {size}\ntry {near}, or another number of processes"
        )
    if settings["device"] == "mps" or ":" in settings["device"]:
        raise ConfigError(
            f"device={settings['device']} is one device, and torchrun started {size} processes\n"
            "use device=cuda: each process then takes the GPU of its own number"
        )


def check_launcher(target: str) -> None:
    """Refuse a sweep by another launcher than Hydra's own, which runs one job after the other."""
    if place().size > 1 and not target.endswith(".BasicLauncher"):
        raise ConfigError(
            "a sweep under torchrun runs one job after the other, each on all processes\n"
            "leave out hydra/launcher, or leave out torchrun"
        )
