"""The ranks that compute one command together, as the rest of the package sees them. Imports no torch.

A :class:`Group` of one process exchanges nothing. :class:`nc_runner.distributed.collectives.TorchGroup`
has the same methods for several ranks. All ranks must call the same methods in the same order, except
:meth:`Group.share`, which exchanges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from nc_runner.collapse import ClassStatistics

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """``world_size`` ranks, of which this is ``rank``. By itself, one process that exchanges nothing."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone reads and writes files and prints."""
        return self.rank == 0

    def share(self, count: int, size: int = 1) -> slice:
        """This rank's range of 0..count-1, in whole pieces of ``size``; only the last piece may be shorter.

        The ranges of all ranks follow each other. The last ranks have none where there are fewer pieces
        than ranks.

        >>> [Group(rank, 3).share(100, size=16) for rank in range(3)]
        [slice(0, 48, None), slice(48, 96, None), slice(96, 100, None)]
        """
        rows = self.pieces(count, size) * size
        return slice(min(self.rank * rows, count), min((self.rank + 1) * rows, count))

    def pieces(self, count: int, size: int) -> int:
        """The most pieces that one rank has: see :meth:`share`."""
        return -(-count // (size * self.world_size))

    def gather(self, rows: Tensor) -> Tensor:
        """(N, ...): the rows (n, ...) of all ranks, in order of rank."""
        return rows

    def exchange(self, rows: Tensor, owners: Tensor) -> Tensor:
        """The rows of all ranks that belong to this one, in order of rank.

        Args:
            rows: (n, ...) of this rank.
            owners: (n,) integers, the rank that each row belongs to.
        """
        return rows

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, with the same bits on each."""
        return tensor

    def mean(self, value: float, count: int) -> float:
        """The mean over the samples of all ranks, where this rank's ``count`` samples have mean ``value``."""
        return value

    def merge(self, stats: ClassStatistics) -> ClassStatistics:
        """The statistics of all ranks' samples, with the same bits on each."""
        return stats

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give all ranks the values that rank 0 has, in place."""

    def agree(self, *flags: int) -> tuple[int, ...]:
        """Each flag's largest value among the ranks. Waits for no GPU."""
        return flags

    def all_of(self, thing: T) -> list[T]:
        """What each rank has, in order of rank: small things that pickle."""
        return [thing]

    def broadcast(self, thing: T) -> T:
        """What rank 0 gives here, on all ranks: a thing that pickles."""
        return thing

    def on_first(self, action: Callable[[], T]) -> T:
        """Rank 0 calls ``action``; its result, which must pickle, is returned on all ranks.

        An exception of it is raised on all ranks: as the NCRunnerError that it is, or of several ranks as a
        TrainingError with its text. So the ranks stay together.
        """
        return action()

    @contextmanager
    def guarded(self, *common: type[BaseException]) -> Iterator[None]:
        """Inside, whatever the ranks do not have in common ends them all with a GroupError.

        A broken connection or a timeout becomes RankLostError, which names the lost rank, or the GroupError
        of the rank that failed. Another exception, of this rank alone, is told to the others and becomes a
        GroupError here too. Those in ``common`` are raised by all ranks at the same point, and pass as they
        are. A single process changes no exception.
        """
        yield


ALONE = Group()
