"""``nc-run``: train, measure, log. Imports torch only when a run really has to be computed."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from nc_runner.distributed import torchrun
from nc_runner.training.progress import drop_output
from nc_runner.training.signals import StopSignals


def main() -> int:
    """The command; returns its exit code."""
    arguments = sys.argv[1:]
    try:
        if {"-h", "--help", "--version"} & set(arguments) and torchrun.place().rank > 0:
            return 0
        if {"-h", "--help"} & set(arguments):
            from nc_runner.commands.help import show

            try:
                show()
                sys.stdout.flush()
            except BrokenPipeError:  # as in nc-run --help | head
                drop_output()
            return 0
        if "--version" in arguments:
            from nc_runner import __version__  # here: looking it up takes time, as does what follows

            print(f"nc-run {__version__}")
            return 0
        if "--completion" in arguments:
            from nc_runner.commands import completion
            from nc_runner.commands.ending import finish

            return finish("nc-run", lambda: completion.show(arguments))
        # torchrun ends the other ranks by SIGTERM when one has failed: rank 0 still has to say why
        with StopSignals() if torchrun.place().world_size > 1 else nullcontext():
            from nc_runner.commands.hydra_app.app import run

            return run(arguments)
    except KeyboardInterrupt:
        print("nc-run: stopped before training began; nothing is lost", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
