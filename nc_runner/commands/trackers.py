"""The trackers that the settings ask for: during a run, and for one that is complete already. No torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.config.identity import folder_name
from nc_runner.config.schema import Config
from nc_runner.errors import RunFolderError
from nc_runner.runs.tracked import TrackedRun, untold
from nc_runner.training.progress import show

if TYPE_CHECKING:
    from nc_runner.trackers.base import Opener, Tracker, Trackers
    from nc_runner.training.recorder import TrackerFactory

_SECONDS = 300  # that drawing the figures of one run may take; other ranks wait for it


def trackers_of(config: Config, label: str = "") -> Sequence[TrackerFactory]:
    """What opens the trackers of a run, all as one: called with the run's folder when its record is there."""
    places = _places(config)
    return (lambda folder: _open(folder, places, config, label),) if places else ()


def is_told(folder: Path, config: Config) -> bool:
    """Whether all trackers that the settings ask for know that the run is complete."""
    places = _places(config)
    return not places or not untold(folder, places)


def catch_up(folder: Path, config: Config, label: str = "") -> None:
    """Give a complete run to the trackers that do not know it as complete. The caller holds its lock."""
    places = _places(config)
    missing = untold(folder, places) if places else []
    if missing:
        _open(folder, {place: places[place] for place in missing}, config, label).close()


def _open(folder: Path, places: Mapping[str, str], config: Config, label: str) -> Trackers:
    from nc_runner.trackers.base import Trackers

    openers = {place: _opener(name, config) for place, name in places.items()}
    return Trackers(folder, openers, _draw, lambda line: show(f"{label} {line}".lstrip()))


def _places(config: Config) -> dict[str, str]:
    """The name of each tracker, by the place where it tells of runs: as ``trackers.json`` remembers it."""
    if not config.trackers:  # as most runs: nothing is imported, and nothing read
        return {}
    from nc_runner.trackers import mlflow, wandb

    places = {
        "tensorboard": "tensorboard",
        "wandb": f"wandb {wandb.mode()}",
        "mlflow": mlflow.place(),
    }
    return {places[name]: name for name in config.trackers if places[name] != "wandb disabled"}


def _opener(name: str, config: Config) -> Opener:
    openers: dict[str, Callable[[TrackedRun], Tracker]] = {
        "tensorboard": _tensorboard,
        "wandb": _wandb,
        "mlflow": lambda run: _mlflow(run, _outputs(run.folder, config)),
    }
    return openers[name]


def _tensorboard(run: TrackedRun) -> Tracker:
    from nc_runner.trackers.tensorboard import TensorBoard

    return TensorBoard(run)


def _wandb(run: TrackedRun) -> Tracker:
    from nc_runner.trackers.wandb import WandB

    return WandB(run)


def _mlflow(run: TrackedRun, outputs: Path) -> Tracker:
    from nc_runner.trackers.mlflow import MLflow

    return MLflow(run, outputs)


def _outputs(folder: Path, config: Config) -> Path:
    """The outputs folder: what is above ``CELL/RUN``, or the folder in which one of another name is."""
    name = Path(folder_name(config)).parts
    return folder.parents[1] if folder.parts[-2:] == name else folder.parent


def _draw(folder: Path, pictures: Path) -> list[Path]:
    """Draw what nc-plot draws for one run, as PNG, in a process of its own. Raises RunFolderError."""
    command = [sys.executable, "-m", "nc_runner.commands.plot", str(folder)]
    command += ["--out", str(pictures), "--format", "png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise RunFolderError(f"nc-plot ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return sorted(pictures.glob("*.png"))
