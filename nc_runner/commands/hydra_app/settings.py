"""From a composed configuration of Hydra's to the typed settings of a run."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from nc_runner.config.schema import Config
from nc_runner.config.validation import validate
from nc_runner.errors import ConfigError

_NOT_OF_THE_RUN = ("experiment", "cells")  # what a run takes from a table is in its settings


def settings_of(config: DictConfig) -> Config:
    """The checked settings. Raises ConfigError naming the setting, what is wrong and what it may be."""
    missing = sorted(key for key in OmegaConf.missing_keys(config) if not key.startswith("hydra."))
    if "net._target_" in missing:
        raise ConfigError("net._target_ is not set\nsay which callable builds the network: "
                          "net=custom net._target_=my_package.my_module.MyNetwork")  # fmt: skip
    if missing:
        raise ConfigError(f"{missing[0]} is not set\ngive it as {missing[0]}=VALUE")
    without_hydra = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: Any = OmegaConf.to_container(without_hydra, resolve=True)
    for key in _NOT_OF_THE_RUN:
        plain.pop(key, None)
    return validate(plain)
