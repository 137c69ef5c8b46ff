"""``nc-run``: train, measure, log. Imports torch only when a run really has to be computed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from nc_runner import __version__
from nc_runner.distributed import torchrun
from nc_runner.runs.record import INTERRUPTED

if TYPE_CHECKING:
    from nc_runner.commands.launching import Outcome

FULL_ERROR = "HYDRA_FULL_ERROR"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    here = torchrun.place()
    if here.rank:
        return _follow()
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    finally:
        if here.size > 1:
            _dismiss()


def _main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        from nc_runner.commands.help import show

        show()
        return 0
    if "--version" in arguments:
        print(f"nc-run {__version__}")
        return 0
    try:
        return _hydra(arguments)
    except KeyboardInterrupt:
        print("nc-run: stopped before training began; nothing is lost", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _follow() -> int:
    """Under torchrun process 0 alone reads the command line; the others compute what it calls them to."""
    from nc_runner.distributed.crew import follow
    from nc_runner.training.run import assist

    try:
        return follow(assist)
    except KeyboardInterrupt:
        return 130


def _dismiss() -> None:
    from nc_runner.distributed.crew import dismiss

    dismiss()


def _hydra(arguments: list[str]) -> int:
    import hydra
    from hydra.errors import MissingConfigException

    from nc_runner.commands import job, launching, preflight
    from nc_runner.commands.messages import explain
    from nc_runner.config import schema
    from nc_runner.training.signals import StopRequested

    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    schema.register()
    job.outcomes.clear()
    job.command_process[:] = [os.getpid()]
    preflight.fresh_folders.clear()
    arguments, preflight.show_only = _asks_to_show_a_sweep(arguments)
    command = hydra.main(config_path="pkg://nc_runner.conf", config_name="config", version_base="1.3")(
        job.run_job
    )
    before = sys.argv
    sys.argv = ["nc-run", *arguments]
    os.environ[FULL_ERROR] = "1"  # Hydra then hands its errors to us
    os.environ[job.TRACEBACK] = "1" if wants_traceback else ""
    try:
        with launching.collected(job.outcomes) as search:
            command()
    except preflight.Refused as refused:
        if wants_traceback:
            raise
        return job.say(*preflight.explained(refused))
    except preflight.Shown:
        return 0
    except StopRequested as stop:
        _conclude(job.outcomes)
        return job.say(stop.advice, stop.exit_code)
    except MissingConfigException as error:
        if wants_traceback:
            raise
        return job.say(explain(error), 2)
    except launching.LauncherError as error:
        if wants_traceback:
            raise
        return job.say(str(error), 1)
    except OSError as error:
        if wants_traceback:
            raise
        name = error.filename or "a file"
        return job.say(f"{name}: {error.strerror or error}\nis the folder writable?", 1)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:
        if wants_traceback:
            raise
        if job.outcomes:  # a sweeper gave up on what the runs returned
            _conclude(job.outcomes)
            return job.say(f"the sweep ended early: {explain(error)}", 1)
        return job.say(explain(error), 2)
    finally:
        sys.argv = before
        if not wants_traceback:
            os.environ.pop(FULL_ERROR, None)
        os.environ.pop(job.TRACEBACK, None)
    code = _conclude(job.outcomes)
    if search:
        print(search[-1].result())
    return code


def _asks_to_show_a_sweep(arguments: list[str]) -> tuple[list[str], bool]:
    """``-m --cfg job``, which Hydra refuses: the arguments without ``--cfg job``, and True."""
    if not {"-m", "--multirun"} & set(arguments):
        return arguments, False
    kept = [argument for argument in arguments if argument not in ("--resolve", "--cfg=job", "-c=job")]
    for i, argument in enumerate(kept):
        if argument in ("--cfg", "-c") and kept[i + 1 : i + 2] == ["job"]:
            return kept[:i] + kept[i + 2 :], True
    return (kept, True) if "--cfg=job" in arguments else (arguments, False)


def _conclude(outcomes: list[Outcome]) -> int:
    """The last lines of a sweep: every run with its state. The exit code of the whole command."""
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    if len(outcomes) > 1:
        stopped = sum(outcome.state == INTERRUPTED for outcome in failed)
        counts = f"{len(outcomes) - len(failed)} complete, {len(failed) - stopped} failed"
        print(f"\n{len(outcomes)} runs, {counts}{f', {stopped} interrupted' if stopped else ''}")
        for outcome in outcomes:
            reason = f"  {outcome.message.splitlines()[0]}" if outcome.message else ""
            print(f"  {outcome.state:<11} {outcome.folder}{reason}")
        return 1 if failed else 0
    return failed[0].exit_code if failed else 0


if __name__ == "__main__":
    sys.exit(main())
