"""The processes that compute one run together: who does which part, and how the parts become one again.

Process 0 leads: it alone reads and writes files, and speaks. All hold the whole data set and the same
weights; of each training step, and of each pass of a measurement, every process takes its part. What is
combined here is what one process would have computed: counts and sums exactly, means but for rounding.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nc_runner.collapse import ClassStatistics
from nc_runner.data.dataset import AnySplit
from nc_runner.errors import DataError, NCRunnerError, TrainingError


@dataclass(frozen=True)
class Processes:
    """``size`` processes, of which this is number ``rank``; alone, nothing is exchanged.

    ``batch`` is the number of images in a forward pass of a measurement. Splits are divided between whole
    passes: each image then meets the same neighbours as in one process, and its features have the same bits.
    All processes must call the same methods in the same order.
    """

    rank: int = 0
    size: int = 1
    batch: int = 1

    def slices(self, batches: Tensor) -> Tensor:
        """This process's part (steps, B / size) of the batches (steps, B) of an epoch."""
        steps, images = batches.shape
        return batches.view(steps, self.size, images // self.size)[:, self.rank]

    def passes(self, images: int) -> int:
        """The most forward passes that one process makes over so many images."""
        return -(-images // (self.batch * self.size))

    def part(self, split: AnySplit) -> AnySplit:
        """This process's images of a split: neighbours, none where there are fewer passes than processes."""
        if self.size == 1:
            return split
        rows = self.passes(len(split)) * self.batch
        return split.part(slice(self.rank * rows, (self.rank + 1) * rows))

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """The ``count`` rows of a whole split from each process's ``rows`` of its part, in order."""
        if self.size == 1:
            return rows
        most = self.passes(count) * self.batch
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat(parts)[:count]

    def by_class(self, features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, int]:
        """Exchange samples, so that each process has all of its own classes, in order: c falls to c % size.

        Returns their features, their labels counted anew from 0, and the number of classes.
        """
        if self.size == 1:
            return features, labels, num_classes
        own = features[:0], labels[:0]
        for owner in range(self.size):
            mine = labels % self.size == owner
            counts = self.sum(torch.eye(self.size, dtype=torch.int64)[self.rank] * int(mine.sum())).tolist()
            taken = []
            for rows in (features[mine], labels[mine]):
                padded = rows.new_zeros(max(counts), *rows.shape[1:])
                padded[: len(rows)] = rows
                parts = [torch.empty_like(padded) for _ in counts] if owner == self.rank else None
                dist.gather(padded, parts, dst=owner)
                taken.append([part[:n] for part, n in zip(parts or [], counts, strict=False)])
            if owner == self.rank:
                own = torch.cat(taken[0]), torch.cat(taken[1]) // self.size
        return (*own, len(range(self.rank, num_classes, self.size)))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on all of them."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def mean(self, value: float, count: int) -> float:
        """The mean over all samples of what has the mean ``value`` over the ``count`` of this process."""
        if self.size == 1:
            return value
        total, samples = self.sum(torch.tensor([value * count if count else 0.0, count], dtype=torch.float64))
        return float(total / samples)

    def merge(self, stats: ClassStatistics) -> ClassStatistics:
        """The statistics of all processes, equal to the last bit on all of them.

        They come round one after the other, so that no process holds more than two.
        """
        if self.size == 1:
            return stats
        merged = ClassStatistics(stats.num_classes, stats.dim, stats.device)
        for rank in range(self.size):
            part = stats if rank == self.rank else ClassStatistics(stats.num_classes, stats.dim, stats.device)
            for tensor in part.tensors:
                dist.broadcast(tensor, src=rank)
            merged.merge(part)
        return merged

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the values that process 0 has, in place."""
        if self.size > 1:
            for tensor in tensors:
                dense = tensor.detach().contiguous()  # a copy, where the layout is channels_last
                dist.broadcast(dense, src=0)
                tensor.detach().copy_(dense)

    def agree(self, *flags: int) -> tuple[int, ...]:
        """Each flag's largest value among the processes. Over gloo, so that no GPU is waited for."""
        if self.size == 1:
            return flags
        tensor = torch.tensor(flags, dtype=torch.int64)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def all_of(self, thing: Any) -> list[Any]:
        """What each process has, in order of rank: small things that pickle."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        dist.all_gather_object(things, thing)
        return things

    def from_leader(self, thing: Any = None) -> Any:
        """What process 0 gives here, on all processes."""
        if self.size == 1:
            return thing
        things = [thing]
        dist.broadcast_object_list(things, src=0, device=torch.device("cpu"))
        return things[0]

    def compare(self, own: str | Exception) -> None:
        """Find out, before a run begins, whether all processes could prepare it, and on the same data.

        ``own`` is the fingerprint of this process's data, or why it could not prepare. Raises on all
        processes what one of them met.
        """
        if self.size == 1:
            return
        problem = own if isinstance(own, NCRunnerError) else None
        if isinstance(own, Exception) and problem is None:
            problem = TrainingError(f"{type(own).__name__}: {own}")
        everyones = self.all_of((socket.gethostname(), problem, own if isinstance(own, str) else ""))
        leader, _, fingerprint = everyones[0]
        for rank, (host, problem, held) in enumerate(everyones):
            if problem is not None:
                raise type(problem)(f"process {rank} of {self.size} on {host}: {problem}")
            if held != fingerprint:
                raise DataError(
                    f"{host} holds other data than {leader}\n"
                    "give all hosts the same files, or a data.root that they share"
                )


ALONE = Processes()


def parallel(model: nn.Module, images: Tensor, device: torch.device, *, own: bool) -> nn.Module:
    """``model`` in DistributedDataParallel: each step's gradients are averaged over the processes.

    Buffers, such as the running statistics of batch norm, are those of process 0. ``own``: a network that is
    not this project's, which may hold parameters that its output does not depend on; ``images`` (2, C, H, W)
    pass through it once to find out. In one process such parameters stay as they are, and here too.
    """
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=own and _has_idle_parameters(model, images),
    )


def _has_idle_parameters(model: nn.Module, images: Tensor) -> bool:
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    training = {module: module.training for module in model.modules()}
    devices = [images.device] if images.is_cuda else []
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()(images).sum().backward()
        return any(p.requires_grad and p.grad is None for p in model.parameters())
    finally:
        for module, was in training.items():
            module.training = was
        for buffer, value in buffers:
            buffer.data.copy_(value)
        model.zero_grad(set_to_none=True)
