"""The forward pass of a measurement: last-layer features and outputs of all images of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nc_runner.data.dataset import AnySplit, Dataset
from nc_runner.distributed.group import ALONE, Group
from nc_runner.errors import DivergedError
from nc_runner.measurement.precision import full_precision, images_at_a_time, is_finite
from nc_runner.measurement.samples import Fit, LossFunction, Samples
from nc_runner.measurement.tables import Rows
from nc_runner.networks import Network

Pause = Callable[[], None]  # called before each batch; may raise to stop the measurement


def no_pause() -> None:
    """The pause of a measurement that nobody stops."""


@dataclass(frozen=True, eq=False)
class Responses(Samples):
    """What a network makes of a split, or of one rank's part of it: with ``outputs`` (N, C)."""

    outputs: Tensor

    def fit(self, loss_function: LossFunction, group: Group = ALONE) -> Fit:
        """Mean loss over the whole split, accuracy, and the classes predicted for this rank's samples."""
        outputs = group.gather(self.outputs)  # a loss need not be a mean over images
        labels = group.gather(self.labels).to(outputs.device)
        correct = int((outputs.argmax(dim=1) == labels).sum())
        return Fit(float(loss_function(outputs, labels)), correct / len(labels), self.outputs.argmax(dim=1))


@dataclass(frozen=True, eq=False)
class Forward:
    """Passes the images of a data set through a network in eval mode, ``batch_size`` at a time, at most.

    In float32 without TF32, whatever autocast or precision the caller trains with. Of several ranks each
    passes whole batches of its own: an image then meets the same neighbours as in one process, and its
    features have the same bits.
    """

    network: Network
    dataset: Dataset
    batch_size: int = 512
    channels_last: bool = True
    group: Group = ALONE

    def part(self, split: AnySplit) -> AnySplit:
        """This rank's images of a split: neighbours, none where there are fewer batches than ranks."""
        if self.group.world_size == 1:
            return split
        return split.part(self.group.share(len(split), self.batch_size))

    @torch.inference_mode()
    def respond(self, split: AnySplit, pause: Pause = no_pause) -> Responses:
        """One forward pass over ``split``.

        ``pause`` is called before each batch, equally often on all ranks.

        Raises DivergedError, on all ranks, where a feature or an output is not finite.
        """
        self.network.model.eval()
        own = self.part(split)
        features, outputs = Rows(len(own)), Rows(len(own))
        at_a_time = images_at_a_time(self.dataset.image_size, split.device)
        # a rank without a part passes one image, for the shapes, and keeps nothing of it
        source = own if len(own) else split.part(slice(0, 1))
        passes = 0
        with full_precision(split.device):
            for block in source.blocks(self.batch_size):
                pause()
                passes += 1
                for images in torch.tensor_split(block, -(-len(block) // at_a_time)):
                    batch = self.dataset.normalise(images, channels_last=self.channels_last)
                    batch_outputs, batch_features = self.network.forward_with_features(batch)
                    features.append(batch_features)
                    outputs.append(batch_outputs)
        if self.group.world_size > 1:
            for _ in range(passes, self.group.pieces(len(split), self.batch_size)):
                pause()
        responses = Responses(features.table, own.labels, outputs.table)
        wrong = not (is_finite(responses.features) and is_finite(responses.outputs))
        if self.group.agree(wrong)[0]:
            raise DivergedError(
                "the network's features or outputs are not finite\ntry a smaller learning rate"
            )
        return responses
