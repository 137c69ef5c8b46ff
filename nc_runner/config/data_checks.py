"""Settings of the data that must fit each other, before there are any images. Imports no torch."""

from __future__ import annotations

from nc_runner.config.data_schema import Data, Imbalance
from nc_runner.errors import ConfigError


def check_data(data: Data) -> None:
    """Raises ConfigError where settings of the data set are at odds with each other."""
    _check_imbalance(data.imbalance)
    if data.mean is not None and data.std is not None and len(data.mean) != len(data.std):
        raise ConfigError("data.mean and data.std differ in length\ngive one number per channel for each")


def _check_imbalance(imbalance: Imbalance) -> None:
    """Each kind has what it uses, and nothing else."""
    used = {"none": (), "step": ("ratio", "minority_classes"), "exponential": ("ratio",)}[imbalance.kind]
    for name in ("ratio", "minority_classes"):
        value, key = getattr(imbalance, name), f"data.imbalance.{name}"
        if name in used and value is None:
            raise ConfigError(f"data.imbalance.kind={imbalance.kind} needs {key}\ngive {key}=NUMBER")
        if name not in used and value is not None:
            kinds = "step or exponential" if name == "ratio" else "step"
            raise ConfigError(
                f"{key}={value:g} has no use with data.imbalance.kind={imbalance.kind}\n"
                f"leave it out, or give data.imbalance.kind={kinds}"
            )
