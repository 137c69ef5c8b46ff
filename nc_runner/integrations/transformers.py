"""A callback for the Trainer of Hugging Face Transformers that measures Neural Collapse while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nc_runner.errors import ConfigError, MeasurementError, NCRunnerError
from nc_runner.integrations.loaders import in_order
from nc_runner.integrations.options import Options, Schedule, submodule
from nc_runner.integrations.recording import Batches, Recording, described, known
from nc_runner.measurement.undisturbed import random_state_kept
from nc_runner.runs.measured import Source


class NeuralCollapseCallback(TrainerCallback):
    """Measures the model after chosen epochs or evaluations, logs the row, and writes it to a run folder.

    Add it to a trainer that is there: ``trainer.add_callback(NeuralCollapseCallback(trainer))``. The row goes
    through ``trainer.log``: to ``trainer.state.log_history`` and to all reporters. The training is not
    disturbed: its weights are the same to the bit as without the callback. Of several processes the first one
    measures, on all data, while the others wait; a model that is sharded over processes cannot be measured.

    Args:
        trainer: whose data sets and collator are used, each sample once and in order, and which logs.
        model: name of the part of the model that is measured; by default the model itself.
        train: data set, or batches, to measure on; by default the trainer's train set.
        test: the same of the test set; ``eval``: the trainer's eval set, where there is one; None: none.
        ood: the same of out-of-distribution data.
        at: ``epoch``: measure after epochs; ``evaluation``: after evaluations in training, where the rows'
            ``epoch`` is the number of steps.
        every: measure after every n-th epoch or evaluation, or after those of a list; 0: before the first
            step.
        at_start: measure before the first step, too.
        prefix: of the names that are logged.
        out: a run folder to write, for nc-plot, nc-status and nc_runner.read_runs.
        overwrite: replace the rows of an earlier training in ``out``.
        source: what the run folder says the rows are of; by default the names of the classes.
        options: of :func:`nc_runner.measure`: metrics, layers, classifier, loss, ridge, weight_decay,
            min_samples, shift, ...

    Attributes:
        rows: the rows of this training so far, with all digits.

    Raises:
        ConfigError: an option that there is not, or wrong epochs.
        MeasurementError: in training, where the model or the batches cannot be measured.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        model: str = "",
        train: Iterable[object] | Dataset[Any] | None = None,
        test: Iterable[object] | Dataset[Any] | str | None = "eval",
        ood: Iterable[object] | Dataset[Any] | None = None,
        at: str = "epoch",
        every: int | Iterable[int] = 1,
        at_start: bool = False,
        prefix: str = "nc/",
        out: str | Path | None = None,
        overwrite: bool = False,
        source: Source | None = None,
        **options: Any,
    ) -> None:
        if at not in ("epoch", "evaluation"):
            raise ConfigError(f"at={at} is unknown\ngive epoch or evaluation")
        if isinstance(test, str) and test != "eval":
            raise MeasurementError(f"test={test} is unknown\ngive eval, a data set, batches, or None")
        self.trainer = trainer
        self.model = model
        self.given = train, test, ood
        self.at = at
        self.schedule = Schedule.of(every, at_start)
        self.prefix = prefix
        self.source = source
        self.recording = Recording(Options(options), None if out is None else Path(out), overwrite)
        self._batches: Batches | None = None  # while it trains, in the process that measures
        self._training = False
        self._evaluations = 0
        self._lr = math.nan  # of the last step

    @property
    def rows(self) -> list[dict[str, float]]:
        return self.recording.rows

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self._lr, self._evaluations, self._training = math.nan, 0, True
        self._on_first(state, lambda: self._start(args, state, given["model"]))
        if state.global_step == 0 and 0 in self.schedule:
            self._measure(state, given["model"], 0)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        groups = getattr(given.get("optimizer"), "param_groups", [])
        rates = {float(group["lr"]) for group in groups}
        self._lr = rates.pop() if len(rates) == 1 else math.nan

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        epoch = self._epoch(state)
        if self.at == "epoch" and epoch in self.schedule:
            self._measure(state, given["model"], epoch)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if not self._training or self.at != "evaluation" or self.recording.measured(state.global_step):
            return
        self._evaluations += 1
        if self._evaluations in self.schedule:
            self._measure(state, given["model"], state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self._training, self._batches = False, None
        self.recording.close()

    def _epoch(self, state: TrainerState) -> int:
        """The number of the epoch that was begun last; its end may have been cut off by ``max_steps``."""
        return math.ceil((state.epoch or 0.0) - 1e-6)

    def _start(self, args: TrainingArguments, state: TrainerState, model: nn.Module) -> None:
        submodule(model, self.model)
        with random_state_kept():
            train, test, ood = self.given
            if train is None:
                train = self.trainer.train_dataset
            if isinstance(test, str):
                test = self.trainer.eval_dataset
            self._batches = Batches(
                self._read("train", train), self._read("test", test), self._read("ood", ood)
            )
        further = self.recording.options.further_columns(test=test is not None, ood=ood is not None)
        names = Source(
            type(model).__name__, type(train).__name__, self.recording.options.loss_name,
            settings={"lr": float(args.learning_rate)},
        )  # fmt: skip
        by_epochs = self.at == "epoch"
        source = described(self.source, names, int(state.num_train_epochs) if by_epochs else state.max_steps)
        self.recording.start(
            source, further, resumed_at=self._epoch(state) if by_epochs else state.global_step
        )

    def _read(self, name: str, given: Any) -> Any:
        """Batches of a data set, as the trainer makes them; or those that the caller gave, in order."""
        if isinstance(given, dict):
            raise MeasurementError(f"the trainer has {len(given)} {name} data sets\ngive one as {name}=")
        if given is None and name == "train":
            raise MeasurementError("the trainer has no train data set\ngive train=")
        is_dataset = isinstance(given, Dataset) or hasattr(given, "column_names")
        loader = self.trainer.get_test_dataloader(given) if is_dataset else given
        return None if loader is None else in_order(loader)

    def _measure(self, state: TrainerState, model: nn.Module, epoch: int) -> None:
        def measured() -> dict[str, float]:
            if self._batches is None:
                raise MeasurementError("the training has not begun")
            return self.recording.measure(submodule(model, self.model), self._batches, epoch, self._lr)

        row = self._on_first(state, measured)
        if not state.is_world_process_zero:
            self.rows.append(row)
        self.trainer.log(known(row, self.prefix))

    def _on_first(self, state: TrainerState, action: Callable[[], Any]) -> Any:
        """The first process calls ``action``; all get its result, or raise its error."""
        outcome: Any = None
        if state.is_world_process_zero:
            try:
                outcome = action()
            except Exception as error:
                if self.trainer.args.world_size == 1:
                    raise
                outcome = error if isinstance(error, NCRunnerError) else MeasurementError(repr(error))
        (outcome,) = broadcast_object_list([outcome])
        if isinstance(outcome, NCRunnerError):
            raise outcome
        return outcome


__all__ = ["NeuralCollapseCallback", "Source"]
