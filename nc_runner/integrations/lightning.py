"""A Lightning callback that measures Neural Collapse while the trainer trains.

Works with ``lightning`` and, where that is not installed, with ``pytorch_lightning``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from nc_runner.errors import MeasurementError, NCRunnerError
from nc_runner.integrations.loaders import First, in_order
from nc_runner.integrations.options import Options, Schedule, submodule
from nc_runner.integrations.recording import Batches, Recording, described, known
from nc_runner.runs.measured import Source

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback

_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class NeuralCollapse(Callback):
    """Measures the module after chosen epochs, logs the row, and writes it to a run folder.

    The training is not disturbed: its weights are the same to the bit as without the callback. The row's
    columns are logged at the end of the epoch, so that other callbacks can monitor ``nc/nc1``; the row of
    epoch 0 goes to the loggers at step 0. Of several processes the first one measures, on all data, while the
    others wait; each logs the row. A module that is sharded over processes cannot be measured.

    Args:
        model: name of the part of the LightningModule that is measured, such as ``net``; by default the
            module itself, which is called with the inputs.
        train: batches of the train set; by default those of the trainer's train dataloader, each sample once
            and in order, through the module's hooks that transfer a batch. Random transforms of the data set
            are applied: give ``train`` without them for numbers that compare between epochs.
        test: batches of the test set; ``val``: those of the val dataloader, where there is one; None: none.
        ood: batches of out-of-distribution data.
        every: measure after every n-th epoch, or after the epochs of a list; 0: before the first step.
        at_start: measure before the first step, too.
        prefix: of the names that are logged.
        out: a run folder to write, for nc-plot, nc-status and nc_runner.read_runs.
        overwrite: replace the rows of an earlier training in ``out``.
        source: what the run folder says the rows are of; by default the names of the classes.
        options: of :func:`nc_runner.measure`: metrics, layers, classifier, loss, ridge, weight_decay,
            min_samples, ...

    Attributes:
        rows: the rows of this training so far, with all digits.

    Raises:
        ConfigError: an option that there is not, or wrong epochs.
        MeasurementError: in training, where the module or the batches cannot be measured.
    """

    def __init__(
        self,
        *,
        model: str = "",
        train: Iterable[object] | None = None,
        test: Iterable[object] | str | None = "val",
        ood: Iterable[object] | None = None,
        every: int | Iterable[int] = 1,
        at_start: bool = False,
        prefix: str = "nc/",
        out: str | Path | None = None,
        overwrite: bool = False,
        source: Source | None = None,
        **options: Any,
    ) -> None:
        if isinstance(test, str) and test != "val":
            raise MeasurementError(f"test={test} is unknown\ngive val, batches, or None")
        self.model = model
        self.given = _Given(train, test, ood)
        self.schedule = Schedule.of(every, at_start)
        self.prefix = prefix
        self.source = source
        self.recording = Recording(Options(options), None if out is None else Path(out), overwrite)
        self._rates: dict[int, set[float]] = {}  # of each optimizer's last step

    @property
    def rows(self) -> list[dict[str, float]]:
        return self.recording.rows

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rates = {}
        _on_first(trainer, lambda: self._start(trainer, pl_module))
        if trainer.global_step == 0 and 0 in self.schedule:
            row = self._measured(trainer, pl_module, 0)
            for logger in trainer.loggers:
                logger.log_metrics(known(row, self.prefix), step=0)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self._rates[id(optimizer)] = {float(group["lr"]) for group in optimizer.param_groups}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch in self.schedule:
            # the same on all processes; sync_dist keeps Lightning from warning about each column
            row = known(self._measured(trainer, pl_module, epoch), self.prefix)
            pl_module.log_dict(row, sync_dist=trainer.world_size > 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.recording.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.recording.fail(exception)

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        submodule(pl_module, self.model)
        self.given.batches(trainer, pl_module)
        rates = {float(group["lr"]) for optimizer in trainer.optimizers for group in optimizer.param_groups}
        names = Source(
            type(pl_module).__name__, _data_name(trainer), self.recording.options.loss_name,
            settings={"lr": rates.pop()} if len(rates) == 1 else {},
        )  # fmt: skip
        epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs > 0 else None
        source = described(self.source, names, epochs)
        test = trainer.enable_validation if isinstance(self.given.test, str) else self.given.test is not None
        further = self.recording.options.further_columns(test=test, ood=self.given.ood is not None)
        self.recording.start(
            source, further, resumed_at=trainer.current_epoch, write=not _flag(trainer, "fast_dev_run")
        )

    def _measured(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> dict[str, float]:
        """The row of an epoch, on all processes."""
        rates = set().union(*self._rates.values()) if len(self._rates) == 1 else set()
        lr = rates.pop() if len(rates) == 1 else math.nan

        def measured() -> dict[str, float]:
            batches = self.given.batches(trainer, pl_module)
            compiled = getattr(pl_module, "_compiler_ctx", None) is not None  # such code calls no hooks
            with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
                return self.recording.measure(submodule(pl_module, self.model), batches, epoch, lr)

        row: dict[str, float] = _on_first(trainer, measured)
        if not trainer.is_global_zero:
            self.rows.append(row)
        return row


@dataclass(frozen=True, eq=False)
class _Given:
    """The batches that the caller gave, or asked of the trainer."""

    train: Iterable[object] | None
    test: Iterable[object] | str | None
    ood: Iterable[object] | None

    def batches(self, trainer: Trainer, module: LightningModule) -> Batches:
        """In order, so that reading them changes nothing. Raises MeasurementError where there are none."""
        limited = _flag(trainer, "fast_dev_run") or _flag(trainer, "overfit_batches")

        def of_trainer(name: str, loaders: Any, count: Any) -> Iterable[object]:
            loader = _single(name, loaders)
            batches = _Transferred(in_order(loader), trainer, module)
            count = count[0] if isinstance(count, list) else count
            return First(batches, int(count)) if limited else batches

        train = self.train
        if train is None:
            train = of_trainer("train", trainer.train_dataloader, trainer.num_training_batches)
        else:
            train = in_order(train)
        test: Iterable[object] | None = None
        if isinstance(self.test, str):
            if trainer.val_dataloaders:
                test = of_trainer("test", trainer.val_dataloaders, trainer.num_val_batches)
        elif self.test is not None:
            test = in_order(self.test)
        return Batches(train, test, None if self.ood is None else in_order(self.ood))


class _Transferred:
    """Batches as the trainer hands them to the module: converted, moved, changed by the hooks for that."""

    def __init__(self, batches: Iterable[object], trainer: Trainer, module: LightningModule) -> None:
        self.batches = batches
        self.trainer = trainer
        self.module = module

    def __iter__(self) -> Iterator[object]:
        before, transfer, after = (getattr(self._owner(hook), hook) for hook in _HOOKS)
        for raw in self.batches:
            batch = before(self.trainer.precision_plugin.convert_input(raw), 0)
            yield after(transfer(batch, self.module.device, 0), 0)

    def _owner(self, hook: str) -> Any:
        """The data module where it defines the hook, as the trainer does."""
        data = getattr(self.trainer, "datamodule", None)
        mine = (kind for kind in type(data).__mro__ if "lightning" not in kind.__module__.partition(".")[0])
        return data if any(hook in vars(kind) for kind in mine) else self.module


def _on_first(trainer: Trainer, action: Any) -> Any:
    """The first process calls ``action``; all get its result, or raise its error."""
    outcome: Any = None
    if trainer.is_global_zero:
        try:
            outcome = action()
        except Exception as error:
            if trainer.world_size == 1:
                raise
            outcome = error if isinstance(error, NCRunnerError) else MeasurementError(repr(error))
    outcome = trainer.strategy.broadcast(outcome)
    if isinstance(outcome, NCRunnerError):
        raise outcome
    return outcome


def _flag(trainer: Trainer, name: str) -> bool:
    """Whether the trainer was told to use some of the batches only."""
    return bool(getattr(trainer, name, False))


def _single(name: str, loaders: Any) -> Iterable[object]:
    """The one loader of a split. Raises MeasurementError for none, and for several."""
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    found = list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]
    found = [loader for loader in found if loader is not None]
    if len(found) != 1:
        raise MeasurementError(
            f"the trainer has {len(found)} {name} dataloaders, not one\ngive {name}=batches"
        )
    single: Iterable[object] = found[0]
    return single


def _data_name(trainer: Trainer) -> str:
    data = getattr(trainer, "datamodule", None)
    if data is None:
        loader = trainer.train_dataloader
        data = loader.dataset if isinstance(loader, DataLoader) else None
    return "data" if data is None else type(data).__name__
