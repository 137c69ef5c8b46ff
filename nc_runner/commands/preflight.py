"""Refuses bad settings before Hydra makes a folder: for a single run, and for every run of a sweep."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from nc_runner.commands.messages import explain
from nc_runner.config import schema
from nc_runner.distributed import torchrun
from nc_runner.errors import RunFolderError
from nc_runner.runs.record import RUN_FILE, read_run_file
from nc_runner.runs.sweeps import SweepRecord

show_only = False  # of a sweep: print every run's settings, run none
fresh_folders: set[Path] = set()  # run folders of this command that were not there when it began
# The sweep's list, locked as long as it goes on. Not in the callback: launchers send that to other processes.
_record: SweepRecord | None = None


class Shown(BaseException):
    """Ends the command after ``-m --cfg job`` has printed the settings of every run."""


class Refused(BaseException):
    """Ends the command: Hydra turns an Exception of a callback into a warning, and goes on."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class RefuseBadSettings(Callback):
    """Hydra calls this before it makes a folder, whatever launcher and sweeper are chosen."""

    def __init__(self) -> None:
        self.fresh: set[Path] = set()

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._inspect(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            torchrun.check_launcher(str(config.hydra.launcher.get("_target_", "")))
            if not str(config.hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper"):
                return  # another sweeper chooses its runs as it goes; each is checked when it starts
            jobs = _jobs(config)
        except Exception as error:
            raise Refused(error) from error
        if show_only:
            for job in jobs:
                _show(job)
            raise Shown
        planned = dict(self._inspect(job, "hydra.sweep.dir", "hydra.sweep.subdir") for job in jobs)
        _begin_record(Path(str(OmegaConf.select(jobs[0], "hydra.sweep.dir"))), planned)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        _end_record()

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """In a launcher's process too, to which Hydra hands this object as it was left before."""
        fresh_folders.update(self.fresh)

    def _inspect(self, config: DictConfig, *folder_keys: str) -> tuple[Path, dict[str, Any]]:
        """The run's folder and settings. Raises Refused."""
        try:
            settings = schema.check(config)
            torchrun.check(settings)
            folder = Path(*(str(OmegaConf.select(config, key)) for key in folder_keys)).absolute()
            if folder.exists():
                check_owner(folder, settings)
            else:
                self.fresh.add(folder)
        except Exception as error:
            raise Refused(error) from error
        return folder, settings


def _show(job: DictConfig) -> None:
    """Print a run's settings as one YAML document, headed by its overrides."""
    try:
        settings = schema.check(OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"]))
    except Exception as error:
        raise Refused(error) from error
    print(f"---\n# nc-run {' '.join(job.hydra.overrides.task)}\n{OmegaConf.to_yaml(settings)}", end="")


def _jobs(config: DictConfig) -> list[DictConfig]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    loader = GlobalHydra.instance().config_loader()
    params = config.hydra.sweeper.get("params") or {}
    arguments = [f"{key}={params[key]}" for key in params] + list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [loader.load_sweep_config(config, job) for batch in batches for job in batch]


def _begin_record(root: Path, planned: dict[Path, dict[str, Any]]) -> None:
    """List the sweep's runs for nc-status; a sweep does not fail for want of that."""
    global _record
    with suppress(OSError):
        _record = SweepRecord(root, planned)


def _end_record() -> None:
    global _record
    record, _record = _record, None
    if record is not None:
        with suppress(OSError):
            record.end()


def check_owner(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds another run; only an explicit hydra.run.dir can lead to one."""
    if not (folder / RUN_FILE).exists() or settings["overwrite"]:
        return
    held = read_run_file(folder).get("deciding")
    asked = schema.deciding_settings(settings)
    if held == asked:
        return
    differing = sorted(k for k in {*asked, *(held or {})} if asked.get(k) != (held or {}).get(k))
    raise RunFolderError(
        f"{folder} holds another run: {', '.join(differing[:4])} differ\n"
        "choose another hydra.run.dir, or give overwrite=true to start anew beside it"
    )


def explained(refused: Refused) -> tuple[str, int]:
    """Message and exit code of a refusal."""
    error = refused.error
    if isinstance(error, RunFolderError):
        return str(error), 1
    return explain(error), 2
