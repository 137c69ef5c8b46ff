"""What happens beside a training: stops, checkpoints, rows, trackers, progress. Only rank 0 writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nc_runner.config.schedules import weight_epochs
from nc_runner.config.schema import Recording
from nc_runner.measurement.result import Measurement
from nc_runner.runs.record import RunWriter
from nc_runner.training.advice import disk_advice
from nc_runner.training.checkpoint import Checkpoint, TrainerState, save_checkpoint
from nc_runner.training.progress import ProgressDisplay, describe
from nc_runner.training.signals import StopRequested, StopSignals
from nc_runner.training.trainer import Trainer
from nc_runner.training.weights import save_weights

log = logging.getLogger("nc_runner")


class Tracker(Protocol):
    """Takes the rows of one run elsewhere, as :class:`nc_runner.trackers.base.Trackers` does."""

    def add(self, row: Mapping[str, float]) -> None:
        """Take one row, by column; it is safe when this returns."""

    def close(self) -> None:
        """The run has ended or stops; its record says how."""


TrackerFactory = Callable[[Path], Tracker]  # opens a tracker for the run folder, when its rows are there
OpenTrackers = Callable[[], Sequence[Tracker]]  # opens all of a run's trackers


class Recorder:
    """Stops a training when a signal asks for it, and takes its checkpoints: on all ranks at the same step.

    This one writes nothing: that of all ranks but the first.
    """

    def __init__(self, trainer: Trainer, signals: StopSignals, recording: Recording) -> None:
        self.trainer = trainer
        self.signals = signals
        self.checkpoint_seconds = recording.checkpoint_seconds
        self._saved = time.monotonic()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pause(self) -> None:
        """After each step, and before each batch of a measurement. Raises StopRequested after saving."""
        due = time.monotonic() - self._saved > self.checkpoint_seconds > 0
        stop, save = self.trainer.group.agree(self.signals.received or 0, due)
        if stop or save:
            self._save()
        if stop:
            raise StopRequested(stop)

    def measured(self, measurement: Measurement) -> None:
        """An epoch was measured that the schedule asks for."""

    def reached(self, epoch: int) -> None:
        """The network is as the row of this epoch describes it, or would."""

    def epoch_done(self) -> None:
        """An epoch is done, measurement included."""
        if self.checkpoint_seconds == 0 or self.trainer.epoch == self.trainer.epochs:
            self._save()

    def _save(self) -> None:
        self._write(self.trainer.state())  # all ranks: each has a part of the state
        self._saved = time.monotonic()

    def _write(self, state: TrainerState) -> None:
        pass


class RunRecorder(Recorder):
    """Also writes rows, checkpoints and weights into the folder, hands rows to trackers, shows progress."""

    def __init__(
        self,
        trainer: Trainer,
        signals: StopSignals,
        recording: Recording,
        writer: RunWriter,
        display: ProgressDisplay,
        trackers: OpenTrackers = tuple,
    ) -> None:
        super().__init__(trainer, signals, recording)
        self.writer = writer
        self.display = display
        self.kept = set(weight_epochs(recording.keep_checkpoints, trainer.analysed))
        self._open_trackers = trackers
        self._trackers: Sequence[Tracker] = ()

    def __enter__(self) -> RunRecorder:
        self._trackers = self._open_trackers()
        self.display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.display.__exit__(*error)

    def pause(self) -> None:
        self.display.step(self.trainer.epoch + self.trainer.step / self.trainer.steps)
        super().pause()

    def measured(self, measurement: Measurement) -> None:
        row = measurement.row
        with disk_advice(self.writer.folder):
            if measurement.layers:
                self.writer.layers.append(*measurement.layers)
            self.writer.append(row)
        for tracker in self._trackers:
            tracker.add(row)
        log.info(describe(row, self.trainer.epochs, path=self.display.path))
        self.display.row(row)

    def reached(self, epoch: int) -> None:
        """Comes before any checkpoint in which the epoch is done: a run that resumes keeps what it lacks."""
        if epoch in self.kept:
            with disk_advice(self.writer.folder):
                save_weights(self.writer.folder, epoch, self.trainer.network.model.state_dict())

    def _write(self, state: TrainerState) -> None:
        with disk_advice(self.writer.folder):
            fingerprint, rows = self.trainer.dataset.fingerprint, self.writer.rows_text()
            layers = self.writer.layers.text() if self.trainer.measurer.layers.modules else None
            checkpoint = Checkpoint(**state, data_fingerprint=fingerprint, rows=rows, layer_rows=layers)
            save_checkpoint(self.writer.folder, checkpoint)
