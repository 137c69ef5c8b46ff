"""A group of several ranks, on torch.distributed: gloo for the CPU, NCCL for CUDA."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
import torch.distributed.nn  # before a group is made: default arguments in it would keep the group alive
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nc_runner.collapse import ClassStatistics
from nc_runner.distributed.group import Group
from nc_runner.distributed.roster import Roster
from nc_runner.distributed.torchrun import place
from nc_runner.errors import GroupError, NCRunnerError, TrainingError

T = TypeVar("T")


@contextmanager
def connected(timeout_seconds: float) -> Iterator[TorchGroup]:
    """Make torch's default process group of all ranks, and leave it at the end: see ``joined``."""
    here, cuda = place(), torch.cuda.is_available()
    store, _, _ = next(iter(rendezvous("env://")))
    roster = Roster(store, here)
    roster.start()
    clean = False
    try:
        with _explained(roster), warnings.catch_warnings():
            if here.rank:
                warnings.simplefilter("ignore")  # rank 0 warns of the same
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=dist.PrefixStore(f"nc-runner/{roster.number}/group", store),  # type: ignore[attr-defined]
                rank=here.rank,
                world_size=here.world_size,
                timeout=timedelta(seconds=timeout_seconds),
            )
            group = TorchGroup(here.rank, here.world_size, roster=roster)
            yield group
            group.agree(0)  # a barrier: the store may end with rank 0
        clean = True
    except BaseException as error:
        if not isinstance(error, GroupError) and not isinstance(error.__cause__, GroupError):
            roster.leave_reason(error)
        raise
    finally:
        _leave(abort=cuda and not clean)


@dataclass(frozen=True)
class TorchGroup(Group):
    """Several ranks. What is combined here is what one process would have computed: counts and sums of whole
    numbers exactly, means but for rounding."""

    roster: Roster = field(kw_only=True, repr=False)

    def gather(self, rows: Tensor) -> Tensor:
        counts = self._counts(len(rows))
        padded = _padded(rows, max(counts))
        parts = [torch.empty_like(padded) for _ in counts]
        self._call(dist.all_gather, parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def exchange(self, rows: Tensor, owners: Tensor) -> Tensor:
        own = rows[:0]
        for owner in range(self.world_size):
            sent = rows[owners == owner]
            counts = self._counts(len(sent))
            padded = _padded(sent, max(counts))
            parts = [torch.empty_like(padded) for _ in counts] if owner == self.rank else None
            self._call(dist.gather, padded, parts, dst=owner)
            if parts is not None:
                own = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return own

    def _counts(self, count: int) -> list[int]:
        """Every rank's ``count``."""
        own = torch.tensor([count], dtype=torch.int64)
        counts = [torch.empty_like(own) for _ in range(self.world_size)]
        self._call(dist.all_gather, counts, own)
        return [int(count) for count in counts]

    def sum(self, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        self._call(dist.all_reduce, tensor)
        return tensor

    def mean(self, value: float, count: int) -> float:
        total, samples = self.sum(torch.tensor([value * count if count else 0.0, count], dtype=torch.float64))
        return float(total / samples)

    def merge(self, stats: ClassStatistics) -> ClassStatistics:
        """The ranks' statistics come round one after the other: no rank holds more than two."""
        merged = ClassStatistics(stats.num_classes, stats.dim, stats.device)
        for rank in range(self.world_size):
            part = stats if rank == self.rank else ClassStatistics(stats.num_classes, stats.dim, stats.device)
            for tensor in part.tensors:
                self._call(dist.broadcast, tensor, src=rank)
            merged.merge(part)
        return merged

    def align(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            dense = tensor.detach().contiguous()  # a copy, where the layout is channels_last
            self._call(dist.broadcast, dense, src=0)
            tensor.detach().copy_(dense)

    def agree(self, *flags: int) -> tuple[int, ...]:
        tensor = torch.tensor(flags, dtype=torch.int64)  # on the CPU: over gloo
        self._call(dist.all_reduce, tensor, op=dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def all_of(self, thing: T) -> list[T]:
        things: list[T] = [thing] * self.world_size
        self._call(dist.all_gather_object, things, thing)
        return things

    def broadcast(self, thing: T) -> T:
        things = [thing]
        self._call(dist.broadcast_object_list, things, src=0, device=torch.device("cpu"))
        return things[0]

    def on_first(self, action: Callable[[], T]) -> T:
        if self.is_first:
            try:
                result = action()
            except NCRunnerError as error:
                self.broadcast(_Failed(error))
                raise
            except Exception as error:
                problem = TrainingError(f"{type(error).__name__}: {error}")
                self.broadcast(_Failed(problem))
                raise problem from error
            return self.broadcast(result)
        outcome = cast("T | _Failed", self.broadcast(None))
        if isinstance(outcome, _Failed):
            raise outcome.error
        return outcome

    def _call(self, operation: Callable[..., object], *arguments: object, **options: object) -> None:
        """Call a collective operation of torch. Raises GroupError where the connection breaks."""
        with _explained(self.roster):
            operation(*arguments, **options)

    @contextmanager
    def guarded(self, *common: type[BaseException]) -> Iterator[None]:
        try:
            with _explained(self.roster):
                yield
        except BaseException as error:
            if isinstance(error, (GroupError, *common)):
                raise
            reason = self.roster.leave_reason(error)
            if not isinstance(error, Exception):
                raise
            raise GroupError(reason) from error


@dataclass(frozen=True)
class _Failed:
    """In place of the result of an action that failed."""

    error: NCRunnerError


@contextmanager
def _explained(roster: Roster) -> Iterator[None]:
    """Inside, a broken connection becomes what broke it: another rank's error, or that one was lost."""
    try:
        yield
    except Exception as error:
        if not _is_broken_connection(error):
            raise
        raise roster.cause() from error


def _is_broken_connection(error: Exception) -> bool:
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error))
    )


def _padded(rows: Tensor, count: int) -> Tensor:
    padded = rows.new_zeros(count, *rows.shape[1:])
    padded[: len(rows)] = rows
    return padded


def _leave(abort: bool) -> None:
    """Leave torch's process group, so that its threads end: one that outlives Python ends with an abort."""
    if not dist.is_initialized():
        return
    gc.collect()  # what still refers to the group, such as the model of an ended run
    # NCCL would first finish what is under way, which it cannot do when a rank is missing
    end = getattr(dist.distributed_c10d, "_abort_process_group", None) if abort else None
    with suppress(RuntimeError):
        (end or dist.destroy_process_group)()
