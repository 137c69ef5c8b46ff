"""Settings of optimizer and learning rate that must fit each other. Imports no torch."""

from __future__ import annotations

from nc_runner.config.optimizer_schema import LR_SCHEDULES, OPTIMIZERS
from nc_runner.config.schema import Training
from nc_runner.errors import ConfigError


def check_optimization(training: Training) -> None:
    """Each choice has what it uses, and nothing else. Raises ConfigError that names the setting."""
    _check_momentum(training)
    _check_decay(training)
    _check_schedule(training)


def _check_momentum(training: Training) -> None:
    name, momentum = training.optimizer.target, training.momentum
    if name not in OPTIMIZERS:
        return
    if name not in ("sgd", "nesterov"):
        if momentum is not None:
            raise _unused("momentum", momentum, f"optimizer={name}", "optimizer=sgd or nesterov")
    elif momentum is None:
        raise _needed("momentum", 0.9, f"optimizer={name}")
    elif name == "nesterov" and momentum == 0:
        raise ConfigError(
            "momentum=0 is not valid: optimizer=nesterov needs a momentum above 0\ngive optimizer=sgd without"
        )


def _check_decay(training: Training) -> None:
    if training.weight_decay is not None:
        return
    if training.optimizer.target in OPTIMIZERS:
        raise _needed("weight_decay", 0, f"optimizer={training.optimizer.target}")
    for name in ("head", "bias", "norm"):
        if (value := getattr(training.decay, name)) is not None:
            raise _unused(f"decay.{name}", value, "weight_decay=null", "a number for weight_decay")


def _check_schedule(training: Training) -> None:
    name, steps = training.lr_schedule.target, training.lr_schedule.target == "step"
    for key, usual in (("lr_gamma", 0.1), ("lr_milestones", "[1/3,2/3]")):
        value = getattr(training, key)
        if steps and value is None:
            raise _needed(key, usual, "lr_schedule=step")
        if not steps and value is not None:
            chosen = name if name in LR_SCHEDULES else "custom"
            raise _unused(key, value, f"lr_schedule={chosen}", "lr_schedule=step")
    if (warmup := training.lr_warmup_epochs) >= training.epochs and warmup:
        raise ConfigError(
            f"lr_warmup_epochs={warmup} leaves no epoch after it, with epochs={training.epochs}\n"
            "give fewer, or more epochs"
        )


def _unused(key: str, value: object, choice: str, instead: str) -> ConfigError:
    shown = "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else value
    return ConfigError(f"{key}={shown} has no use with {choice}\nleave it out, or give {instead}")


def _needed(key: str, usual: object, choice: str) -> ConfigError:
    return ConfigError(f"{key}=null is not valid: {choice} needs a value\ngive one, such as {key}={usual}")
