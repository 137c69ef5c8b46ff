"""Where a run computes, and with which precision."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from nc_runner.distributed.torchrun import Place
from nc_runner.errors import ConfigError


def choose_device(name: str, place: Place) -> torch.device:
    """The device that ``device=name`` means for the process at ``place``.

    ``auto`` is CUDA if there, else MPS, else the CPU. Of several ranks each has a GPU of its own, or all
    compute on the CPU. Raises ConfigError for a device that is not there.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: torch sees no CUDA GPU here\nuse device=auto or device=cpu")
    if place.world_size > 1:
        return _device_of_rank(name, place)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= (gpus := torch.cuda.device_count()):
        raise ConfigError(f"device={name}: this machine has {gpus} GPU(s)\ncount them from cuda:0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: torch sees no Apple GPU here\nuse device=auto or device=cpu")
    return device


def _device_of_rank(name: str, place: Place) -> torch.device:
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if place.local_rank >= (gpus := torch.cuda.device_count()):
        raise ConfigError(
            f"torchrun started {place.local_world_size} processes on a host with {gpus} GPU(s)\n"
            f"give --nproc-per-node={gpus} or fewer, or device=cpu"
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


def set_threads(threads: int | None, device: torch.device, local_world_size: int) -> None:
    """Set torch's CPU threads, if they are given.

    If not, the ranks on one host's CPU share torch's own choice, unless OMP_NUM_THREADS says what each may
    have; torchrun sets it to 1 where nobody did.
    """
    shared = local_world_size > 1 and device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ
    if threads is None and shared:
        threads = max(1, torch.get_num_threads() // local_world_size)
    if threads is not None:
        torch.set_num_threads(threads)


def device_name(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def keep_freed_memory() -> None:
    """From here on this process keeps the memory that it frees, for the next tensors, as long as it lives.

    glibc hands large freed blocks back to the kernel, which clears every page when it is asked for it again:
    of a training step on the CPU that can be a tenth. Without glibc nothing happens.
    """
    with suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(-4, 0)  # malloc.h: M_MMAP_MAX; no block is a mapping of its own, given up when it is freed
        set_option(-1, -1)  # M_TRIM_THRESHOLD; nor does the heap shrink


def training_autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of a training step; off unless ``precision`` is bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
