"""What goes together with unconstrained features. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nc_runner.config.data_schema import UFMOptions
from nc_runner.errors import ConfigError

if TYPE_CHECKING:
    from nc_runner.config.schema import Config


def check_ufm(config: Config) -> None:
    """Raise ConfigError where net=ufm and data=ufm are not both there, or a step is not of all samples."""
    options = config.data.options
    if (config.net.target == "ufm") != isinstance(options, UFMOptions):
        raise ConfigError(
            "net=ufm and data=ufm go together: features for each of the samples\ngive both: net=ufm data=ufm"
        )
    if not isinstance(options, UFMOptions):
        return
    count = options.classes * options.samples_per_class
    if config.data.imbalance.kind == "none" and config.batch_size != count:
        raise ConfigError(
            f"net=ufm takes one full batch a step, but batch_size={config.batch_size}\n"
            f"give batch_size={count}, the number of samples"
        )
