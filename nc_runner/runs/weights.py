"""The weights that a run kept of single epochs (``keep_checkpoints``): names of their files. No torch.

``nc_runner.training.weights`` writes and loads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

WEIGHTS_FOLDER = "weights"  # in a run folder


def weights_file(folder: str | os.PathLike[str], epoch: int) -> Path:
    """Such as ``weights/epoch-0012.pt``: four digits, or more from epoch 10,000 on."""
    return Path(folder) / WEIGHTS_FOLDER / f"epoch-{epoch:04d}.pt"


def kept_epochs(folder: str | os.PathLike[str]) -> list[int]:
    """The epochs whose weights a run folder has, in order; empty where it kept none."""
    files = (Path(folder) / WEIGHTS_FOLDER).glob("*")
    names = (re.fullmatch(r"epoch-(\d{4,})\.pt", path.name) for path in files)
    return sorted(int(name[1]) for name in names if name)


def drop_weights_after(folder: Path, epoch: int) -> None:
    """Remove the weights of later epochs, which a resumed run computes again, and what was cut short."""
    for later in kept_epochs(folder):
        if later > epoch:
            weights_file(folder, later).unlink()
    for temporary in (folder / WEIGHTS_FOLDER).glob("epoch-*.pt.tmp"):
        temporary.unlink()


def missing_weights(folder: Path, epochs: Iterable[int]) -> list[int]:
    """Those of ``epochs`` whose weights a run folder does not have, in order."""
    return sorted(set(epochs) - set(kept_epochs(folder)))


def missing_line(folder: Path, missing: Sequence[int]) -> str:
    """What to tell of a run that was trained without keeping these weights, in one line."""
    shown = ", ".join(map(str, missing[:6])) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    which = f"epoch{'s' * (len(missing) > 1)} {shown}"
    return (
        f"{folder} has no weights of {which}: keep_checkpoints keeps them only while a run trains; "
        "overwrite=true trains it again"
    )
