"""Errors of the file system and of GPU memory, with what to do about them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nc_runner.errors import RunFolderError, TrainingError


@contextmanager
def disk_advice(folder: Path) -> Iterator[None]:
    """Inside, an error of the file system becomes a RunFolderError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _disk_is_full(folder):
            raise  # torch reports a failed write as RuntimeError
        code = error.errno if isinstance(error, OSError) else errno.ENOSPC
        if code in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full: free some space, then give the same command again to resume"
        elif not folder.is_dir():
            advice = "the folder is gone: was it moved or deleted during the run?"
        else:
            advice = "make the folder writable, then give the same command again to resume"
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
def memory_advice(batch_size: int, analysis_batch_size: int) -> Iterator[None]:
    """Inside, running out of GPU memory becomes a TrainingError that says which setting to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of GPU memory with batch_size={batch_size} and analysis.batch_size={analysis_batch_size}\n"
            f"try batch_size={max(1, batch_size // 2)} or "
            f"analysis.batch_size={max(1, analysis_batch_size // 4)}"
        ) from error
