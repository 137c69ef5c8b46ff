"""Refuses bad settings before Hydra makes a folder: for a single run, and for every run of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from nc_runner import runs
from nc_runner.commands.messages import explain
from nc_runner.errors import RunFolderError
from nc_runner.experiment import schema

fresh_folders: set[Path] = set()  # run folders of this command that were not there when it began


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
        if not str(config.hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper"):
            return  # another sweeper chooses its runs as it goes; each is checked when it starts
        try:
            jobs = _jobs(config)
        except Exception as error:
            raise Refused(error) from error
        for job in jobs:
            self._inspect(job, "hydra.sweep.dir", "hydra.sweep.subdir")

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """In a launcher's process too, to which Hydra hands this object as it was left before."""
        fresh_folders.update(self.fresh)

    def _inspect(self, config: DictConfig, *folder_keys: str) -> None:
        try:
            settings = schema.check(config)
            folder = Path(*(str(OmegaConf.select(config, key)) for key in folder_keys)).absolute()
            if folder.exists():
                check_owner(folder, settings)
            else:
                self.fresh.add(folder)
        except Exception as error:
            raise Refused(error) from error


def _jobs(config: DictConfig) -> list[DictConfig]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    loader = GlobalHydra.instance().config_loader()
    params = config.hydra.sweeper.get("params") or {}
    arguments = [f"{key}={params[key]}" for key in params] + list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [loader.load_sweep_config(config, job) for batch in batches for job in batch]


def check_owner(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds another run; only an explicit hydra.run.dir can lead to one."""
    if not (folder / runs.RUN_FILE).exists() or settings["overwrite"]:
        return
    held = runs.read_run_file(folder).get("deciding")
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
