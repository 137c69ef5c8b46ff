"""The rivals run as their users run them: in a process of their own, without nc-runner's memory settings."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch


class Apart:
    """An object that ``make(*arguments)`` makes in a new process. To call this calls it there.

    ``nc-run`` keeps the memory that it frees (``keep_freed_memory``): that holds for a whole process and
    cannot be taken back in it, so a rival in nc-runner's process would have the same.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # plainly pickled, tensors are copies; multiprocessing's own way would move these to shared memory,
        # and NumPy's views of them would point to what is gone
        given = (theirs, torch.get_num_threads(), pickle.dumps((make, arguments)))
        context.Process(target=_serve, args=given, daemon=True).start()
        theirs.close()

    def __call__(self) -> Any:
        return self.call("__call__")

    def call(self, method: str) -> Any:
        """What the object's method returns; pickled, so small things."""
        try:
            self._pipe.send(method)
            return pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise SystemExit(
                "bench: the process of the notebook's way ended: its error stands above"
            ) from None


def _serve(pipe: Connection, threads: int, what: bytes) -> None:
    torch.set_num_threads(threads)
    make, arguments = pickle.loads(what)
    made = make(*arguments)
    with suppress(EOFError):  # the other side has ended
        while True:
            pipe.send_bytes(pickle.dumps(getattr(made, pipe.recv())()))
