"""What the trackers of a run know of it, and the file ``trackers.json`` in its folder. Imports no torch.

The file makes a run that resumes stay one run in every tracker, and says what each was told last::

    {"key": "28f8f1e1-5b0c7d9a", "group": null, "mlflow": ["b3..."], "told": {"wandb offline": "interrupted"}}
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nc_runner.config.validation import shown
from nc_runner.runs.groups import Cell, flat, plain
from nc_runner.runs.record import COMPLETE, SWEEPS_FOLDER, last_rows, read_run_file
from nc_runner.runs.settings import passive_settings
from nc_runner.runs.sweeps import SweepArchive
from nc_runner.runs.tables import read_whole, write_atomically

TRACKERS_FILE = "trackers.json"
_LARGEST = 2**20  # bytes of it, which has a few hundred


@dataclass(frozen=True)
class Memory:
    """What ``trackers.json`` holds.

    ``key``: the run's own id, whose first part is the end of its folder's name; a new run in the same folder
    (``overwrite=true``) has another one. ``group``: the sweep in which the run was first tracked. ``mlflow``:
    ids of the run in MLflow's stores, newest first. ``told``: the state that each place was told last.
    """

    key: str
    group: str | None = None
    mlflow: tuple[str, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        content = json.dumps(asdict(self), indent=1) + "\n"
        write_atomically(folder / TRACKERS_FILE, content.encode())


def read_memory(folder: Path) -> Memory | None:
    """The memory of a run folder; None where there is none, or none that can be read."""
    try:
        content = json.loads(read_whole(folder / TRACKERS_FILE, _LARGEST))
        group = content["group"]
        return Memory(
            key=str(content["key"]),
            group=None if group is None else str(group),
            mlflow=tuple(map(str, content["mlflow"])),
            told={str(place): str(state) for place, state in content["told"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def untold(folder: Path, places: Iterable[str]) -> list[str]:
    """The places that were not told that the run is complete."""
    memory = read_memory(folder)
    return [place for place in places if memory is None or memory.told.get(place) != COMPLETE]


class TrackedRun:
    """One run as trackers see it: its name, settings and rows, and what is remembered of it.

    Args:
        folder: of the run, which has its record and the rows so far.

    Raises:
        RunFolderError: the record cannot be read.
        OSError: the memory cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.record = read_run_file(folder)
        self.name = "/".join(self.folder.parts[-2:])
        passive = passive_settings()  # they cannot change a number
        recorded = flat(self.record.get("settings", {}))
        self.settings = {key: plain(value) for key, value in recorded if key not in passive}
        memory = read_memory(folder)
        if memory is None:
            digest = re.sub(r"\W", "", self.folder.name.rpartition("-")[2], flags=re.ASCII)[:8]  # W&B's rule
            memory = Memory(f"{digest}-{secrets.token_hex(4)}".lstrip("-"), self._group())
            memory.write(self.folder)
        self.memory = memory

    def remember(self, **changes: Any) -> None:
        """Change the memory, and write it."""
        self.memory = replace(self.memory, **changes)
        self.memory.write(self.folder)

    def tell(self, place: str, state: str) -> None:
        """Remember what a place was told."""
        self.remember(told={**self.memory.told, place: state})

    def rows(self) -> list[dict[str, float]]:
        """All rows so far."""
        return last_rows(self.folder, sys.maxsize)

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that identify the run, by dotted key."""
        return dict(self.record.get("identity", {}))

    @property
    def facts(self) -> dict[str, Cell]:
        """What else tells the run: of its network, data, device and versions."""
        names = ("num_classes", "train_images", "test_images", "features", "parameters", "device_name")
        versions = {f"version.{name}": str(text) for name, text in self.record.get("versions", {}).items()}
        return {**{name: self.record.get(name) for name in names}, **versions}

    @staticmethod
    def table(entries: Mapping[str, Any]) -> str:
        """Settings as a table in Markdown."""
        lines = [f"| {key} | {shown(value)} |" for key, value in entries.items()]
        return "\n".join(["| setting | value |", "|---|---|", *lines])

    def _group(self) -> str | None:
        """The sweep that the run belongs to, by the time at which it began; None for a single run.

        A sweep that has a run in common with one that was tracked continues that one's group.
        """
        sweep = self.record.get("settings", {}).get("sweep")
        if sweep is None:
            return None
        for root in self.folder.parents:
            if (root / SWEEPS_FOLDER / f"{sweep}.json").exists():
                memories = (read_memory(folder) for folder in SweepArchive(root, sweep).planned())
                groups = (memory.group for memory in memories if memory is not None)
                earlier = next(filter(None, groups), None)
                if earlier is not None:
                    return earlier
        nanoseconds = str(sweep).partition("-")[0]
        if not nanoseconds.isdigit():
            return f"sweep {sweep}"
        return f"sweep {datetime.fromtimestamp(int(nanoseconds) / 1e9):%Y-%m-%d %H:%M:%S}"


def ending(folder: Path) -> tuple[str, str | None]:
    """State and reason, as the record has them. Raises RunFolderError."""
    record = read_run_file(folder)
    reason = record.get("reason")
    return str(record["state"]), None if reason is None else str(reason)
