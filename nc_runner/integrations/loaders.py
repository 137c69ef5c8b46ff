"""Reading a loader for a measurement: each sample once, and the batches of the training stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from nc_runner.errors import MeasurementError

BATCH_SIZE = 64  # where batches come from a sampler that tells no size


def in_order(batches: Iterable[object]) -> Iterable[object]:
    """Another loader of the same samples, in order, of which reading moves no state of the first one.

    A DataLoader's samples are read once each, the last incomplete batch and, of several processes, the shares
    of the others included. Those that a sampler of indices chooses are read as a copy of the sampler chooses
    them. An IterableDataset, and what is no DataLoader, is read as it is.

    Raises MeasurementError for an iterator, which can be read only once, and for a sampler that cannot be
    copied.
    """
    if isinstance(batches, Iterator):
        raise MeasurementError(
            f"a {type(batches).__name__} can be read only once\ngive a list of batches, or a DataLoader"
        )
    if not isinstance(batches, DataLoader):
        return batches
    alike: dict[str, Any] = {
        name: getattr(batches, name)
        for name in ("collate_fn", "num_workers", "pin_memory", "timeout", "worker_init_fn",
                     "multiprocessing_context", "prefetch_factor")
    }  # fmt: skip
    if isinstance(batches.dataset, IterableDataset):
        return DataLoader(batches.dataset, batch_size=batches.batch_size, **alike)
    if batches.batch_size is None and batches.batch_sampler is None:  # the data set's items are batches
        return DataLoader(
            batches.dataset, batch_size=None, sampler=_ordered(batches, batches.sampler), **alike
        )
    inner = _innermost(batches.batch_sampler)
    if not isinstance(inner, BatchSampler) and not hasattr(inner, "sampler"):
        return DataLoader(batches.dataset, batch_sampler=_copied(batches, inner), **alike)
    size = batches.batch_size or getattr(inner, "batch_size", None) or BATCH_SIZE
    return DataLoader(batches.dataset, batch_size=size, sampler=_ordered(batches, inner.sampler), **alike)


class First:
    """The first batches of a loader."""

    def __init__(self, batches: Iterable[object], count: int) -> None:
        self.batches = batches
        self.count = count

    def __iter__(self) -> Iterator[object]:
        return islice(self.batches, self.count)

    def __len__(self) -> int:
        return self.count


def _innermost(batch_sampler: Any) -> Any:
    """What is inside the wrappers that give each process its share."""
    while hasattr(batch_sampler, "batch_sampler"):
        batch_sampler = batch_sampler.batch_sampler
    return batch_sampler


def _ordered(loader: DataLoader[Any], sampler: Any) -> Any:
    """None for all samples in order; else a copy of the sampler, as one that chooses some of the samples."""
    sampler = getattr(getattr(sampler, "dataset", None), "_sampler", sampler)  # inside Lightning's wrapper
    if isinstance(sampler, RandomSampler):
        return None if sampler.num_samples == len(loader.dataset) else _copied(loader, sampler)  # type: ignore[arg-type]
    if isinstance(sampler, (SequentialSampler, DistributedSampler, WeightedRandomSampler)):
        return None
    return _copied(loader, sampler)


def _copied(loader: DataLoader[Any], sampler: Any) -> Any:
    """The samples stay where they are; a sampler may refer to them."""
    try:
        return copy.deepcopy(sampler, {id(loader.dataset): loader.dataset})
    except Exception as error:  # a sampler may hold anything
        raise MeasurementError(
            f"the loader's {type(sampler).__name__} cannot be copied ({error}), and reading it would change "
            "the training\ngive batches to measure on, such as a DataLoader without it"
        ) from error
