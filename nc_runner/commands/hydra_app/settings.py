"""From a composed configuration of Hydra's to the typed settings of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nc_runner.config.schema import Config
from nc_runner.config.trackers import check_trackers
from nc_runner.config.validation import validate
from nc_runner.errors import ConfigError

_NOT_OF_THE_RUN = ("hydra", "experiment", "cells")  # what a run takes from a table is in its settings
_MISSING = "???"  # as YAML files have it


def settings_of(config: DictConfig) -> Config:
    """The checked settings. Raises ConfigError naming the setting, what is wrong and what it may be."""
    plain: dict[str, Any] = {}
    for key in map(str, config):
        if key not in _NOT_OF_THE_RUN:
            value = _MISSING if OmegaConf.is_missing(config, key) else config[key]
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=False)
            plain[key] = value
    missing = sorted(_missing(plain, ""))
    if "net._target_" in missing:
        raise ConfigError("net._target_ is not set\nsay which callable builds the network: "
                          "net=custom net._target_=my_package.my_module.MyNetwork")  # fmt: skip
    if missing:
        raise ConfigError(f"{missing[0]} is not set\ngive it as {missing[0]}=VALUE")
    checked = validate(plain)
    check_trackers(checked.trackers)
    return checked


def _missing(values: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _missing(value, f"{prefix}{key}.")
        elif value == _MISSING:
            yield f"{prefix}{key}"
