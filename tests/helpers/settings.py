"""The settings that a command line gives, as the package sees them."""

from hydra import compose, initialize_config_module

import nc_runner.commands.hydra_app.resolvers  # noqa: F401  makes ${nc_...} known
from nc_runner.commands.hydra_app.settings import settings_of as checked
from nc_runner.config.schema import Config


def settings_of(*overrides: str) -> Config:
    """The checked settings that ``nc-run OVERRIDES`` would use."""
    with initialize_config_module("nc_runner.conf", version_base="1.3"):
        return checked(compose("config", overrides=list(overrides)))
