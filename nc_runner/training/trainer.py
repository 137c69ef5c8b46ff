"""The training loop of the paper's protocol, with measurements between epochs and exact resumption."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection
from typing import NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nc_runner.config.decay import has_objective
from nc_runner.config.learning_rates import LearningRate
from nc_runner.config.schema import Training
from nc_runner.data.dataset import Dataset
from nc_runner.distributed.data_parallel import parallel
from nc_runner.errors import DivergedError
from nc_runner.measurement.measurer import Measurer
from nc_runner.measurement.precision import float32_products
from nc_runner.measurement.result import Measurement
from nc_runner.training.checkpoint import TrainerState, random_state, restore_random_state
from nc_runner.training.devices import training_autocast
from nc_runner.training.optimizers import build_optimizer, differentiable_penalty


class Listener(Protocol):
    """What a training tells of itself."""

    def pause(self) -> None:
        """After each step, and before each batch of a measurement: may save the state, may raise to stop."""

    def measured(self, measurement: Measurement) -> None:
        """An epoch was measured that the schedule asks for; the row is complete."""

    def reached(self, epoch: int) -> None:
        """The network is as the row of this epoch describes it, or would: measured, refitted."""

    def epoch_done(self) -> None:
        """An epoch is done, measurement included."""


def seed_everything(seed: int) -> None:
    """Start every random generator anew; a sweep runs many runs in one process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  a custom network may draw from it
    torch.manual_seed(seed)


class Trainer:
    """One run in the making: a network, its optimizer, and how far it has come.

    ``epoch`` counts the epochs that are done, measurement included; ``step`` counts the steps of the next
    one. :meth:`state` between any two steps, and :meth:`restore`, continue to the same bit (CPU, fp32).

    Args:
        training: the settings of the loop.
        measurer: of the network that is trained; its ``plan.refit`` decides who trains the
            classifier, the optimizer or the measurement.
        analysed: epochs that have a row; 0 is the network at initialisation.
        device: where training computes; the data set is there already.
        dataset: what is trained on; None: the data set that is measured.
    """

    def __init__(
        self,
        training: Training,
        measurer: Measurer,
        analysed: Collection[int],
        device: torch.device,
        dataset: Dataset | None = None,
    ) -> None:
        self.training = training
        self.measurer = measurer
        self.network = measurer.network
        self.dataset = measurer.dataset if dataset is None else dataset
        self.loss_function = measurer.loss_function
        self.group = measurer.group
        self.device = device
        self.epochs = training.epochs
        self.analysed = set(analysed)
        self.steps = len(self.dataset.train) // training.batch_size
        self.learning_rate = LearningRate(training, self.steps)
        self.refits = measurer.plan.refit
        if self.refits:
            self.network.classifier.requires_grad_(False)
        self.network.model.to(device)
        if training.channels_last:
            self.network.model.to(memory_format=torch.channels_last)
        self.forward: Callable[[Tensor], Tensor] = self.network.model
        if training.compile:
            self.forward = torch.compile(self.network.model)
        self.optimizer = build_optimizer(self.network, training, device)
        self.minimises = isinstance(self.optimizer, torch.optim.LBFGS)
        self.shuffler = torch.Generator().manual_seed(training.seed)
        self.epoch_start = self.shuffler.get_state()
        self.epoch = 0
        self.step = 0
        self.train_seconds = 0.0  # of training since the last row
        # how many ranks computed the run, and from which epoch on
        self.history = [{"from_epoch": 0, "processes": self.group.world_size}]

    def distribute(self) -> None:
        """Share the steps with the other ranks, all of them at this point; before :meth:`restore`."""
        if self.group.world_size == 1:
            return
        channels_last = self.training.channels_last
        two = self.dataset.normalise(next(self.dataset.train.blocks(2)), channels_last=channels_last)
        self.forward = parallel(self.network.model, two, self.device)
        if self.training.compile:
            self.forward = torch.compile(self.forward)
        self._seed_ranks_apart()

    def end_distribution(self) -> None:
        """The run has ended: let go of the process group, which other runs go on to use."""
        self.forward = self.network.model

    def _seed_ranks_apart(self) -> None:
        """Other random numbers on each rank, or dropout would drop the same units of different images."""
        if self.group.rank:
            seed_everything((self.training.seed + (self.group.rank << 32) + self.epoch) % 2**63)

    def lr_at(self, epoch: int) -> float:
        """The learning rate of an epoch's last step; epochs count from 1."""
        return self.learning_rate.of_epoch(epoch)

    def run(self, listener: Listener) -> None:
        """Train to the last epoch. Raises DivergedError, on all ranks, when a number is no longer finite."""
        if self.epoch == self.step == 0 and (self.refits or 0 in self.analysed):
            self._reach(0, listener)
        while self.epoch < self.epochs:
            self._train_epoch(listener)
            self._reach(self.epoch + 1, listener)
            self.epoch += 1
            self.step = 0
            self.epoch_start = self.shuffler.get_state()
            listener.epoch_done()

    def _train_epoch(self, listener: Listener) -> None:
        began = time.perf_counter()
        train, training = self.dataset.train, self.training
        self.shuffler.set_state(self.epoch_start)
        order = torch.randperm(len(train), generator=self.shuffler).to(self.device)
        batches = order[: self.steps * training.batch_size].view(self.steps, -1)
        share = self.group.share(training.batch_size)
        self.network.model.train()
        total = torch.zeros((), device=self.device)  # summed there: no synchronisation inside the epoch
        with float32_products(tf32=training.precision == "tf32"):
            for pixels, labels in self.dataset.training_batches(batches, self.epoch, self.step, share):
                images = self.dataset.normalise(pixels, channels_last=training.channels_last)
                self._set_learning_rate()
                if self.minimises:
                    total += self._minimise(images, labels)
                else:
                    loss = self._loss(images, labels)
                    self.optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    self.optimizer.step()
                    total += loss.detach()
                self.step += 1
                listener.pause()
        total = self.group.sum(total)
        finite = math.isfinite(float(total))  # synchronises with the device, once an epoch
        self.train_seconds += time.perf_counter() - began
        if not finite:
            self._diverged(self.epoch + 1)

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with training_autocast(self.training.precision, self.device):
            outputs = self.forward(images)
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        return self.loss_function(outputs, labels)

    def _minimise(self, images: Tensor, labels: Tensor) -> Tensor:
        """A step of an optimizer that evaluates the objective, penalty included, as often as it wants."""

        def objective() -> Tensor:
            self.optimizer.zero_grad(set_to_none=True)
            value = self._loss(images, labels) + differentiable_penalty(self.network, self.training)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        self.optimizer.step(objective)  # type: ignore[arg-type]  # torch's type: the closure returns a float
        return self._loss(images, labels).detach()

    def _set_learning_rate(self) -> None:
        rate = self.learning_rate(self.epoch + 1, self.step)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate

    def _reach(self, epoch: int, listener: Listener) -> None:
        """Measure the network after ``epoch``, where the schedule or a refit asks for it.

        A state that is saved in between has the steps of the epoch before it, so that a resumed run measures
        anew; the first one after epoch 0 has a step of epoch 1.
        """
        analysed = epoch in self.analysed
        if analysed or self.refits:
            began = time.perf_counter()
            self.group.align(self.network.model.buffers())
            measurement = self._measure(epoch, listener, whole=analysed)
            if analysed:
                listener.measured(self._completed(epoch, measurement, time.perf_counter() - began))
                self.train_seconds = 0.0
        listener.reached(epoch)

    def _measure(self, epoch: int, listener: Listener, *, whole: bool) -> Measurement:
        """``whole``: all that a row has, not only what a refit needs."""
        measurer, pause = self.measurer, listener.pause
        try:
            measurement = (
                measurer.measure(pause, with_layers=True) if whole else Measurement(measurer.refit(pause), [])
            )
        except DivergedError as error:
            self._diverged(epoch, error)
        objective = has_objective(self.training)  # without one, train_loss_regularized is NaN
        finite = math.isfinite(measurement.row["train_loss_regularized" if objective else "train_loss"])
        if self.group.agree(not finite)[0]:
            self._diverged(epoch)
        return measurement

    def _completed(self, epoch: int, measurement: Measurement, analysis_seconds: float) -> Measurement:
        """With the columns that the measurement does not know."""
        row = {
            "epoch": epoch,
            "lr": self.lr_at(epoch) if epoch else math.nan,  # there was no step yet
            **measurement.row,
            "train_seconds": self.train_seconds,
            "analysis_seconds": analysis_seconds,
        }
        return Measurement(row, [{"epoch": epoch, **layer} for layer in measurement.layers])

    def _diverged(self, epoch: int, cause: DivergedError | None = None) -> NoReturn:
        if epoch == 0:
            raise DivergedError(
                "the loss is not finite at initialisation, before the first step\n"
                "look at the data's mean and std, and at the network's initial weights"
            ) from cause
        raise DivergedError(
            f"the loss is no longer finite in epoch {epoch}, at lr={self.lr_at(epoch):g}\n"
            f"try a smaller learning rate, such as lr={self.training.lr / 3:.2g}"
        ) from cause

    def state(self) -> TrainerState:
        """All that the rest of the run depends on. All ranks must ask, at the same step."""
        return {
            "model": self.network.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "epoch_start": self.epoch_start,
            "random": random_state(),
            "random_of_processes": self.group.all_of(random_state()) if self.group.world_size > 1 else [],
            "history": self.history,
            "train_seconds": self.train_seconds,
        }

    def restore(self, state: TrainerState) -> None:
        """Continue from a state of the same settings; any error means that it does not fit."""
        self.network.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.epoch_start = state["epoch_start"]
        self.shuffler.set_state(self.epoch_start)
        self.train_seconds = state["train_seconds"]
        self.history = state.get("history", [{"from_epoch": 0, "processes": 1}])
        if self.history[-1]["processes"] != self.group.world_size:
            now = {"from_epoch": self.epoch, "processes": self.group.world_size}
            self.history = [*self.history, now]
        restore_random_state(state["random"])
        of_ranks = state.get("random_of_processes", [])
        if self.group.world_size == len(of_ranks):
            restore_random_state(of_ranks[self.group.rank])
        else:
            self._seed_ranks_apart()


def parameter_count(model: nn.Module) -> int:
    """Numbers in all parameters."""
    return sum(p.numel() for p in model.parameters())
