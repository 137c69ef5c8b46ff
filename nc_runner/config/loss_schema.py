"""The settings of the losses. What they mean: :mod:`nc_runner.measurement.losses`. Imports no torch."""

from __future__ import annotations

from pydantic import ConfigDict

from nc_runner.config.fields import Group, setting, target
from nc_runner.config.values import Name


class Loss(Group):
    target: str = target(
        "mse, mse_rescaled, ce, focal, hinge, or the path of a custom callable (outputs, labels) -> mean loss"
    )
    name: Name | None = setting("name in figures and folder names; null: that of the callable")


class CrossEntropy(Loss):
    label_smoothing: float = setting(
        "share of the target that is spread over all classes", neutral=0.0, ge=0, lt=1
    )


class Focal(Loss):
    gamma: float = setting("power of 1 - p of the true class, which weighs its -log p", neutral=2.0, ge=0)


class RescaledMSE(Loss):
    k: float = setting("weight of the true class's squared error", neutral=1.0, gt=0)
    goal: float = setting("output asked of the true class, in place of 1", neutral=1.0, gt=0, alias="target")


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
