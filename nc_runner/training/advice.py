"""Errors of the disk and of GPU memory, in words that help."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nc_runner.errors import RunFolderError, TrainingError


@contextmanager
def disk_advice(folder: Path) -> Iterator[None]:
    """Errors of the file system, in words that help."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _disk_is_full(folder):
            raise  # torch reports a failed write as RuntimeError
        code = error.errno if isinstance(error, OSError) else errno.ENOSPC
        if code in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full: free some space, then give the same command again to go on"
        elif not folder.is_dir():
            advice = "the folder is gone: was it moved or deleted while the run went on?"
        else:
            advice = "make the folder writable, then give the same command again to go on"
        raise RunFolderError(
            f"cannot write to {folder}: {os.strerror(code or errno.EIO)}\n{advice}"
        ) from error


def _disk_is_full(folder: Path) -> bool:
    try:
        status = os.statvfs(folder)
    except OSError:
        return True
    return status.f_bavail * status.f_frsize < 2**20


@contextmanager
def memory_advice(settings: Mapping[str, Any]) -> Iterator[None]:
    """Out of GPU memory, in words that help."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        batch, analysed = settings["batch_size"], settings["analysis"]["batch_size"]
        raise TrainingError(
            f"out of GPU memory with batch_size={batch} and analysis.batch_size={analysed}\n"
            f"try batch_size={max(1, batch // 2)} or analysis.batch_size={max(1, analysed // 4)}"
        ) from error
