"""The objective of a run's last layer: whether the decomposition's least-squares classifier minimises it."""

from __future__ import annotations

from nc_runner.config.decay import head_decay
from nc_runner.config.loss_schema import RescaledMSE
from nc_runner.config.schema import Config
from nc_runner.errors import ConfigError
from nc_runner.measurement.objective import Objective


def objective_of(config: Config) -> Objective:
    """The last layer's objective, with no ``decay`` where :func:`why_no_ridge` names a reason.

    For losses that are no MSE it is that of MSE training with the same weight decay: the decomposition then
    describes the features.

    Raises ConfigError for a refit to a least-squares classifier that does not exist.
    """
    reason = why_no_ridge(config)
    decay = head_decay(config)
    target = config.loss.goal if isinstance(config.loss, RescaledMSE) else 1.0
    if config.classifier == "least_squares" and reason and isinstance(config.analysis.ridge, str):
        raise ConfigError(
            f"classifier=least_squares has no ridge: {reason}\ngive one as analysis.ridge=NUMBER"
        )
    return Objective(None if reason else (decay.weight, decay.bias), target)


def why_no_ridge(config: Config) -> str:
    """Why no ridge makes V_LS the minimiser of the objective; empty where one does."""
    head = config.head
    if isinstance(config.loss, RescaledMSE) and config.loss.k != 1:
        return (
            f"with loss.k={config.loss.k:g} each class's outputs weigh the samples in another way: "
            "their minimiser is not that of one least-squares problem"
        )
    if config.classifier == "etf":
        return "the weight of classifier=etf is fixed: training minimises over the bias alone"
    if head.normalizes_rows:
        return f"with head.normalize={head.normalize} the weight's rows are bound to one norm"
    if not head_decay(config).coupled:
        return "the optimizer's weight decay is no part of an objective"
    return ""
