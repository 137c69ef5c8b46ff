"""Who the ranks of a command are, and which of them is lost: a few entries in torchrun's key-value store.

Each rank enters its process id and host when it starts. One that fails enters its reason before its
connections close. When a connection breaks and there is no reason, the survivors enter that they are still
here: the ranks that do not are lost. The store is on the host of rank 0, and may be lost as well: what is
asked of it is given up after a while.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from nc_runner.distributed.torchrun import Place
from nc_runner.errors import GroupError, NCRunnerError, RankLostError

T = TypeVar("T")

ROOT = "nc-runner/"  # of all keys in the store
START_SECONDS = 300.0  # until all ranks have started: some may still be importing
RESUME = "\ngive the same command again to resume from the last checkpoint"
SURVIVORS_SECONDS = 20.0  # for the survivors to enter themselves; torchrun ends them all after 30
ANSWER_SECONDS = 15.0  # for the store to answer; torch itself would wait for ever where the link is cut


class Store(Protocol):
    """What is used of torch.distributed.Store. Its methods raise RuntimeError when its host is gone."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> bytes: ...
    def add(self, key: str, amount: int) -> int: ...
    def check(self, keys: list[str]) -> bool: ...
    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes: ...


class StoreSilentError(RuntimeError):
    """The store gives no answer: its host is down, stopped or cut off."""


@dataclass(frozen=True)
class Process:
    """Where a rank is computed."""

    pid: int
    host: str


class Roster:
    """The ranks of one command. ``number``: of this group among those that used the store before."""

    def __init__(self, store: Store, here: Place) -> None:
        self.store = store
        self.here = here
        self.number = 0
        self._processes: list[Process] = []  # by rank; kept here, since the store may be lost
        self._silent = False

    def start(self) -> None:
        """Enter this rank, and wait until all ranks have started. Raises RankLostError."""
        try:
            self._agree_on_number()
            self._enter("started", f"{os.getpid()} {socket.gethostname()}")
            if not wait_until(lambda: not self._missing("started"), START_SECONDS):
                raise self._not_started(self._missing("started"))
            self._processes = [self._process(rank) for rank in range(self.here.world_size)]
        except RuntimeError as error:
            raise self._storeless(error) from error

    def leave_reason(self, error: BaseException) -> str:
        """Tell the others why this rank ends, unless another rank was first; the reason."""
        name = f"rank {self.here.rank} of {self.here.world_size} on {socket.gethostname()}"
        kind = "" if isinstance(error, NCRunnerError) else f"{type(error).__name__}: "
        reason = f"{name}: {kind}{error}"
        with suppress(RuntimeError):
            self._ask(lambda: self.store.compare_set(f"{ROOT}{self._failed}", "", reason))
        return reason

    def cause(self) -> GroupError:
        """Why a connection broke: the reason that a rank left, or the ranks that are lost."""
        try:
            if self._has(self._failed):
                return GroupError(self._get(self._failed))
            self._enter("survived", "")
            wait_until(lambda: all(map(self._has_ended, self._missing("survived"))), SURVIVORS_SECONDS)
            if self._has(self._failed):  # it came after its connections closed
                return GroupError(self._get(self._failed))
            lost = self._missing("survived")
        except RuntimeError as error:
            return self._storeless(error)
        speaker = self._first_but(lost)
        if not lost:
            return RankLostError(f"the connection between the ranks broke{RESUME}", speaker)
        return RankLostError(f"{self._lost(lost)}{RESUME}", speaker)

    def _agree_on_number(self) -> None:
        """Learn this group's number from rank 0.

        The store outlives a restart by torchrun, and hosts may have restarted their ranks a different number
        of times. So rank 0 draws a number, and answers each rank's call with it; a call of an earlier rank
        gets an answer that nobody reads.
        """
        call = f"{os.getpid()} {socket.gethostname()} {time.time_ns()}"
        if self.here.rank:
            self._set(f"call/{self.here.rank}", call)
            if not wait_until(lambda: self._has(f"answer/{call}"), START_SECONDS):
                raise self._not_started([0])
            self.number = int(self._get(f"answer/{call}"))
            return
        self.number = self._ask(lambda: self.store.add(f"{ROOT}groups", 1))
        wait_until(self._all_answered, START_SECONDS)  # else start() names those that are missing

    def _all_answered(self) -> bool:
        """Answer the calls so far; whether all other ranks have started."""
        waiting = [rank for rank in self._missing("started") if rank]
        for rank in waiting:
            if self._has(f"call/{rank}"):
                call = self._get(f"call/{rank}")
                self._set(f"answer/{call}", str(self.number))
        return not waiting

    def _not_started(self, missing: list[int]) -> RankLostError:
        problem = f"did not start within {START_SECONDS:.0f} seconds"
        return RankLostError(f"{self._names(missing)} {problem}", self._first_but(missing))

    def _storeless(self, error: RuntimeError) -> RankLostError:
        """The store is lost, and with it the host of rank 0, or torchrun there."""
        first = self._processes[0].host if self._processes else os.environ.get("MASTER_ADDR", "its host")
        if isinstance(error, StoreSilentError):
            problem = f"{first}, the host of rank 0, no longer answers: is it down, stopped or cut off?"
        else:
            problem = f"torchrun on {first}, the host of rank 0, is gone: its last lines there say why"
        return RankLostError(f"{problem}{RESUME}", speaker=self.here.rank)

    def _ask(self, question: Callable[[], T]) -> T:
        """What the store answers. Raises StoreSilentError where it does not, now or earlier."""
        answers: list[T] = []
        errors: list[Exception] = []

        def put() -> None:
            try:
                answers.append(question())
            except Exception as error:
                errors.append(error)

        if not self._silent:
            asking = threading.Thread(target=put, daemon=True)
            asking.start()
            asking.join(ANSWER_SECONDS)
            self._silent = asking.is_alive()  # it holds the store's lock, perhaps for ever
        if self._silent:
            raise StoreSilentError(f"no answer within {ANSWER_SECONDS:.0f} seconds")
        if errors:
            raise errors[0]
        return answers[0]

    @property
    def _failed(self) -> str:
        return f"{self.number}/failed"

    def _set(self, key: str, text: str) -> None:
        self._ask(lambda: self.store.set(ROOT + key, text))

    def _has(self, key: str) -> bool:
        return self._ask(lambda: self.store.check([ROOT + key]))

    def _get(self, key: str) -> str:
        return self._ask(lambda: self.store.get(ROOT + key)).decode()

    def _enter(self, kind: str, text: str) -> None:
        self._set(f"{self.number}/{kind}/{self.here.rank}", text)

    def _missing(self, kind: str) -> list[int]:
        """The ranks without an entry of this kind."""
        return [rank for rank in range(self.here.world_size) if not self._has(f"{self.number}/{kind}/{rank}")]

    def _first_but(self, lost: list[int]) -> int:
        """The first rank that is still here: it tells the user."""
        return min(rank for rank in range(self.here.world_size) if rank not in lost)

    def _process(self, rank: int) -> Process:
        pid, host = self._get(f"{self.number}/started/{rank}").split(" ", 1)
        return Process(int(pid), host)

    def _has_ended(self, rank: int) -> bool:
        """Whether a rank's process is known to have ended; on another host that cannot be known."""
        process = self._processes[rank]
        if process.host != socket.gethostname():
            return False
        try:
            os.kill(process.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def _lost(self, lost: list[int]) -> str:
        """The lost ranks, host by host, and what may have happened to them."""
        groups: dict[str, list[int]] = {}
        for rank in lost:
            groups.setdefault(self._processes[rank].host, []).append(rank)
        names, whole = [], []
        for host, ranks in groups.items():
            pids = ", ".join(str(self._processes[rank].pid) for rank in ranks)
            names.append(f"{self._names(ranks)} (process{'es' * (len(ranks) > 1)} {pids} on {host})")
            if host != socket.gethostname() and len(ranks) == self._ranks_on(host):
                whole.append(host)
        answers, was = ("answers", "was it") if len(lost) == 1 else ("answer", "were they")
        or_else = f"is {' or '.join(whole)} down, stopped or cut off" if whole else "out of memory"
        return f"{', '.join(names)} no longer {answers}: {was} killed, or {or_else}?"

    def _ranks_on(self, host: str) -> int:
        return sum(process.host == host for process in self._processes)

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
