"""With which precision, where and in which pieces a measurement computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Inside, float32 matrix products and convolutions on CUDA use TF32, or do not, whatever the default."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inside, everything is computed in the precision of its tensors: no autocast, no TF32.

    An autocast that the caller has entered is switched off for ``device`` and for the CPU.
    """
    with ExitStack() as contexts:
        contexts.enter_context(float32_products(tf32=False))
        for kind in {device.type, "cpu"}:
            if torch.amp.is_autocast_available(kind):
                contexts.enter_context(torch.autocast(kind, enabled=False))
        yield


def float64_device(device: torch.device) -> torch.device:
    """Where float64 numbers of this device are computed: there, or on the CPU for MPS, which has none."""
    return torch.device("cpu") if device.type == "mps" else device


def images_at_a_time(image_size: int, device: torch.device) -> int:
    """How many images of a measurement go through the network at once, at most.

    On a CPU few large ones: the maps of a layer then stay in the cache until the next layer reads them
    (docs/benchmarks.md). A GPU wants many.
    """
    return max(16, min(512, 2**16 // image_size**2)) if device.type == "cpu" else 2**30


def full(numbers: Tensor) -> Tensor:
    """Numbers in half precision as float32; others as they are."""
    return numbers.float() if numbers.dtype in HALVES else numbers


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite, and within the range of float32; waits for the device once."""
    if not tensor.numel():
        return True
    low, high = torch.stack(torch.aminmax(tensor)).tolist()  # NaN wherever one number is
    largest = torch.finfo(torch.float32).max
    return bool(-largest <= low and high <= largest)
