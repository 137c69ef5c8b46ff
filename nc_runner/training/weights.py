"""The weights of single epochs that a run keeps: ``keep_checkpoints``.

A file holds the network's state_dict alone, with its buffers, on the CPU. It is written and checked as a
checkpoint is: whole or not at all, with a SHA-256 that is verified when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nc_runner.errors import RunFolderError
from nc_runner.networks.saved import Unreadable
from nc_runner.runs.weights import kept_epochs, weights_file
from nc_runner.training.checkpoint import read_verified, write_verified

__all__ = ["kept_epochs", "load_weights", "save_weights"]


def save_weights(folder: Path, epoch: int, model: Mapping[str, Tensor]) -> None:
    """Write the state_dict ``model`` of an epoch into a run folder. Raises OSError where it cannot."""
    path = weights_file(folder, epoch)
    path.parent.mkdir(exist_ok=True)
    held = {
        name: value.detach().cpu() if isinstance(value, Tensor) else value for name, value in model.items()
    }
    write_verified(path, {"epoch": epoch, "model": held})


def load_weights(folder: str | os.PathLike[str], epoch: int) -> dict[str, Tensor]:
    """The network's state_dict after an epoch of a run that kept it, on the CPU.

    They are the weights that the epoch's row in ``metrics.csv`` was measured with.

    Raises RunFolderError: the run kept no weights of this epoch, or the file is damaged.
    """
    path = weights_file(folder, epoch)
    if not path.exists():
        kept = kept_epochs(folder)
        shown = ", ".join(map(str, kept[:12])) + (", ..." if len(kept) > 12 else "")
        advice = f"it has those of {shown}" if kept else "keep_checkpoints keeps them while a run trains"
        raise RunFolderError(f"{folder} has no weights of epoch {epoch}\n{advice}")
    try:
        content = read_verified(path)
        if content.get("epoch") != epoch:
            raise Unreadable(f"it holds epoch {content.get('epoch')}")
    except Unreadable as error:
        raise RunFolderError(
            f"{path} is damaged ({error})\nload another epoch, or train the run again with overwrite=true"
        ) from None
    model: dict[str, Tensor] = content["model"]
    return model
