"""The process group of one command, from its first run to its last. Imports torch only under torchrun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nc_runner.distributed.group import ALONE, Group
from nc_runner.distributed.torchrun import place


@contextmanager
def joined(timeout_seconds: float) -> Iterator[Group]:
    """The group of all ranks of this command, while the context is entered; alone without torchrun.

    Entered once in a command, by all ranks. An exception that leaves the context ends the group for all: the
    others get a GroupError with its text. Where the connection broke, it leaves as RankLostError, or as the
    GroupError of the rank that failed.

    Args:
        timeout_seconds: a rank that is silent for so long in a collective counts as lost.

    Raises:
        RankLostError: a rank did not start, ended without giving a reason, or is silent.
        GroupError: another rank failed; the message is its own.
    """
    if place().world_size == 1:
        yield ALONE
        return
    from nc_runner.distributed.collectives import connected  # here: it imports torch

    with connected(timeout_seconds) as group:
        yield group
