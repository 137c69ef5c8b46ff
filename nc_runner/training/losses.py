"""From the ``loss`` settings to a callable (outputs (B, C), labels (B,)) -> mean loss over the batch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nc_runner.config.loss_schema import Loss
from nc_runner.config.plugins import check_arguments, locate, reason
from nc_runner.errors import ConfigError, NCRunnerError
from nc_runner.measurement.losses import cross_entropy, focal, mse, mse_rescaled, squared_hinge
from nc_runner.measurement.samples import LossFunction

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": mse,
    "mse_rescaled": mse_rescaled,
    "ce": cross_entropy,
    "focal": focal,
    "hinge": squared_hinge,
}


def check_loss(loss: Loss) -> None:
    """Find a custom loss's callable, and check that it takes the arguments that the settings give.

    Does nothing for the losses that ship. Raises ConfigError.
    """
    if loss.target not in LOSSES:
        _located(loss)


def build_loss(loss: Loss) -> LossFunction:
    """The loss that the ``loss`` settings describe.

    ``loss.target`` is a name that ships, or the path of a callable. A function gets (outputs, labels), and
    the further settings as keyword arguments; a class, as ``torch.nn.CrossEntropyLoss``, is made with the
    further settings, and what it makes gets (outputs, labels).

    Raises:
        ConfigError: the path leads nowhere, the callable does not take these arguments, or the class fails.
    """
    if loss.target in LOSSES:
        function, settings = LOSSES[loss.target], loss.model_dump(exclude={"target", "name"}, by_alias=True)
        usual = inspect.signature(function).parameters
        settings = {key: value for key, value in settings.items() if value != usual[key].default}
        return functools.partial(function, **settings) if settings else function
    target, arguments = _located(loss), loss.model_extra or {}
    if not inspect.isclass(target):
        return functools.partial(target, **arguments) if arguments else target
    try:
        with torch.random.fork_rng(devices=[]):  # what it draws must not shift the training's generator
            made = target(**arguments)
    except NCRunnerError:
        raise
    except Exception as error:
        raise ConfigError(f"loss._target_={loss.target} failed with {reason(error)}") from error
    if not callable(made):
        raise ConfigError(
            f"loss._target_={loss.target} makes an object that cannot be called\n"
            "give a function (outputs, labels) -> mean loss, or a class whose objects are called so"
        )
    return made


def _located(loss: Loss) -> Any:
    """The custom callable, with its arguments checked."""
    with torch.random.fork_rng(
        devices=[]
    ):  # an import happens once in a process: it must not move the generator
        target = locate(loss.target, "loss._target_", LOSSES)
    given_by_position = 0 if inspect.isclass(target) else 2  # outputs and labels
    check_arguments(target, "loss", loss.model_extra or {}, positional=given_by_position)
    return target
