"""The learning rate of every step: a pure function of the settings, of which no state is saved. No torch.

A rate is ``lr`` times the factor of ``lr_schedule``, and in the first ``lr_warmup_epochs`` times the share of
their steps that is done, this one included. Epochs count from 1, the steps of an epoch from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from nc_runner.config.optimizer_schema import LR_SCHEDULES, LRSchedule
from nc_runner.config.plugins import check_arguments, locate, reason
from nc_runner.config.schedules import is_fraction, milestone_epochs, step_factor
from nc_runner.config.schema import Training
from nc_runner.errors import ConfigError, NCRunnerError, TrainingError

Schedule = Callable[[int, int, int, int], float]  # (epoch, step, steps_per_epoch, epochs) -> factor of lr

_KEY = "lr_schedule._target_"


class LearningRate:
    """The learning rate of each step of a run.

    Raises ConfigError where the settings name a custom schedule that cannot be found.
    """

    def __init__(self, training: Training, steps_per_epoch: int) -> None:
        self.lr = training.lr
        self.epochs = training.epochs
        self.steps_per_epoch = steps_per_epoch
        self.warmup_steps = training.lr_warmup_epochs * steps_per_epoch
        self.name = training.lr_schedule.target
        self.schedule = _schedule(training)

    def __call__(self, epoch: int, step: int) -> float:
        """The rate of a step. Raises TrainingError where a custom schedule fails."""
        factor = self._factor(epoch, step)
        done = (epoch - 1) * self.steps_per_epoch + step + 1
        if done < self.warmup_steps:
            factor *= done / self.warmup_steps
        return self.lr * factor

    def of_epoch(self, epoch: int) -> float:
        """The rate of an epoch's last step."""
        return self(epoch, max(0, self.steps_per_epoch - 1))

    def _factor(self, epoch: int, step: int) -> float:
        if self.name in LR_SCHEDULES:
            return self.schedule(epoch, step, self.steps_per_epoch, self.epochs)
        try:
            factor = _checked(self.schedule(epoch, step, self.steps_per_epoch, self.epochs))
        except NCRunnerError:
            raise
        except Exception as error:
            raise TrainingError(
                f"{_KEY}={self.name} failed in epoch {epoch}, step {step}, with {reason(error)}"
            ) from error
        return factor


def check_schedule(training: Training) -> None:
    """Find a custom schedule, and ask it for the first and the last step of a run of 10 steps an epoch.

    Does nothing for those that ship. Raises ConfigError.
    """
    name, epochs = training.lr_schedule.target, training.epochs
    if name in LR_SCHEDULES:
        return
    schedule = _located(training.lr_schedule)
    for epoch, step in ((1, 0), (epochs, 9)):
        call = f"({epoch}, {step}, 10, {epochs})"
        try:
            _checked(schedule(epoch, step, 10, epochs))
        except Exception as error:  # a custom function may raise anything
            raise ConfigError(
                f"{_KEY}={name} failed for {call} with {reason(error)}\n"
                "it takes (epoch, step, steps_per_epoch, epochs) and returns the factor of lr"
            ) from error


def depends_on_epochs(training: Training) -> bool:
    """Whether another number of epochs changes the rates of the same steps; a custom schedule may.

    >>> from nc_runner.config.optimizer_schema import LRSchedule
    >>> training = Training.model_construct
    >>> step, constant = (LRSchedule(_target_=name) for name in ("step", "constant"))
    >>> depends_on_epochs(training(lr_schedule=step, lr_milestones=("1/3", "120")))
    True
    >>> depends_on_epochs(training(lr_schedule=step, lr_milestones=("120",)))
    False
    >>> depends_on_epochs(training(lr_schedule=constant))
    False
    """
    if training.lr_schedule.target == "step":
        return any(map(is_fraction, training.lr_milestones or ()))
    return training.lr_schedule.target != "constant"


def cosine(epoch: int, step: int, steps_per_epoch: int, epochs: int, *, warmup_epochs: int = 0) -> float:
    """Half a cosine over the steps after the warm-up, from 1 at the first; 1 in the warm-up.

    >>> [round(cosine(epoch, 0, 10, 4), 3) for epoch in (1, 2, 3, 4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    done = (epoch - 1 - warmup_epochs) * steps_per_epoch + step
    if done <= 0:
        return 1.0
    return (1 + math.cos(math.pi * done / ((epochs - warmup_epochs) * steps_per_epoch))) / 2


def _schedule(training: Training) -> Schedule:
    name = training.lr_schedule.target
    if name == "step":
        milestones = milestone_epochs(training.lr_milestones or (), training.epochs)
        gamma = 1.0 if training.lr_gamma is None else training.lr_gamma
        return lambda epoch, *_: step_factor(gamma, milestones, epoch)
    if name == "cosine":
        return partial(cosine, warmup_epochs=training.lr_warmup_epochs)
    return (lambda *_: 1.0) if name == "constant" else _located(training.lr_schedule)


def _located(schedule: LRSchedule) -> Schedule:
    arguments = schedule.model_extra or {}
    function = locate(schedule.target, _KEY, LR_SCHEDULES)
    check_arguments(function, "lr_schedule", arguments, positional=4)
    return partial(function, **arguments) if arguments else function


def _checked(factor: object) -> float:
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
        raise ValueError(f"it must return a finite number from 0 on, and returned {factor!r}"[:200])
    return float(factor)
