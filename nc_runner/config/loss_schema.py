"""The settings of the losses. What they mean: :mod:`nc_runner.measurement.losses`. Imports no torch."""

from __future__ import annotations

from pydantic import ConfigDict

from nc_runner.config.fields import Group, setting, target
from nc_runner.config.values import Name


class Loss(Group):
    target: str = target(
        "Built-in loss (mse, mse_rescaled, ce, focal, hinge), or path of a custom callable (outputs, "
        "labels) -> mean loss."
    )
    name: Name | None = setting("Name in figures and folder names; null: that of the callable.")


class CrossEntropy(Loss):
    label_smoothing: float = setting(
        "Share of the target that is spread evenly over all classes; 0: no smoothing.",
        neutral=0.0,
        ge=0,
        lt=1,
    )


class Focal(Loss):
    gamma: float = setting(
        "Exponent of the factor 1 - p of each loss -log p, for the true class's probability p; 0: "
        "cross-entropy.",
        neutral=2.0,
        ge=0,
    )


class RescaledMSE(Loss):
    k: float = setting(
        "Weight of the true class's squared error; that of the other classes is 1.", neutral=1.0, gt=0
    )
    goal: float = setting(
        "Target output of the true class; that of the other classes is 0.", neutral=1.0, gt=0, alias="target"
    )


class CustomLoss(Loss):
    """Further keys are arguments of the callable."""

    model_config = ConfigDict(extra="allow")


LOSSES: dict[str, type[Loss]] = {
    "mse": Loss,
    "mse_rescaled": RescaledMSE,
    "ce": CrossEntropy,
    "focal": Focal,
    "hinge": Loss,
}
