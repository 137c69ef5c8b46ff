"""MLflow: a run there for each run here, in ``mlflow.db`` of the outputs folder or at MLFLOW_TRACKING_URI."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.config.validation import shown
from nc_runner.runs.record import COMPLETE, INTERRUPTED
from nc_runner.runs.tracked import TrackedRun
from nc_runner.trackers.base import near

if TYPE_CHECKING:
    from mlflow.entities import Run

DATABASE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"
EXPERIMENT = "nc-runner"
_DEFAULTS = {  # of MLflow's own settings, where the user has not set them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; a server that is gone must not hold up the training
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_SHOWN_AS = {"mlflow.experimentKind": "custom_model_development"}  # the experiment's kind, for MLflow's page
_STATUS = {COMPLETE: "FINISHED", INTERRUPTED: "KILLED"}  # anything else: FAILED
_PATIENCE = 300  # seconds for other processes that write the database: one that hangs must not stop this one
_LONGEST_TAG, _LONGEST_PARAMETER, _LARGEST_BATCH = 5000, 500, 900  # within the limits of MLflow's stores


def place() -> str:
    """The store, without the password that its address may have."""
    address = os.environ.get("MLFLOW_TRACKING_URI")
    return f"mlflow {hashlib.sha256(address.encode()).hexdigest()[:8]}" if address else "mlflow local"


class MLflow:
    """Logs rows as metrics under their column names, the epoch as the step; settings as parameters.

    Rows that the store has are not logged again: the metric ``epoch``, logged last, says how far it has them.
    """

    def __init__(self, run: TrackedRun, outputs: Path) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        address = os.environ.get("MLFLOW_TRACKING_URI")
        self._artifacts = None if address else (outputs / ARTIFACTS).resolve().as_uri()
        self._lock: AbstractContextManager[object] = nullcontext()
        if not address:  # SQLite has one writer at a time, and the first one makes the tables
            from filelock import FileLock

            address = f"sqlite:///{(outputs / DATABASE).resolve()}"
            self._lock = FileLock(outputs / f".{DATABASE}.lock", timeout=_PATIENCE)
        with self._lock:
            self._client = MlflowClient(address)
            held = self._found(run) or self._created(run)
            self._id = str(held.info.run_id)
            self._epoch = held.data.metrics.get("epoch", -1.0)
            self._client.update_run(self._id, status="RUNNING")
            self._log_settings(run, held.data.params)
            self._tag(state="running")
            if "reason" in held.data.tags:
                self._client.delete_tag(self._id, "reason")
        local = f"mlflow ui --backend-store-uri sqlite:///{near(outputs / DATABASE)}"
        self.where = f"MLflow: {local if self._artifacts else f'run {self._id} at MLFLOW_TRACKING_URI'}"
        for row in run.rows():
            self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        epoch = row["epoch"]
        if epoch <= self._epoch:
            return
        now, last = int(time.time() * 1000), {"epoch": epoch}
        metrics = [Metric(name, float(value), now, int(epoch)) for name, value in {**row, **last}.items()]
        metrics.sort(key=lambda metric: metric.key == "epoch")
        with self._lock:
            for begin in range(0, len(metrics), _LARGEST_BATCH):
                self._client.log_batch(self._id, metrics[begin : begin + _LARGEST_BATCH])
        self._epoch = epoch

    def end(self, state: str, reason: str | None, figures: Sequence[Path]) -> None:
        with self._lock:
            for path in figures:
                self._client.log_artifact(self._id, str(path), "figures")
            self._tag(state=state, **({"reason": reason} if reason else {}))
            self._client.set_terminated(self._id, _STATUS.get(state, "FAILED"))

    def _tag(self, **texts: str) -> None:
        for name, text in texts.items():
            self._client.set_tag(self._id, name, text[:_LONGEST_TAG])

    def _found(self, run: TrackedRun) -> Run | None:
        """The run in this store, if it was begun there before and was not deleted."""
        from mlflow.exceptions import MlflowException

        for known in run.memory.mlflow:
            try:
                held = self._client.get_run(known)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            else:
                if held.info.lifecycle_stage == "active":
                    return held
        return None

    def _created(self, run: TrackedRun) -> Run:
        tags = {
            "mlflow.source.name": "nc-run",
            "mlflow.source.type": "LOCAL",
            "mlflow.note.content": run.table(run.identity),
            "run_folder": str(run.folder),
            "identity": json.dumps(run.identity, sort_keys=True),
            **({"sweep": run.memory.group} if run.memory.group else {}),
            **{key: str(value) for key, value in run.facts.items()},
        }
        short = {key: text[:_LONGEST_TAG] for key, text in tags.items()}
        made = self._client.create_run(self._experiment(run), run_name=run.name, tags=short)
        run.remember(mlflow=(made.info.run_id, *run.memory.mlflow))
        return made

    def _log_settings(self, run: TrackedRun, held: Mapping[str, str]) -> None:
        """Those that the store does not have: parameters are never changed there."""
        from mlflow.entities import Param

        texts = {key: shown(value) for key, value in run.settings.items() if key not in held}
        parameters = [Param(key, text[:_LONGEST_PARAMETER]) for key, text in texts.items()]
        for begin in range(0, len(parameters), 100):  # MLflow's limit
            self._client.log_batch(self._id, params=parameters[begin : begin + 100])

    def _experiment(self, run: TrackedRun) -> str:
        """The id of MLFLOW_EXPERIMENT_NAME, where that is set, else of the sweep's or the common one."""
        from mlflow.exceptions import MlflowException

        group = f"{EXPERIMENT} {run.memory.group}" if run.memory.group else EXPERIMENT
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or group
        for _ in range(2):  # another process may make it at the same moment
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(self._client.create_experiment(name, self._artifacts, _SHOWN_AS))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        raise RuntimeError(f"the experiment {name} can be neither found nor made: was it deleted?")
