"""Batch norm's statistics computed anew for the current weights, for the length of a measurement.

Running statistics are averages over training's last steps, and so lag behind the weights. Those of
:func:`recomputed` are what training's own batches have at the current weights: every batch is normalised by
its own mean and variance, as in training, and what a layer sees is pooled over all batches (the variance
within batches and that between their means). In the first batch norm that is exactly the mean and variance of
the whole set; in deeper ones, but for what the other batch norms' batches differ by; and with one batch
everywhere. So what differs from running statistics is the lag alone, not the size of the batches, in one
pass; the whole set at once, layer by layer, would take a pass for each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nc_runner.data.dataset import Dataset
from nc_runner.data.draws import generator_of
from nc_runner.distributed.group import ALONE, Group
from nc_runner.measurement.forward import Pause, no_pause
from nc_runner.measurement.precision import float64_device
from nc_runner.measurement.undisturbed import gpus_of, random_state_kept

Pass = Callable[[], object]  # one forward pass of the model


@dataclass(frozen=True, eq=False)
class Recomputation:
    """Which batches the statistics come from: all train images, plain, in seeded batches of training's size.

    They have ``batch_size`` images, or a few more: none is left out. ``beside``: the row keeps the running
    statistics, and further columns show what the others give.
    """

    dataset: Dataset
    batch_size: int
    seed: int
    channels_last: bool = True
    beside: bool = False

    @property
    def count(self) -> int:
        """How many batches there are: as many as an epoch has steps."""
        return max(1, len(self.dataset.train) // self.batch_size)

    def batches(self, group: Group = ALONE) -> Iterator[Tensor]:
        """This rank's batches, normalised; whole ones, so that they do not depend on the number of ranks."""
        train = self.dataset.train
        order = torch.randperm(len(train), generator=generator_of("batchnorm", self.seed))
        own = order.tensor_split(self.count)[group.share(self.count)]
        for images, _ in train.batches([batch.to(train.device) for batch in own]) if own else ():
            yield self.dataset.normalise(images, channels_last=self.channels_last)

    @contextmanager
    def of(self, model: nn.Module, group: Group, pause: Pause) -> Iterator[Pause]:
        """See :func:`recomputed`."""
        passes = (partial(model, images) for images in self.batches(group))
        with recomputed(model, passes, group, pause, group.pieces(self.count, 1)) as paused:
            yield paused


@contextmanager
def recomputed(
    model: nn.Module, passes: Iterable[Pass], group: Group = ALONE, pause: Pause = no_pause, most: int = 0
) -> Iterator[Pause]:
    """Inside, the model's batch norms have the statistics of ``passes``; after, their own again, to the bit.

    The model is put into eval mode, and in the passes batch norms alone are in train mode. The passes leave
    the random state as it was. Without batch norms that keep statistics nothing is passed, nothing changes.

    Args:
        passes: forward passes of one batch each, of this rank.
        pause: called before each pass.
        most: the most passes that a rank has; all ranks pause so often.

    Yields the pause for what is done inside. Whenever ``pause`` is called, the model has its own statistics:
    a checkpoint that it takes holds those.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    if not norms:
        yield pause
        return
    own = _buffers(norms)

    def paused() -> None:
        inside = _buffers(norms)
        _put(norms, own)
        pause()
        _put(norms, inside)

    try:
        model.eval()
        moments = [_Moments.none(norm) for norm in norms]
        with torch.no_grad(), random_state_kept(*gpus_of(_statistics(norms[0])[0].device)):
            done = _pass_all(norms, moments, passes, paused)
            for _ in range(done, most):
                paused()
            _put(norms, own)
            for norm, pooled in zip(norms, _merged(moments, group), strict=True):
                pooled.write_into(norm)
        yield paused
    finally:
        _put(norms, own)


class _Moments:
    """Count, mean and sum of squared deviations of what a batch norm has seen, by channel, in float64."""

    def __init__(self, count: float, mean: Tensor, squares: Tensor) -> None:
        self.count, self.mean, self.squares = count, mean, squares

    @classmethod
    def none(cls, norm: _BatchNorm) -> _Moments:
        device = float64_device(_statistics(norm)[0].device)
        zeros = torch.zeros(norm.num_features, dtype=torch.float64, device=device)
        return cls(0, zeros, zeros.clone())

    def add(self, count: float, mean: Tensor, squares: Tensor) -> None:
        """Chan, Golub & LeVeque 1983."""
        if not count:
            return
        both = self.count + count
        gap = mean - self.mean
        self.mean = self.mean + gap * (count / both)
        self.squares = self.squares + squares + gap**2 * (self.count * count / both)
        self.count = both

    def write_into(self, norm: _BatchNorm) -> None:
        """As running statistics: the variance over n - 1, as torch's batch norm keeps it."""
        if self.count > 1:
            mean, variance = _statistics(norm)
            mean.copy_(self.mean)
            variance.copy_(self.squares / (self.count - 1))


def _pass_all(
    norms: Sequence[_BatchNorm], moments: Sequence[_Moments], passes: Iterable[Pass], pause: Pause
) -> int:
    """Carry out the passes with batch norms in train mode, and note what each sees; the number of passes."""
    done = 0
    with ExitStack() as changes:
        for norm, seen in zip(norms, moments, strict=True):
            changes.enter_context(_in_train_mode(norm))
            changes.callback(norm.register_forward_hook(partial(_note, seen), with_kwargs=True).remove)
        for one in passes:
            pause()
            for norm in norms:
                norm.reset_running_stats()  # 0 times a number that is not finite would stay
            one()
            done += 1
    return done


def _note(
    seen: _Moments, norm: _BatchNorm, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
) -> None:
    count = (args[0] if args else kwargs["input"]).numel() // norm.num_features
    mean, variance = (part.to(seen.mean.device, torch.float64, copy=True) for part in _statistics(norm))
    seen.add(count, mean, variance * (count - 1))


@contextmanager
def _in_train_mode(norm: _BatchNorm) -> Iterator[None]:
    """Inside, it normalises by each batch's own statistics, and then holds them alone.

    One that joins the batches of all ranks sees this rank's, which are whole ones here.
    """
    training, momentum = norm.training, norm.momentum
    norm.training, norm.momentum = True, 1.0
    if joins := isinstance(norm, nn.SyncBatchNorm):
        norm.forward = partial(_BatchNorm.forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        norm.training, norm.momentum = training, momentum
        if joins:
            del norm.forward


def _merged(moments: Sequence[_Moments], group: Group) -> list[_Moments]:
    """Of all ranks, in their order; with the same bits on each."""
    parts = [torch.cat([m.mean.new_tensor([m.count]), m.mean, m.squares]).cpu() for m in moments]
    of_ranks = group.gather(torch.cat(parts).unsqueeze(0))
    merged = [_Moments(0, torch.zeros_like(m.mean), torch.zeros_like(m.mean)) for m in moments]
    for numbers in of_ranks:
        pieces = numbers.split([len(part) for part in parts])
        for into, piece in zip(merged, pieces, strict=True):
            count, mean, squares = piece.to(into.mean.device).split([1, len(into.mean), len(into.mean)])
            into.add(float(count), mean, squares)
    return merged


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Running mean and variance, which it has."""
    return cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)


def _buffers(norms: Sequence[_BatchNorm]) -> list[list[Tensor]]:
    return [[buffer.clone() for buffer in norm.buffers()] for norm in norms]


def _put(norms: Sequence[_BatchNorm], held: Sequence[Sequence[Tensor]]) -> None:
    with torch.no_grad():
        for norm, buffers in zip(norms, held, strict=True):
            for buffer, value in zip(norm.buffers(), buffers, strict=True):
                buffer.copy_(value)
