"""Tables of features and outputs that come in batches: written once, where there is room for them."""

from __future__ import annotations

import torch
from torch import Tensor

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
