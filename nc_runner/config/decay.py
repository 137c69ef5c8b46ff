"""Which weight decay each parameter has, and whether training minimises an objective. Imports no torch.

A *coupled* decay wd adds wd times the weight to the gradient, the gradient of wd/2 times the weight's square:
training minimises the loss plus that penalty. A *decoupled* one (``adamw``) takes lr times wd times the
weight off the weight beside the step, which is the gradient step of no objective. What a custom optimizer
does with ``weight_decay`` is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nc_runner.config.optimizer_schema import Optimization
from nc_runner.config.schema import Training

COUPLED = ("sgd", "nesterov", "adam", "lbfgs")

Kind = Literal["rest", "head", "head_bias", "bias", "norm"]  # of a parameter; bias: but for the last layer's
KINDS: tuple[Kind, ...] = ("rest", "head", "head_bias", "bias", "norm")


@dataclass(frozen=True)
class HeadDecay:
    """Weight decay of the last layer's weight and bias, NaN where it is not known.

    ``coupled``: it is that of an objective, loss + weight/2 ‖W‖^2 + bias/2 ‖b‖^2; a least-squares classifier,
    which no optimizer trains, minimises it, too.
    """

    weight: float
    bias: float
    coupled: bool


def decay_of(settings: Optimization, kind: Kind) -> float:
    """The weight decay of a kind of parameter; NaN for ``weight_decay=null`` (custom optimizers alone)."""
    decay, everywhere = settings.decay, settings.weight_decay
    chosen = {
        "rest": everywhere,
        "head": _first(decay.head, everywhere),
        "head_bias": _first(decay.bias, decay.head, everywhere),
        "bias": _first(decay.bias, everywhere),
        "norm": _first(decay.norm, everywhere),
    }[kind]
    return math.nan if chosen is None else chosen


def head_decay(training: Training) -> HeadDecay:
    """The weight decay that the last layer is trained with."""
    weight, bias = decay_of(training, "head"), decay_of(training, "head_bias")
    known = not math.isnan(weight)
    coupled = training.optimizer.target in COUPLED or training.classifier == "least_squares"
    return HeadDecay(weight, bias, known and (coupled or weight == bias == 0))


def has_objective(settings: Optimization) -> bool:
    """Whether training minimises the loss plus half the decay times the square of each parameter."""
    undecayed = all(decay_of(settings, kind) == 0 for kind in KINDS)
    return settings.optimizer.target in COUPLED or undecayed


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
