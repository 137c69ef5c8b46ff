"""Tables of features and outputs that come in batches: written once, where there is room for them."""

from __future__ import annotations

import math
import mmap
import tempfile
from typing import IO

import torch
from torch import Tensor

from nc_runner.data.streaming import free_memory
from nc_runner.errors import MeasurementError

SHARE_OF_FREE_MEMORY = 0.5  # what a table may take of a GPU's free memory; the passes need the rest


class Rows:
    """A table (N, P) that is filled batch by batch, in one piece of memory from the first batch on.

    It is on the rows' device, or in the host's memory where it would take more than half of a GPU's free one.
    What reads it, copies one block at a time to where it computes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._table: Tensor | None = None
        self._filled = 0

    def append(self, rows: Tensor) -> None:
        """Add rows (B, P); those beyond the N-th are left out."""
        if self._table is None:
            place = home(rows.device, self.count * rows[0].numel() * rows.element_size())
            self._table = torch.empty(self.count, *rows.shape[1:], dtype=rows.dtype, device=place)
        target = self._table[self._filled : self._filled + len(rows)]
        target.copy_(rows[: len(target)])
        self._filled += len(target)

    @property
    def table(self) -> Tensor:
        """The rows (N, P), all of them there."""
        if self._table is None or self._filled < self.count:
            raise ValueError(f"only {self._filled} of {self.count} rows have come")
        return self._table


def home(device: torch.device, size: int) -> torch.device:
    """Where a table of ``size`` bytes is held that is computed on ``device``: there, or on the CPU."""
    if device.type != "cuda":
        return device
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held for reuse
    return device if size <= SHARE_OF_FREE_MEMORY * free else torch.device("cpu")


class GrowingRows:
    """A table (N, P) that is filled batch by batch, where N is not known before.

    The rows stay on their device while there is room, then go to the host's memory, then to a temporary file
    without a name, which is gone when the table is. What reads it, copies one block at a time to where it
    computes.

    Args:
        memory: bytes that it may take of the host's memory; by default a quarter of what is free.
    """

    def __init__(self, memory: float | None = None) -> None:
        self.memory = free_memory() / 4 if memory is None else memory
        self.count = 0
        self._parts: list[Tensor] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def append(self, rows: Tensor) -> None:
        """Add rows (B, P). Raises MeasurementError where the temporary file finds no room."""
        self.count += len(rows)
        self._size += rows.numel() * rows.element_size()
        if rows.device.type == "cuda" and home(rows.device, 2 * self._size) != rows.device:
            self._parts = [part.cpu() for part in self._parts]
        if self._parts:
            rows = rows.to(self._parts[0].device)
        self._parts.append(rows.clone())  # the model may write into the memory of a batch again
        if rows.device.type != "cuda" and self._size > self.memory:
            self._write()

    @property
    def table(self) -> Tensor:
        """All rows (N, P), float32 or as they came; read them only."""
        if self._file is None:
            self._parts = [torch.cat(self._parts)] if len(self._parts) != 1 else self._parts
            return self._parts[0]
        self._write()
        shape = (self.count, *self._shape)
        numbers = math.prod(shape)
        if not numbers:
            return torch.empty(shape, dtype=self._dtype)
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        return torch.frombuffer(mapped, dtype=self._dtype, count=numbers).view(shape)

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="nc-runner-")  # noqa: SIM115  kept with the table
        try:
            for part in self._parts:
                self._shape, self._dtype = part.shape[1:], part.dtype
                self._file.write(part.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            self._file.flush()
        except OSError as error:
            raise MeasurementError(
                f"no room for the features in {tempfile.gettempdir()}: {error.strerror or error}\n"
                "set TMPDIR to a folder with more room"
            ) from None
        self._parts.clear()
