"""The processes that torchrun started for one command, from its first run to its last.

Process 0 alone reads the command line, and does everything that one process does. When a run is to be
trained it calls the others: each run has a process group of its own, so that a failing run of a sweep
leaves nothing behind. The others wait for the call, compute their part, and wait again; they write no file
and say nothing. Calls, and why somebody left, go through torchrun's key-value store.

A process that fails says why in the store before its connections close; so whoever finds a connection
broken, and no reason there, knows that a process has ended without a word.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from nc_runner.distributed.group import ALONE, Processes
from nc_runner.distributed.torchrun import place, report
from nc_runner.errors import TrainingError
from nc_runner.training.signals import ProcessLost, StopRequested, StopSignals

PATIENCE = timedelta(minutes=10)  # with a process that is silent in a joint operation: hung, or its host off
ROLL_CALL = 300.0  # seconds until all have come: they may still be importing, or leaving an earlier run
FAREWELL = 30.0
SURVIVORS = 20.0  # seconds in which the survivors of a broken group come forward; torchrun grants 30
END = b"end"


@dataclass(frozen=True)
class Call:
    """One run that all processes compute together, by its number within the command."""

    store: Any
    number: int

    def key(self, *parts: object) -> str:
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives torchrun's restarts
        return "/".join(map(str, ("nc-runner", attempt, self.number, *parts)))

    def post(self, text: str, *parts: object) -> None:
        self.store.set(self.key(*parts), text)

    def read(self, *parts: object) -> str | None:
        key = self.key(*parts)
        return self.store.get(key).decode() if self.store.check([key]) else None

    def missing(self, kind: str) -> list[int]:
        """The processes that have not posted their ``kind``."""
        return [rank for rank in range(place().size) if not self.store.check([self.key(kind, rank)])]

    def is_dead(self, rank: int) -> bool:
        """Whether a process is known to have ended: of those on other hosts that cannot be known."""
        _, pid, _, host = (self.read("here", rank) or "process 0 on ?").split(" ", 3)
        if host != socket.gethostname():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


_call: Call | None = None  # the last one; a command makes one after the other


@contextmanager
def lead(settings: Mapping[str, Any], signals: StopSignals) -> Iterator[Processes]:
    """Call the other processes to a run with these settings: all processes, or this one where it is alone.

    Raises:
        ProcessLost: a process did not come, or ended without a word.
        TrainingError: another process failed; the message is its own.
    """
    if place().size == 1:
        yield ALONE
        return
    global _call
    try:
        _call = Call(_call.store, _call.number + 1) if _call else Call(_connect(), 0)
        _call.store.set(_call.key("call"), pickle.dumps(dict(settings)))
        _muster(_call, signals)
    except RuntimeError as error:
        raise ProcessLost(f"torchrun is gone ({_first_line(error)})") from error
    with _joined(_call, settings) as processes:
        yield processes


def follow(assist: Callable[[Mapping[str, Any], Processes, StopSignals], None]) -> int:
    """What the other processes do: ``assist`` process 0 in each run that it calls. The exit code."""
    warnings.simplefilter("ignore")  # process 0 warns of the same
    call = Call(_connect(), 0)
    while (settings := _await_call(call)) is not None:
        try:
            with StopSignals() as signals:
                _muster(call, signals)
                with _joined(call, settings) as processes:
                    assist(settings, processes, signals)
        except ProcessLost as lost:
            if lost.speaker == place().rank:
                print(f"nc-run: {lost.advice}", file=sys.stderr, flush=True)
                report(lost.advice)
            return 1
        except StopRequested:
            pass
        except Exception:  # said to process 0 already
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                traceback.print_exc()
        call = Call(call.store, call.number + 1)
    return 0


def dismiss() -> None:
    """Let the other processes leave: process 0 has nothing more for them."""
    try:
        call = Call(_call.store, _call.number + 1) if _call else Call(_connect(), 0)
        call.store.set(call.key("call"), END)
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            _poll(lambda: len(call.missing("left")) <= 1, FAREWELL)  # the store ends with this process
    except RuntimeError:
        pass  # torchrun itself is gone


def _connect() -> Any:
    return next(iter(rendezvous("env://")))[0]


def _await_call(call: Call) -> Mapping[str, Any] | None:
    """The settings of the next run; None where there is none, or nobody is left to call."""
    try:
        _poll(lambda: call.store.check([call.key("call")]))
        message = call.store.get(call.key("call"))
        if message != END:
            return pickle.loads(message)  # type: ignore[no-any-return]
        call.post("", "left", place().rank)
    except RuntimeError:
        pass
    return None


def _muster(call: Call, signals: StopSignals) -> None:
    """Wait until all processes have come. A process group would wait as well, but deaf to signals."""
    call.post(f"process {os.getpid()} on {socket.gethostname()}", "here", place().rank)

    def complete() -> bool:
        signals.pause()
        return not call.missing("here")

    if not _poll(complete, ROLL_CALL):
        raise ProcessLost(f"{_ranks(call.missing('here'))} did not come within {ROLL_CALL:.0f} seconds")


@contextmanager
def _joined(call: Call, settings: Mapping[str, Any]) -> Iterator[Processes]:
    here = place()
    cuda = settings["device"] != "cpu" and torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    store = dist.PrefixStore(call.key("group"), call.store)  # type: ignore[attr-defined]
    processes = Processes(here.rank, here.size, settings["analysis"]["batch_size"])
    broken = True
    try:
        with understood(call):
            dist.init_process_group(
                backend, store=store, rank=here.rank, world_size=here.size, timeout=PATIENCE
            )
            yield processes
        broken = False
        with suppress(RuntimeError):  # torchrun may be gone by now; the run is complete all the same
            call.post("", "done", here.rank)
            if here.rank == 0:
                _poll(lambda: not call.missing("done"), FAREWELL)
    except BaseException as error:
        _say_why(call, error)
        raise
    finally:
        _leave(hard=broken and cuda)


@contextmanager
def understood(call: Call | None = None) -> Iterator[None]:
    """Inside, a broken connection becomes what broke it: another process's error, or that one was lost."""
    try:
        yield
    except Exception as error:
        call = call or _call
        if call is None or place().size == 1 or not _is_broken_connection(error):
            raise
        raise _cause(call) from error


def _is_broken_connection(error: Exception) -> bool:
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error))
    )


def _cause(call: Call) -> TrainingError | ProcessLost:
    here = place()
    try:
        if reason := call.read("failed"):
            return TrainingError(reason)
        call.post("", "survived", here.rank)
        _poll(lambda: all(map(call.is_dead, call.missing("survived"))), SURVIVORS)
        lost = call.missing("survived")
        speaker = min(rank for rank in range(here.size) if rank not in lost)
        names = [f"{_ranks([rank])} ({call.read('here', rank)})" for rank in lost]
    except RuntimeError:
        return ProcessLost("torchrun, and a process of this run, are gone", speaker=here.rank)
    if not lost:
        return ProcessLost("the connection between the processes broke", speaker)
    return ProcessLost(f"{', '.join(names)} no longer answers: was it killed, or out of memory?", speaker)


def _say_why(call: Call, error: BaseException) -> None:
    """Leave this process's reason for the others, unless somebody was first."""
    here = place()
    if isinstance(error, ProcessLost):
        return  # each survivor finds that out by itself
    name = f"process {here.rank} of {here.size} on {socket.gethostname()}"
    text = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
    with suppress(RuntimeError):
        call.store.compare_set(call.key("failed"), "", f"{name}: {text}")


def _leave(hard: bool) -> None:
    if not dist.is_initialized():
        return
    # NCCL would first finish what is under way, which it cannot do when a process is missing
    abort = getattr(dist.distributed_c10d, "_abort_process_group", None) if hard else None
    with suppress(RuntimeError):
        (abort or dist.destroy_process_group)()


def _poll(true: Callable[[], bool], seconds: float = float("inf")) -> bool:
    """Wait until something is true, at most so long; whether it is. Python's signals are heard meanwhile."""
    end, pause = time.monotonic() + seconds, 0.005
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.25)
    return True


def _ranks(ranks: list[int]) -> str:
    names = ", ".join(map(str, ranks))
    return f"process{'es' * (len(ranks) > 1)} {names} of {place().size}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:120]
