"""``deterministic=true``: the same seed twice gives the same bits on a GPU, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nc_runner.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS reads it when CUDA starts
FIXED_WORKSPACE = ":4096:8"  # with which cuBLAS repeats its bits, by NVIDIA's documentation


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Inside, if ``wanted``, torch takes deterministic algorithms alone; afterwards what it took before.

    Raises ConfigError for an operation that has none, or where CUDA already computes without them.
    """
    if not wanted:
        yield
        return
    _fix_workspace()
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it chooses among algorithms by their times
    try:
        yield
    except RuntimeError as error:
        operation, marked, _ = str(error).partition(" does not have a deterministic implementation")
        if not marked:
            raise
        raise ConfigError(
            f"deterministic=true: {operation.split()[-1]} has no deterministic implementation here\n"
            "give deterministic=false, or a network and loss without it"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark


def _fix_workspace() -> None:
    if os.environ.get(WORKSPACE) in (FIXED_WORKSPACE, ":16:8"):
        return
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise ConfigError(
            "deterministic=true: this process has used CUDA without it\n"
            f"give it to all runs of the sweep, or set {WORKSPACE}={FIXED_WORKSPACE} before the command"
        )
    os.environ[WORKSPACE] = FIXED_WORKSPACE
