"""Where a run computes, and with which precision."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from nc_runner.distributed.torchrun import place
from nc_runner.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA if there, else MPS, else the CPU. Raises ConfigError for a device not there.

    Of several processes each has a GPU of its own, or all compute on the CPU.
    """
    if place().size > 1:
        return _own_device(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: torch sees no CUDA GPU here\nuse device=auto or device=cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device={name}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: torch sees no Apple GPU here\nuse device=auto or device=cpu")
    return device


def _own_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: torch sees no CUDA GPU here\nuse device=auto or device=cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    here, gpus = place(), torch.cuda.device_count()
    if here.local_rank >= gpus:
        raise ConfigError(
            f"torchrun started {here.local_size} processes on a host with {gpus} GPU{'s' * (gpus != 1)}\n"
            f"give --nproc-per-node={gpus} or fewer, or device=cpu"
        )
    torch.cuda.set_device(here.local_rank)
    return torch.device("cuda", here.local_rank)


def set_threads(threads: int | None, device: torch.device) -> None:
    """Set torch's CPU threads, if they are given. If not, processes on one host's CPU share torch's own
    choice, unless OMP_NUM_THREADS says what each may have; torchrun sets it to 1 where nobody did."""
    processes = place().local_size
    if threads is None and processes > 1 and device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, torch.get_num_threads() // processes)
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


def float64_device(device: torch.device) -> torch.device:
    """Where float64 numbers of this device are computed: there, or on the CPU for MPS, which has none."""
    return torch.device("cpu") if device.type == "mps" else device


def images_at_a_time(image_size: int, device: torch.device) -> int:
    """How many images of a measurement go through the network at once, at most.

    On a CPU few large ones: the maps of a layer then stay in the cache until the next layer reads them
    (docs/benchmarks.md). A GPU wants many.
    """
    return max(16, min(512, 2**16 // image_size**2)) if device.type == "cpu" else 2**30


def keep_freed_memory() -> None:
    """From here on this process keeps the memory that it frees, for the next tensors, as long as it lives.

    glibc hands large freed blocks back to the kernel, which clears every page when it is asked for it again:
    of a training step on the CPU that can be a tenth. Without glibc nothing happens.
    """
    with suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(-4, 0)  # malloc.h: M_MMAP_MAX; no block is a mapping of its own, given up when it is freed
        set_option(-1, -1)  # M_TRIM_THRESHOLD; nor does the heap shrink


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Inside, float32 matrix products and convolutions on CUDA use TF32, or do not, whatever the default."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def training_autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of a training step; off unless ``precision`` is bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
