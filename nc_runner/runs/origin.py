"""Where the command of a run was given: the folders in which it looked for data and code. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nc_runner.runs.tables import read_whole

HYDRA_FILE = Path(".hydra", "hydra.yaml")  # in a run folder; written by Hydra
_LARGEST = 2**22  # bytes of it


@dataclass(frozen=True)
class Origin:
    """``start``: the folder in which nc-run was started, None where that is unknown or gone.

    ``search``: further folders in which it looked for custom modules, those of ``--config-dir`` among them.
    """

    start: Path | None = None
    search: tuple[Path, ...] = ()

    @property
    def folders(self) -> list[str]:
        """All of them."""
        return [str(folder) for folder in (self.start, *self.search) if folder is not None]


def origin_of(folder: Path) -> Origin:
    """The origin of the run in ``folder``, from Hydra's record there. Empty where there is none.

    Where the outputs were moved or copied together with the folder that they are in, that folder's new place
    is meant.
    """
    try:
        content = yaml.safe_load(read_whole(folder / HYDRA_FILE, _LARGEST))
        runtime: Any = content["hydra"]["runtime"]
        recorded, written = Path(runtime["cwd"]), Path(runtime["output_dir"])
        sources = [source for source in runtime["config_sources"] if source["schema"] == "file"]
        search = [Path(source["path"]) for source in sources]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return Origin()
    start = _moved(folder.resolve(), recorded, written)
    there = [_below(path, recorded, start) for path in search]
    return Origin(start if start.is_dir() else None, tuple(path for path in there if path.is_dir()))


def _moved(folder: Path, start: Path, written: Path) -> Path:
    """Where the folder ``start`` is now, if the run was written below it and is ``folder`` now."""
    if not written.is_relative_to(start):
        return start
    inner = written.relative_to(start).parts
    if inner and folder.parts[-len(inner) :] == inner:
        return Path(*folder.parts[: -len(inner)])
    return start


def _below(path: Path, old: Path, new: Path) -> Path:
    return new / path.relative_to(old) if path.is_relative_to(old) else path
