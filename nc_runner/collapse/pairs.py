"""All pairs of classes in blocks: nothing of size C x C is held for many classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nc_runner.collapse.statistics import rows_at_a_time


def row_blocks(count: int) -> Iterator[slice]:
    """Blocks of the rows of a (count, count) table."""
    size = min(count, rows_at_a_time(count))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def pairs(table: Callable[[slice, slice], Tensor], count: int) -> Iterator[Tensor]:
    """The values of a symmetric (count, count) table for all pairs c < c', once each, in pieces.

    ``table(rows, columns)`` computes a part of it.
    """
    for rows in row_blocks(count):
        square = table(rows, rows)
        yield square[torch.ones_like(square, dtype=torch.bool).triu(1)]
        if rows.stop < count:
            yield table(rows, slice(rows.stop, count)).flatten()


def distances(rows: Tensor) -> Callable[[slice, slice], Tensor]:
    """The table of ‖x_c - x_c'‖ for the rows x_c: from differences, not from a Gram matrix, which cancels."""
    return lambda a, b: torch.cdist(rows[a], rows[b], compute_mode="donot_use_mm_for_euclid_dist")


class Moments:
    """Mean and population variance of values that come in pieces, combined as Chan et al. (1983) do."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, values: Tensor) -> None:
        if not values.numel():
            return
        mean, total = float(values.mean()), self.count + values.numel()
        self._squares += float((values - mean).square().sum())
        self._squares += (mean - self.mean) ** 2 * (self.count * values.numel() / total)
        self.mean += (mean - self.mean) * (values.numel() / total)
        self.count = total

    @property
    def variance(self) -> float:
        return self._squares / self.count if self.count else float("nan")
