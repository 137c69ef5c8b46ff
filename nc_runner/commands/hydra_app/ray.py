"""A sweep on a running Ray cluster: whether there is one."""

from __future__ import annotations

import socket

from omegaconf import DictConfig, OmegaConf

from nc_runner.errors import ConfigError

_SECONDS = 10.0


def check_address(launcher: DictConfig) -> None:
    """Raise ConfigError where nothing answers at ``launcher.address``: Ray itself would try for minutes.

    ``auto``, and whatever else names no host and port, is left to Ray.
    """
    address = str(OmegaConf.select(launcher, "ray.init.address") or "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:  # a port above 65535; a name that no host can have
        raise ConfigError(
            f"launcher.address={address}: no Ray cluster answers there ({error})\n"
            "`ray start --head` begins one and shows its address; without the setting, the sweep starts one"
        ) from None
