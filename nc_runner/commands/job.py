"""One run of ``nc-run``: skipped, resumed or begun. Hydra calls it here, or in a process of a launcher.

Importing this module registers what composing a run's config needs: a launcher's processes get it by that.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nc_runner.commands import launching, preflight
from nc_runner.commands.launching import Objective, Outcome, nothing
from nc_runner.config import plugins, schema
from nc_runner.distributed import torchrun
from nc_runner.errors import ConfigError, NCRunnerError, RunFolderError
from nc_runner.runs.locks import PATIENCE
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOCK_FILE,
    LOG_FILE,
    METRICS_FILE,
    REPLACED,
    RUN_FILE,
    folder_name,
    last_row,
    read_run_file,
    rows_digest,
)
from nc_runner.runs.tables import unused_name
from nc_runner.training.signals import StopRequested, StopSignals

TRACEBACK = "NC_RUNNER_TRACEBACK"  # environment: errors are to be raised, not shown in two lines

outcomes: list[Outcome] = []  # of the runs of this command, so far
command_process: list[int] = []  # the id of the process that the user started; elsewhere empty


def _folder_name(*, _root_: DictConfig) -> str:
    if "net" not in _root_:  # --cfg hydra: the settings that name the folder are not there
        return "LOSS-NET-DATA/lrLR-seedSEED-HASH"
    config = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    settings = schema.check(config)
    return folder_name(settings, schema.deciding_settings(settings))


OmegaConf.register_new_resolver("nc_run_folder", _folder_name, replace=True)
OmegaConf.register_new_resolver("nc_run_count", launching.run_count, replace=True)
OmegaConf.register_new_resolver("nc_run_cpus", launching.run_cpus, replace=True)
OmegaConf.register_new_resolver("nc_run_gpus", launching.run_gpus, replace=True)
OmegaConf.register_new_resolver("nc_run_minutes", lambda hours: max(1, round(60 * hours)), replace=True)


def run_job(config: DictConfig) -> Objective:
    """Hydra's task function: one run; a failure is noted, so that the other runs of a sweep go on."""
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    sources = hydra_config.runtime.config_sources
    plugins.look_in(source.path for source in sources if source.schema == "file")
    folder = Path(hydra_config.runtime.output_dir)
    shown = Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    here = os.getpid() in command_process
    if not here and config.launcher.name == "joblib":
        launching.leave_signals_to_runs()
    try:
        with StopSignals() as signals, launching.under_way():
            if launching.stop_was_asked():
                _remove_if_fresh(folder)
                return _end(nothing(Outcome(shown, INTERRUPTED, "not begun", 143)))
            settings = schema.check(config)
            torchrun.check(settings)
            launching.settle(settings)
            preflight.check_owner(folder, settings)
            return _end(_attempt(settings, folder, shown, signals))
    except StopRequested as stop:
        print(f"interrupted: {shown}", file=sys.stderr)
        if not here:
            _hand_over(stop.signum)
        ended = _end(nothing(Outcome(shown, INTERRUPTED, "", stop.exit_code)))
        if here:
            raise
        return ended
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        code = 2 if isinstance(error, ConfigError) else 1
        message = str(error) if isinstance(error, NCRunnerError) else f"{type(error).__name__}: {error}"
        ended = _end(nothing(Outcome(shown, _state_of(folder) or FAILED, message, code)))
        _remove_if_fresh(folder)
        say(f"{shown}\n{message}" if len(outcomes) > 1 or not here else message, code)
        return ended


def _end(objective: Objective) -> Objective:
    outcomes.append(objective.outcome)
    return objective


def _hand_over(signum: int) -> None:
    """Let the launcher's own handler hear the signal, now that the state is saved: submitit's requeues."""
    warning = [getattr(signal, name, None) for name in ("SIGUSR1", "SIGUSR2")]
    if signum in warning and callable(signal.getsignal(signum)):
        signal.raise_signal(signum)


def _attempt(settings: dict[str, Any], folder: Path, shown: Path, signals: StopSignals) -> Objective:
    """Skip, resume or begin a run."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / LOCK_FILE, timeout=PATIENCE):
            if settings["overwrite"]:
                folder = _replace(folder)
            state = _state_of(folder)
            done = state == COMPLETE and _rows_are_whole(folder)
            if state == DIVERGED:
                reason = read_run_file(folder).get("reason")
                raise RunFolderError(f"{reason}\n(this run ended so before; overwrite=true trains it again)")
            if not done:
                print(f"{'resuming' if state else 'run folder'}: {shown}", flush=True)
                from nc_runner.training.run import execute

                execute(settings, folder, signals)
    except Timeout:
        raise RunFolderError(_holder(folder)) from None
    last = last_row(folder)
    epoch, accuracy, nc1 = (last.get(column, float("nan")) for column in ("epoch", "test_accuracy", "nc1"))
    if done:
        print(f"already complete: {shown}  (epoch {epoch:.0f}, test {accuracy:.2%})")
    else:
        print(f"complete: {shown}  (epoch {epoch:.0f}, test {accuracy:.2%}, NC1 {nc1:.2e})")
    return Objective(last.get(settings["objective"], float("nan")), Outcome(shown, COMPLETE))


def _state_of(folder: Path) -> str | None:
    return read_run_file(folder)["state"] if (folder / RUN_FILE).exists() else None


def _rows_are_whole(folder: Path) -> bool:
    """Whether a finished run's rows are as they were written; if not, its checkpoint restores them."""
    return read_run_file(folder).get("rows_digest") == rows_digest(folder)


def _holder(folder: Path) -> str:
    try:
        record = read_run_file(folder)
        holder = f"process {record.get('pid')} on {record.get('host')}"
    except RunFolderError:
        holder = "another process"
    return f"{folder} is being written by {holder}\nwait for it, or stop it, then give the command again"


def _replace(folder: Path) -> Path:
    """Move what an earlier run left in a folder to a folder beside it; Hydra's own files stay as well."""
    if not (folder / RUN_FILE).exists():
        return folder
    kept = unused_name(folder, REPLACED)
    kept.mkdir()
    for entry in sorted(folder.iterdir()):
        if entry.name == ".hydra":
            shutil.copytree(entry, kept / entry.name)
        elif entry.name != LOCK_FILE:
            entry.rename(kept / entry.name)
    print(f"the earlier run is kept in {kept}")
    return folder


def _remove_if_fresh(folder: Path) -> None:
    """Take away the folder that Hydra made for a run that could not start."""
    if folder.absolute() not in preflight.fresh_folders:
        return
    if (folder / RUN_FILE).exists() or (folder / METRICS_FILE).exists():
        return
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    (folder / LOCK_FILE).unlink(missing_ok=True)
    (folder / LOG_FILE).unlink(missing_ok=True)
    for empty in (folder, folder.parent, folder.parent.parent):
        try:
            empty.rmdir()
        except OSError:
            return


def say(message: str, code: int) -> int:
    """Print ``message`` on stderr; under torchrun its report shows it too. Returns ``code``."""
    print(f"nc-run: {message}", file=sys.stderr, flush=True)
    if code:
        torchrun.report(message)
    return code
