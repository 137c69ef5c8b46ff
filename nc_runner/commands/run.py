"""``nc-run``: train, measure, log. Imports torch only when a run really has to be computed."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nc_runner import __version__, runs
from nc_runner.errors import ConfigError, NCRunnerError, RunFolderError
from nc_runner.experiment import torchrun
from nc_runner.locks import PATIENCE

FULL_ERROR = "HYDRA_FULL_ERROR"


@dataclass
class Outcome:
    """How a run of this command ended."""

    folder: Path
    state: str
    message: str = ""
    exit_code: int = 0


_outcomes: list[Outcome] = []
_wants_traceback = False


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
        return _say("stopped before training began; nothing is lost", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _follow() -> int:
    """Under torchrun process 0 alone reads the command line; the others compute what it calls them to."""
    from nc_runner.experiment.crew import follow
    from nc_runner.experiment.run import assist

    try:
        return follow(assist)
    except KeyboardInterrupt:
        return 130


def _dismiss() -> None:
    from nc_runner.experiment.crew import dismiss

    dismiss()


def _hydra(arguments: list[str]) -> int:
    import hydra
    from hydra.errors import MissingConfigException

    from nc_runner.commands import preflight
    from nc_runner.commands.messages import explain
    from nc_runner.experiment import schema
    from nc_runner.experiment.signals import StopRequested

    global _wants_traceback
    wants_traceback = _wants_traceback = os.environ.get(FULL_ERROR) == "1"
    schema.register()
    _register_folder_name()
    _outcomes.clear()
    preflight.fresh_folders.clear()
    command = hydra.main(config_path="pkg://nc_runner.conf", config_name="config", version_base="1.3")(_job)
    arguments, preflight.show_only = _asks_to_show_a_sweep(arguments)
    before = sys.argv
    sys.argv = ["nc-run", *arguments]
    os.environ[FULL_ERROR] = "1"  # Hydra then hands its errors to us
    try:
        command()
    except preflight.Refused as refused:
        if wants_traceback:
            raise
        return _say(*preflight.explained(refused))
    except preflight.Shown:
        return 0
    except StopRequested as stop:
        return _say(stop.advice, stop.exit_code)
    except MissingConfigException as error:
        if wants_traceback:
            raise
        return _say(explain(error), 2)
    except OSError as error:
        if wants_traceback:
            raise
        return _say(f"{error.filename or 'a file'}: {error.strerror or error}\nis the folder writable?", 1)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:
        if wants_traceback:
            raise
        return _say(explain(error), 2)
    finally:
        sys.argv = before
        if not wants_traceback:
            os.environ.pop(FULL_ERROR, None)
    return _conclude()


def _asks_to_show_a_sweep(arguments: list[str]) -> tuple[list[str], bool]:
    """``-m --cfg job``, which Hydra refuses: the arguments without ``--cfg job``, and True."""
    if not {"-m", "--multirun"} & set(arguments):
        return arguments, False
    kept = [argument for argument in arguments if argument not in ("--resolve", "--cfg=job", "-c=job")]
    for i, argument in enumerate(kept):
        if argument in ("--cfg", "-c") and kept[i + 1 : i + 2] == ["job"]:
            return kept[:i] + kept[i + 2 :], True
    return (kept, True) if "--cfg=job" in arguments else (arguments, False)


def _register_folder_name() -> None:
    from omegaconf import DictConfig, OmegaConf

    from nc_runner.experiment import schema

    def name(*, _root_: DictConfig) -> str:
        if "net" not in _root_:  # --cfg hydra: the settings that name the folder are not there
            return "LOSS-NET-DATA/lrLR-seedSEED-HASH"
        config = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
        settings = schema.check(config)
        return runs.folder_name(settings, schema.deciding_settings(settings))

    OmegaConf.register_new_resolver("nc_run_folder", name, replace=True)


def _job(config: Any) -> float:
    """Hydra's task function: one run; a failure is noted, so that the other runs of a sweep go on."""
    from hydra.core.hydra_config import HydraConfig

    from nc_runner.commands import preflight
    from nc_runner.experiment import schema
    from nc_runner.experiment.signals import StopRequested, StopSignals

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    shown = Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    try:
        with StopSignals() as signals:
            settings = schema.check(config)
            torchrun.check(settings)
            preflight.check_owner(folder, settings)
            return _attempt(settings, folder, shown, signals)
    except StopRequested:
        _outcomes.append(Outcome(shown, runs.INTERRUPTED))
        print(f"interrupted: {shown}", file=sys.stderr)
        raise
    except Exception as error:
        if _wants_traceback:
            raise
        code = 2 if isinstance(error, ConfigError) else 1
        message = str(error) if isinstance(error, NCRunnerError) else f"{type(error).__name__}: {error}"
        state = _state_of(folder) or runs.FAILED
        _outcomes.append(Outcome(shown, state, message, code))
        if folder.absolute() in preflight.fresh_folders:
            _remove_unstarted(folder)
        _say(f"{shown}\n{message}" if len(_outcomes) > 1 else message, code)
        return float("nan")


def _attempt(settings: dict[str, Any], folder: Path, shown: Path, signals: Any) -> float:
    """Skip, resume or begin a run."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / runs.LOCK_FILE, timeout=PATIENCE):
            if settings["overwrite"]:
                folder = _replace(folder)
            state = _state_of(folder)
            if state == runs.COMPLETE and _rows_are_whole(folder):
                last = runs.last_row(folder)
                accuracy = last.get("test_accuracy", float("nan"))
                print(f"already complete: {shown}  (epoch {last.get('epoch', 0):.0f}, test {accuracy:.2%})")
                _outcomes.append(Outcome(shown, runs.COMPLETE))
                return accuracy
            if state == runs.DIVERGED:
                reason = runs.read_run_file(folder).get("reason")
                raise RunFolderError(f"{reason}\n(this run ended so before; overwrite=true trains it again)")
            print(f"{'resuming' if state else 'run folder'}: {shown}", flush=True)
            from nc_runner.experiment.run import execute

            accuracy = execute(settings, folder, signals)
    except Timeout:
        raise RunFolderError(_holder(folder)) from None
    last = runs.last_row(folder)
    print(f"complete: {shown}  (epoch {last['epoch']:.0f}, test {accuracy:.2%}, NC1 {last['nc1']:.2e})")
    _outcomes.append(Outcome(shown, runs.COMPLETE))
    return accuracy


def _state_of(folder: Path) -> str | None:
    return runs.read_run_file(folder)["state"] if (folder / runs.RUN_FILE).exists() else None


def _rows_are_whole(folder: Path) -> bool:
    """Whether a finished run's rows are as they were written; if not, its checkpoint restores them."""
    return runs.read_run_file(folder).get("rows_digest") == runs.rows_digest(folder)


def _holder(folder: Path) -> str:
    try:
        record = runs.read_run_file(folder)
        holder = f"process {record.get('pid')} on {record.get('host')}"
    except RunFolderError:
        holder = "another process"
    return f"{folder} is being written by {holder}\nwait for it, or stop it, then give the command again"


def _replace(folder: Path) -> Path:
    """Move what an earlier run left in a folder to a folder beside it; Hydra's own files stay as well."""
    if not (folder / runs.RUN_FILE).exists():
        return folder
    kept = runs.unused_name(folder, runs.REPLACED)
    kept.mkdir()
    for entry in sorted(folder.iterdir()):
        if entry.name == ".hydra":
            shutil.copytree(entry, kept / entry.name)
        elif entry.name != runs.LOCK_FILE:
            entry.rename(kept / entry.name)
    print(f"the earlier run is kept in {kept}")
    return folder


def _remove_unstarted(folder: Path) -> None:
    """Take away the folder that Hydra made for a run that could not start."""
    if (folder / runs.RUN_FILE).exists() or (folder / runs.METRICS_FILE).exists():
        return
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    (folder / runs.LOCK_FILE).unlink(missing_ok=True)
    (folder / runs.LOG_FILE).unlink(missing_ok=True)
    for empty in (folder, folder.parent, folder.parent.parent):
        try:
            empty.rmdir()
        except OSError:
            return


def _conclude() -> int:
    """The last lines of a sweep: every run with its state. The exit code of the whole command."""
    failed = [outcome for outcome in _outcomes if outcome.exit_code]
    if len(_outcomes) > 1:
        print(f"\n{len(_outcomes)} runs, {len(_outcomes) - len(failed)} complete, {len(failed)} failed")
        for outcome in _outcomes:
            reason = f"  {outcome.message.splitlines()[0]}" if outcome.message else ""
            print(f"  {outcome.state:<11} {outcome.folder}{reason}")
        return 1 if failed else 0
    return failed[0].exit_code if failed else 0


def _say(message: str, code: int) -> int:
    print(f"nc-run: {message}", file=sys.stderr)
    if code:
        torchrun.report(message)
    return code


if __name__ == "__main__":
    sys.exit(main())
