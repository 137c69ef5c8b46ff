"""Weights & Biases: a run there for each run here; offline, in the run folder, unless WANDB_MODE is set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nc_runner.runs.record import COMPLETE, INTERRUPTED
from nc_runner.runs.tracked import TrackedRun
from nc_runner.trackers.base import near

OFFLINE = "offline"
_OLDER_NAMES = {"dryrun": OFFLINE, "run": "online"}  # which wandb still takes
PROJECT = "nc-runner"
_UNASKED = {"WANDB_ERROR_REPORTING": "false"}  # reports of W&B's own failures to its makers
_SECONDS = 300  # that the upload of the last data may take, online
_EXIT_CODES = {COMPLETE: 0, INTERRUPTED: 143}  # anything else: 1


def mode() -> str:
    """Where the data goes: ``offline``, unless the user says otherwise by WANDB_MODE."""
    given = os.environ.get("WANDB_MODE") or OFFLINE
    return _OLDER_NAMES.get(given, given)


class WandB:
    """Logs rows under their column names, the epoch as the step, and nothing that wandb would add of its own:
    no console output, code, git state, package list, or figures of the machine.

    Offline, each start of the run writes a folder with all of its rows, and removes the folders of earlier
    starts: what is uploaded later is one whole run. Online, the run resumes there; rows that W&B has are not
    sent again.
    """

    def __init__(self, run: TrackedRun) -> None:
        for name, value in _UNASKED.items():
            os.environ.setdefault(name, value)
        import wandb

        offline = mode() == OFFLINE
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=os.environ.get("WANDB_DIR") or run.folder,
            id=run.memory.key,
            name=run.name,
            group=run.memory.group,
            config={**run.settings, **run.facts, "run_folder": str(run.folder), "identity": run.identity},
            resume=None if offline else "allow",
            reinit="create_new",
            settings=_settings(),
        )
        self._epoch = self._run.starting_step - 1
        upload = f"offline; to upload it: wandb sync {near(Path(self._run.settings.sync_dir))}"
        self.where = f"Weights & Biases: {upload if offline else self._run.url}"
        self._state("running", None)
        for row in run.rows():
            self.add(row)
        if offline:
            self._remove_earlier(Path(self._run.settings.sync_dir))

    def add(self, row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        if epoch > self._epoch:
            self._run.log(dict(row), step=epoch, commit=True)
            self._epoch = epoch

    def end(self, state: str, reason: str | None, figures: Sequence[Path]) -> None:
        if figures:
            images = {f"figures/{path.stem}": self._wandb.Image(str(path)) for path in figures}
            self._run.log(images, step=self._epoch + 1, commit=True)
        self._state(state, reason)
        if state == INTERRUPTED:
            self._run.mark_preempting()
        self._run.finish(exit_code=_EXIT_CODES.get(state, 1))

    def _state(self, state: str, reason: str | None) -> None:
        self._run.summary["state"] = state
        self._run.summary["reason"] = reason

    def _remove_earlier(self, current: Path) -> None:
        for folder in current.parent.glob(f"offline-run-*-{self._run.id}"):
            if folder != current:
                shutil.rmtree(folder, ignore_errors=True)
                folder.with_name(f"{folder.name}.synced").unlink(missing_ok=True)


def _settings() -> dict[str, Any]:
    """Quiet, and without what wandb collects beside what it is given."""
    return {
        "mode": mode(),
        "silent": True,
        "console": "off",
        "disable_code": True,
        "disable_git": True,
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        "login_timeout": 30,
        "init_timeout": 60,
        "finish_timeout": _SECONDS,
        "finish_timeout_raises": True,
    }
