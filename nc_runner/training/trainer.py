"""The training loop of the paper's protocol, with measurements between epochs and exact resumption."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nc_runner.config.schema import analysed_epochs, milestone_epochs
from nc_runner.data.dataset import Dataset
from nc_runner.distributed.group import ALONE, Processes, parallel
from nc_runner.errors import DivergedError
from nc_runner.measurement.layers import find_layers
from nc_runner.measurement.measurer import LossFunction, measure
from nc_runner.networks import Network
from nc_runner.training.checkpoint import random_state, restore_random_state
from nc_runner.training.devices import float32_products, training_autocast


def seed_everything(seed: int) -> None:
    """Start every random generator anew; a sweep runs many runs in one process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  an own network may draw from it
    torch.manual_seed(seed)


class Trainer:
    """One run in the making: a network, its optimiser, and how far it has come.

    ``epoch`` counts the epochs that are done, measurement included; ``step`` counts the steps of the next
    one. :meth:`state` between any two steps, and :meth:`restore`, go on to the same bit (CPU, fp32).
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        network: Network,
        dataset: Dataset,
        loss_function: LossFunction,
        device: torch.device,
    ) -> None:
        self.settings = dict(settings)
        self.network = network
        self.dataset = dataset
        self.loss_function = loss_function
        self.device = device
        self.epochs: int = settings["epochs"]
        self.steps = len(dataset.train.labels) // settings["batch_size"]
        self.analysed = set(analysed_epochs(settings["analysis"]["schedule"], self.epochs))
        self.milestones = milestone_epochs(settings["lr_milestones"], self.epochs)
        refitted = settings["classifier"] == "least_squares"
        black = torch.zeros(2, *dataset.train.shape[1:], device=network.classifier.weight.device)
        self.layers = find_layers(network, settings["analysis"]["layers"], black, refitted=refitted)
        if refitted:
            network.classifier.requires_grad_(False)
        network.model.to(device)
        if settings["channels_last"]:
            network.model.to(memory_format=torch.channels_last)
        self.forward: Callable[[Tensor], Tensor] = network.model
        if settings["compile"]:
            self.forward = torch.compile(network.model)
        self.optimizer = torch.optim.SGD(
            [p for p in network.model.parameters() if p.requires_grad],
            lr=settings["lr"],
            momentum=settings["momentum"],
            weight_decay=settings["weight_decay"],
            fused=device.type in ("cuda", "cpu"),
        )
        self.shuffler = torch.Generator().manual_seed(settings["seed"])
        self.epoch_start = self.shuffler.get_state()
        self.epoch = 0
        self.step = 0
        self.train_seconds = 0.0  # of training since the last row
        self.processes = ALONE
        self.history = [{"from_epoch": 0, "processes": 1}]  # how many computed the run, and from when on

    def distribute(self, processes: Processes) -> None:
        """Take part in a run of several processes, all of them at this point; before :meth:`restore`."""
        if processes.size == 1:
            return
        self.processes = processes
        self.history = [{"from_epoch": 0, "processes": processes.size}]
        own = not str(self.settings["net"]["_target_"]).startswith("nc_runner.")
        two = self.dataset.normalise(next(self.dataset.train.blocks(2)), self.settings["channels_last"])
        self.forward = parallel(self.network.model, two, self.device, own=own)
        if self.settings["compile"]:
            self.forward = torch.compile(self.forward)
        self._part_ways()

    def _part_ways(self) -> None:
        """Other random numbers on each process, or dropout would drop the same units of different images."""
        if self.processes.rank:
            seed_everything((self.settings["seed"] + (self.processes.rank << 32) + self.epoch) % 2**63)

    def lr_at(self, epoch: int) -> float:
        """The learning rate used in an epoch, counted from 1."""
        drops = sum(epoch > milestone for milestone in self.milestones)
        return float(self.settings["lr"] * self.settings["lr_gamma"] ** drops)

    def run(
        self,
        on_step: Callable[[], None],
        on_row: Callable[[dict[str, Any]], None],
        on_epoch: Callable[[], None],
        on_layers: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    ) -> None:
        """Train to the last epoch.

        ``on_step`` is called after every step and before every batch of a measurement: it may save
        :meth:`state`, and may raise to stop. ``on_row`` is given each row, when the epoch is measured,
        and before it ``on_layers`` those of the inner layers, if any. ``on_epoch``: an epoch is done.
        Raises DivergedError when the loss is no longer finite.
        """
        if self.settings["classifier"] == "least_squares" and self.epoch == self.step == 0:
            measure(
                self.network, self.dataset, self.loss_function, self.settings, on_step, None, self.processes
            )
        while self.epoch < self.epochs:
            self._train_epoch(on_step)
            if self.epoch + 1 in self.analysed or self.settings["classifier"] == "least_squares":
                row, layer_rows = self._measure(on_step)
                if row["epoch"] in self.analysed:
                    if layer_rows:
                        on_layers(layer_rows)
                    on_row(row)
                    self.train_seconds = 0.0
            self.epoch += 1
            self.step = 0
            self.epoch_start = self.shuffler.get_state()
            on_epoch()

    def _train_epoch(self, on_step: Callable[[], None]) -> None:
        began = time.perf_counter()
        train, dataset = self.dataset.train, self.dataset
        self.shuffler.set_state(self.epoch_start)
        order = torch.randperm(len(train.labels), generator=self.shuffler).to(self.device)
        batches = order[: self.steps * self.settings["batch_size"]].view(self.steps, -1)
        batches = self.processes.slices(batches)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr_at(self.epoch + 1)
        self.network.model.train()
        total = torch.zeros((), device=self.device)  # summed there: no synchronisation inside the epoch
        with float32_products(tf32=self.settings["precision"] == "tf32"):
            for pixels, labels in train.batches(batches[self.step :]):
                images = dataset.normalise(pixels, channels_last=self.settings["channels_last"])
                with training_autocast(self.settings["precision"], self.device):
                    outputs = self.forward(images)
                loss = self.loss_function(outputs.float(), labels)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                total += loss.detach()
                self.step += 1
                on_step()
        total = self.processes.sum(total)
        finite = math.isfinite(float(total))  # synchronises with the device, once an epoch
        self.train_seconds += time.perf_counter() - began
        if not finite:
            raise self._diverged()

    def _measure(self, pause: Callable[[], None]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The row of this epoch, and those of the inner layers."""
        began = time.perf_counter()
        epoch = self.epoch + 1
        layers = self.layers if epoch in self.analysed else None
        self.processes.align(self.network.model.buffers())
        measured = measure(
            self.network, self.dataset, self.loss_function, self.settings, pause, layers, self.processes
        )
        if not math.isfinite(measured["train_loss_regularized"]):
            raise self._diverged()
        layer_rows = layers.rows(self.dataset, epoch, self.processes) if layers else []
        row = {
            "epoch": epoch,
            "lr": self.lr_at(epoch),
            **measured,
            "train_seconds": self.train_seconds,
            "analysis_seconds": time.perf_counter() - began,
        }
        return row, layer_rows

    def _diverged(self) -> DivergedError:
        lr = self.lr_at(self.epoch + 1)
        return DivergedError(
            f"the loss is no longer finite in epoch {self.epoch + 1}, at lr={lr:g}\n"
            f"try a smaller learning rate, such as lr={self.settings['lr'] / 3:.2g}"
        )

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on. Of several processes all must ask, at the same step."""
        return {
            "model": self.network.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "epoch_start": self.epoch_start,
            "random": random_state(),
            "random_of_processes": self.processes.all_of(random_state()) if self.processes.size > 1 else [],
            "history": self.history,
            "train_seconds": self.train_seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same settings; any error means that it does not fit."""
        self.network.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.epoch_start = state["epoch_start"]
        self.shuffler.set_state(self.epoch_start)
        self.train_seconds = state["train_seconds"]
        self.history = state.get("history", [{"from_epoch": 0, "processes": 1}])
        if self.history[-1]["processes"] != self.processes.size:
            self.history = [*self.history, {"from_epoch": self.epoch, "processes": self.processes.size}]
        restore_random_state(state["random"])
        others = state.get("random_of_processes", [])
        if self.processes.size == len(others):
            restore_random_state(others[self.processes.rank])
        else:
            self._part_ways()


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
