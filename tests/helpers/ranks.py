"""Run by ranks under torchrun: one of them fails, dies or falls silent, and all tell how they end.

Arguments: what rank VICTIM does, VICTIM, timeout in seconds. With "waits" something is done to them.
"""

import contextlib
import os
import signal
import sys
import time

from nc_runner.distributed.process_group import joined
from nc_runner.distributed.torchrun import place
from nc_runner.errors import DivergedError, GroupError
from nc_runner.training.signals import StopSignals


def main(deed: str, victim: int, timeout: float) -> int:
    rank = place().rank
    say(f"rank {rank} has pid {os.getpid()}")
    try:
        with StopSignals(), joined(timeout) as group:  # torchrun sends the survivors SIGTERM at once
            with contextlib.suppress(DivergedError), group.guarded(DivergedError):
                raise DivergedError("on both ranks: they go on")
            with group.guarded():
                for _ in range(10):
                    group.agree(1)
                if rank == victim and deed != "waits":
                    act(deed)
                say(f"rank {rank} is in step")
                for _ in range(20000 if deed == "waits" else 1000):
                    group.agree(1)
                    time.sleep(0.01)
    except GroupError as error:
        speaks = "speaks" if error.speaker == rank else "is silent"
        say(f"rank {rank} {speaks}: {type(error).__name__}: {error}".replace("\n", " | "))
        return 1
    say(f"rank {rank} is done")
    return 0


def say(line: str) -> None:
    """In one write: the lines of two ranks stay whole."""
    print(f"{line}\n", end="", flush=True)


def act(deed: str) -> None:
    if deed == "fails":
        raise ValueError("a bug of one rank")
    os.kill(os.getpid(), {"is killed": signal.SIGKILL, "falls silent": signal.SIGSTOP}[deed])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
