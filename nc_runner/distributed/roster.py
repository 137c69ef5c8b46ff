"""Who the ranks of a command are, and which of them is lost: a few entries in torchrun's key-value store.

Each rank enters its process id and host when it starts. One that fails enters its reason before its
connections close. When a connection breaks and there is no reason, the survivors enter that they are still
here: the ranks that do not are lost.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from nc_runner.distributed.torchrun import Place, attempt
from nc_runner.errors import GroupError, NCRunnerError, RankLostError

START_SECONDS = 300.0  # until all ranks have started: some may still be importing
RESUME = "\ngive the same command again to resume from the last checkpoint"
SURVIVORS_SECONDS = 20.0  # for the survivors to enter themselves; torchrun ends them all after 30


class Store(Protocol):
    """What is used of torch.distributed.Store. Its methods raise RuntimeError when its host is gone."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...
    def check(self, keys: list[str]) -> bool: ...
    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes: ...


class Roster:
    """The ranks of one command."""

    def __init__(self, store: Store, here: Place) -> None:
        self.store = store
        self.here = here

    def start(self) -> None:
        """Enter this rank, and wait until all ranks have started. Raises RankLostError."""
        self._enter("started", f"{os.getpid()} {socket.gethostname()}")
        if not wait_until(lambda: not self._missing("started"), START_SECONDS):
            missing = self._missing("started")
            problem = f"did not start within {START_SECONDS:.0f} seconds"
            raise RankLostError(f"{self._names(missing)} {problem}", self._first_but(missing))

    def leave_reason(self, error: BaseException) -> str:
        """Tell the others why this rank ends, unless another rank was first; the reason."""
        name = f"rank {self.here.rank} of {self.here.world_size} on {socket.gethostname()}"
        kind = "" if isinstance(error, NCRunnerError) else f"{type(error).__name__}: "
        reason = f"{name}: {kind}{error}"
        with suppress(RuntimeError):
            self.store.compare_set(_key("failed"), "", reason)
        return reason

    def cause(self) -> GroupError:
        """Why a connection broke: the reason that a rank left, or the ranks that are lost."""
        here = self.here.rank
        try:
            if self._has("failed"):
                return GroupError(self.store.get(_key("failed")).decode())
            self._enter("survived", "")
            wait_until(lambda: all(map(self._has_ended, self._missing("survived"))), SURVIVORS_SECONDS)
            if self._has("failed"):  # it came after its connections closed
                return GroupError(self.store.get(_key("failed")).decode())
            lost = self._missing("survived")
            names = ", ".join(self._described(rank) for rank in lost)
        except RuntimeError:
            return RankLostError(f"torchrun, and a rank of this command, are gone{RESUME}", speaker=here)
        speaker = self._first_but(lost)
        if not lost:
            return RankLostError(f"the connection between the ranks broke{RESUME}", speaker)
        problem = "no longer answers: was it killed, or out of memory?"
        return RankLostError(f"{names} {problem}{RESUME}", speaker)

    def _enter(self, kind: str, text: str) -> None:
        self.store.set(_key(kind, self.here.rank), text)

    def _has(self, *parts: object) -> bool:
        return self.store.check([_key(*parts)])

    def _missing(self, kind: str) -> list[int]:
        """The ranks without an entry of this kind."""
        return [rank for rank in range(self.here.world_size) if not self._has(kind, rank)]

    def _first_but(self, lost: list[int]) -> int:
        """The first rank that is still here: it tells the user."""
        return min(rank for rank in range(self.here.world_size) if rank not in lost)

    def _process(self, rank: int) -> tuple[int, str]:
        """A rank's process id and host."""
        pid, host = self.store.get(_key("started", rank)).decode().split(" ", 1)
        return int(pid), host

    def _has_ended(self, rank: int) -> bool:
        """Whether a rank's process is known to have ended; on another host that cannot be known."""
        pid, host = self._process(rank)
        if host != socket.gethostname():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def _described(self, rank: int) -> str:
        pid, host = self._process(rank)
        return f"{self._names([rank])} (process {pid} on {host})"

    def _names(self, ranks: list[int]) -> str:
        plural = "s" if len(ranks) > 1 else ""
        return f"rank{plural} {', '.join(map(str, ranks))} of {self.here.world_size}"


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true, at most so long; whether it is. Signal handlers run meanwhile."""
    end, pause = time.monotonic() + seconds, 0.005
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.25)
    return True


def _key(*parts: object) -> str:
    return "/".join(map(str, ("nc-runner", attempt(), *parts)))
