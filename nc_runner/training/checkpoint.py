"""Checkpoints: written whole or not at all, read without running code, invalid when a bit has changed."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from nc_runner.errors import RunFolderError
from nc_runner.networks.saved import Unreadable, load_saved
from nc_runner.runs.record import CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE

FORMAT = 1


class RandomState(TypedDict, total=False):
    """Of every generator that training may draw from; ``cuda`` where there are GPUs."""

    torch: Tensor
    python: list[Any]
    numpy: list[Any]
    cuda: list[Tensor]


class TrainerState(TypedDict):
    """All that the rest of a training depends on."""

    model: dict[str, Tensor]
    optimizer: dict[str, object]
    epoch: int
    step: int
    epoch_start: Tensor
    random: RandomState
    random_of_processes: list[RandomState]  # of each rank, where there are several
    history: list[dict[str, int]]
    train_seconds: float


class Checkpoint(TrainerState):
    """With what the run folder must hold; ``layer_rows``: None where no inner layers are measured."""

    data_fingerprint: str
    rows: str
    layer_rows: str | None


def save_checkpoint(folder: Path, state: Mapping[str, object]) -> None:
    """Write ``checkpoint.pt``; the one before is kept as ``checkpoint.previous.pt``.

    At every moment at least one of the two is whole.
    ``state`` holds tensors, numbers, strings, lists and dicts only.
    """
    write_verified(folder / CHECKPOINT_FILE, state, previous=folder / PREVIOUS_CHECKPOINT_FILE)


def write_verified(path: Path, content: Mapping[str, object], previous: Path | None = None) -> None:
    """Write ``content`` with its digest, whole or not at all: temporary file, fsync, rename.

    ``previous``: what a file of before is renamed to. Raises OSError or RuntimeError where it cannot.
    """
    temporary = path.with_name(path.name + ".tmp")
    content = {**content, "format": FORMAT}
    try:
        with temporary.open("wb") as file:
            torch.save({**content, "digest": _digest(content)}, file)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
    except (OSError, RuntimeError):
        temporary.unlink(missing_ok=True)
        raise


def read_verified(path: Path) -> dict[str, Any]:
    """What :func:`write_verified` wrote, on the CPU.

    Raises Unreadable where the file is damaged, RunFolderError where a newer nc-runner wrote it.
    """
    try:
        content = _load(path)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can fail in any way inside torch's reader
        raise Unreadable(type(error).__name__) from error
    if content["format"] > FORMAT:
        raise RunFolderError(f"{path} was made by a newer nc-runner\nupgrade this one to read it")
    return content


def load_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint (None where the folder has none), and what was wrong with a newer one.

    Raises RunFolderError when there are checkpoints but none is whole, or one is of a newer nc-runner.
    """
    problems: list[str] = []
    for name in (CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE):
        path = folder / name
        if not path.exists():
            continue
        try:
            return cast(Checkpoint, read_verified(path)), problems
        except Unreadable as error:
            problems.append(f"{path} is damaged ({error})")
    if problems:
        raise RunFolderError(
            f"{problems[0]}\nno checkpoint of this run is whole: start it anew with overwrite=true"
        )
    return None, []


def drop_previous(folder: Path) -> None:
    """Remove the checkpoint before the last: a finished run needs one only."""
    (folder / PREVIOUS_CHECKPOINT_FILE).unlink(missing_ok=True)


def random_state() -> RandomState:
    """The state of every random generator that training may draw from."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state: RandomState = {
        "torch": torch.get_rng_state(),
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: RandomState) -> None:
    """Undo :func:`random_state`. A CUDA state is left out where the number of GPUs has changed."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def _load(path: Path) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = load_saved(path)
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise Unreadable("not an nc-runner checkpoint")
    digest = state.pop("digest", None)
    if state["format"] <= FORMAT and digest != _digest(state):
        raise Unreadable("its content does not match its checksum")
    return state


def _digest(content: object) -> str:
    """SHA-256 over a nest of dicts, lists, tensors and plain values."""
    sha = hashlib.sha256()

    def add(node: object) -> None:
        if isinstance(node, Tensor):
            sha.update(f"tensor {node.dtype} {tuple(node.shape)}".encode())
            sha.update(node.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(node, Mapping):
            sha.update(f"dict {len(node)}".encode())
            for key, value in node.items():
                sha.update(repr(key).encode())
                add(value)
        elif isinstance(node, (list, tuple)):
            sha.update(f"list {len(node)}".encode())
            for value in node:
                add(value)
        else:
            sha.update(repr(node).encode())

    add(content)
    return sha.hexdigest()
