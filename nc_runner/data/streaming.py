"""A split that is not resident: a DataLoader brings its images to the device batch by batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from nc_runner.config.cores import usable_cores
from nc_runner.data.sources import ImageSource
from nc_runner.errors import NCRunnerError

Images = NDArray[np.uint8] | ImageSource  # (N, H, W, C); an array may be a memory map

SHARE_OF_MEMORY = 0.5  # a data set that takes more of what is free is streamed
BLOCK = 256  # images at a time, where all are read once


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """As :class:`nc_runner.data.dataset.Split`, the same images in the same order, but not resident.

    ``rows`` (M,) says which of the ``images`` the split holds; ``labels`` (M,) are on the device.
    ``workers`` processes fetch, decode and pad ahead; with 0 the training process does it.
    """

    images: Images
    rows: NDArray[np.int64]
    labels: Tensor
    pad: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(M, C, H, W), padding included."""
        _, height, width, channels = self.images.shape
        return len(self.rows), channels, height + 2 * self.pad, width + 2 * self.pad

    @property
    def device(self) -> torch.device:
        return self.labels.device

    def to(self, device: torch.device | str) -> StreamedSplit:
        return replace(self, labels=self.labels.to(device))

    def part(self, rows: slice | Tensor) -> StreamedSplit:
        """Some of the images: neighbours, or those of the indices (M,)."""
        chosen = rows if isinstance(rows, slice) else rows.cpu().numpy()
        return replace(self, rows=self.rows[chosen], labels=self.labels[rows])

    def batches(self, indices: Tensor | Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each row of ``indices`` (steps, B), or each of several: images (B, C, H, W) uint8 and labels
        (B,) on the device."""
        positions: list[list[int]] = [index.tolist() for index in indices]
        for index, images in zip(indices, self._load(positions), strict=True):
            yield images, self.labels[index]

    def blocks(self, size: int) -> Iterator[Tensor]:
        """All images in order, ``size`` at a time, on the device."""
        positions = range(len(self))
        yield from self._load([positions[start : start + size] for start in range(0, len(self), size)])

    def _load(self, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        pinned = self.device.type == "cuda"
        loader: DataLoader[Any] = DataLoader(
            _Fetcher(self),  # type: ignore[arg-type]  # torch's type is Dataset; any class with [] works
            sampler=batches,  # each "sample" is a whole batch
            batch_size=None,
            num_workers=min(self.workers, len(batches)),
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_parent,
            generator=torch.Generator(),  # else it would draw from the generator that decides the weights
        )
        for images in loader:
            if isinstance(images, NCRunnerError):
                raise images
            yield images.to(self.device, non_blocking=pinned)


class _Fetcher:
    """The data set that the loader's workers see: batches of images by their positions in the split."""

    def __init__(self, split: StreamedSplit) -> None:
        self.images, self.rows, self.pad, self.shape = split.images, split.rows, split.pad, split.shape

    def __getitem__(self, positions: Sequence[int]) -> Tensor | NCRunnerError:
        """An error is handed over, not raised: the loader would wrap it in a traceback of its worker."""
        pad, (_, channels, height, width) = self.pad, self.shape
        batch = np.zeros((len(positions), channels, height, width), dtype=np.uint8)
        inside = batch[:, :, pad : height - pad, pad : width - pad]
        rows = self.rows[np.asarray(positions)]
        try:
            if isinstance(self.images, ImageSource):
                for image, row in zip(inside, rows, strict=True):
                    image[:] = self.images[int(row)].transpose(2, 0, 1)
            else:
                inside[:] = self.images[rows].transpose(0, 3, 1, 2)
        except NCRunnerError as error:
            return error
        return torch.from_numpy(batch)


def _leave_signals_to_parent(worker: int) -> None:
    """A worker that inherits the run's handlers would note a signal and never end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def worker_count(workers: int | None, images: Images) -> int:
    """``data.workers``; by default none for arrays, which are quick to index, and up to 4 for files."""
    if workers is not None:
        return workers
    return min(4, usable_cores()) if isinstance(images, ImageSource) else 0


def fits(resident: bool | Literal["auto"], size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes of images are to be resident on the device, as ``data.resident`` says.

    ``auto``: they are, where they take at most half of what is free, in the machine's memory (they are
    gathered there first) and in the GPU's.
    """
    if resident != "auto":
        return resident
    free = free_memory()
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0])
    return size <= SHARE_OF_MEMORY * free


def free_memory() -> float:
    """Bytes of main memory that can be taken without swapping; half of all where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def channel_moments(split: StreamedSplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (population) of each channel, of pixels scaled to [0, 1], in one pass.

    Exact: the pixels of each of the 256 levels are counted first.
    """
    counts = np.zeros((split.shape[1], 256), dtype=np.int64)
    for images in split.blocks(BLOCK):
        for channel, row in enumerate(counts):
            row += np.bincount(images[:, channel].numpy().ravel(), minlength=256)
    levels, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, np.newaxis]) ** 2).sum(axis=1)
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
