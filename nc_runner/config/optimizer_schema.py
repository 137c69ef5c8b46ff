"""The settings of the optimizer, its weight decay and its learning rate. Imports no torch.

An option that a choice does not use is null there: see :mod:`nc_runner.config.optimizer_checks`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, Tag

from nc_runner.config import values
from nc_runner.config.fields import Group, by_target, setting, target


class Optimizer(Group):
    target: str = target(
        "Built-in optimizer (sgd, nesterov, adam, adamw, lbfgs), or path of a custom callable "
        "(parameters, lr, ...).",
        neutral="sgd",
    )


class Adam(Optimizer):
    betas: Annotated[tuple[float, float], values.betas] = setting(
        "Decay rates of the running means of the gradient and of its square.", neutral=(0.9, 0.999)
    )
    eps: float = setting("Small number added to the denominator of each update.", neutral=1e-8, ge=0)


class LBFGS(Optimizer):
    iterations: int = setting(
        "Maximum number of iterations in a training step, each with a line search.", neutral=20, ge=1
    )
    history: int = setting(
        "Number of earlier iterations that the curvature is estimated from.", neutral=10, ge=1
    )


class CustomOptimizer(Optimizer):
    """Further keys are arguments of the callable."""

    model_config = ConfigDict(extra="allow")


class Decay(Group):
    """Weight decay of some parameters: see :mod:`nc_runner.config.decay`."""

    head: float | None = setting("Weight decay of the last layer; null: weight_decay.", neutral=None, ge=0)
    bias: float | None = setting(
        "Weight decay of all biases but those of normalisation layers; null: that of the bias's layer.",
        neutral=None,
        ge=0,
    )
    norm: float | None = setting(
        "Weight decay of scale and shift in normalisation layers, such as batch norm; null: weight_decay.",
        neutral=None,
        ge=0,
    )


class LRSchedule(Group):
    target: str = target(
        "Built-in schedule (step, cosine, constant), or path of a function (epoch, step, "
        "steps_per_epoch, epochs) -> factor of lr.",
        neutral="step",
    )


class CustomLRSchedule(LRSchedule):
    """Further keys are arguments of the function."""

    model_config = ConfigDict(extra="allow")


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Optimizer,
    "nesterov": Optimizer,
    "adam": Adam,
    "adamw": Adam,
    "lbfgs": LBFGS,
}
LR_SCHEDULES: dict[str, type[LRSchedule]] = dict.fromkeys(("step", "cosine", "constant"), LRSchedule)


class Optimization(Group):
    """How a step follows from a gradient; at the top level of a :class:`~nc_runner.config.schema.Config`."""

    optimizer: Annotated[
        Annotated[Optimizer, Tag("Optimizer")]
        | Annotated[Adam, Tag("Adam")]
        | Annotated[LBFGS, Tag("LBFGS")]
        | Annotated[CustomOptimizer, Tag("custom")],
        by_target(OPTIMIZERS),
    ] = Field(description="The optimizer.")
    lr: float = setting("Learning rate, before schedule and warm-up.", gt=0)
    momentum: float | None = setting(
        "Momentum of sgd and nesterov; null with the other built-in optimizers.",
        neutral=0.9,
        ge=0,
        le=1,
    )
    weight_decay: float | None = setting(
        "Weight decay of all parameters, added to the gradient, or decoupled with adamw; null: a "
        "custom optimizer's own.",
        neutral=5e-4,
        ge=0,
    )
    decay: Decay = Field(description="Weight decay of some parameters.")
