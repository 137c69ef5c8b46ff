"""Runs the notebook's way as its users do: in a separate process, without nc-runner's memory settings."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import Times, ratio, shown


class Apart:
    """An object that ``make(*arguments)`` makes in a new process. Calling this calls it there.

    ``nc-run`` keeps the memory that it frees (``keep_freed_memory``). That holds for a whole process and
    cannot be undone in it, so the notebook's way in nc-runner's process would keep its memory too.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # pickled here, so that tensors are copied: multiprocessing itself would move them to shared memory,
        # and NumPy arrays that share their memory would point to freed memory
        given = (theirs, torch.get_num_threads(), pickle.dumps((make, arguments)))
        context.Process(target=_serve, args=given, daemon=True).start()
        theirs.close()

    def __call__(self) -> Any:
        return self._call("__call__")

    def weights(self) -> Tensor:
        """What the object's method of this name returns, for ways to train."""
        weights: Tensor = self._call("weights")
        return weights

    def _call(self, method: str) -> Any:
        try:
            self._pipe.send(method)
            return pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise SystemExit(
                "bench: the process of the notebook's way ended: its error is printed above"
            ) from None


def notebook_ways(device: torch.device, make: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """The notebook's way as its users run it; on a CPU also "beside", with nc-runner's memory settings."""
    beside = make(*arguments)
    return (
        {"notebook": Apart(make, *arguments), "beside": beside}
        if device.type == "cpu"
        else {"notebook": beside}
    )


def beside_note(times: Times, below: str) -> str:
    """What the notebook's way takes, over another, when it has nc-runner's memory settings too."""
    return (
        f"with our memory settings: {shown(ratio(times, 'beside', below), 'x')}; "
        if "beside" in times
        else ""
    )


def _serve(pipe: Connection, threads: int, what: bytes) -> None:
    torch.set_num_threads(threads)
    make, arguments = pickle.loads(what)
    made = make(*arguments)
    with suppress(EOFError):  # the other side has ended
        while True:
            pipe.send_bytes(pickle.dumps(getattr(made, pipe.recv())()))
