"""Hydra's and OmegaConf's errors in one or two lines that name the setting and the remedy."""

from __future__ import annotations

import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from nc_runner.config import schema
from nc_runner.errors import NCRunnerError

GROUPS = ("net", "data", "loss", "experiment", "launcher")

# Hydra's plugins that come with an extra, by group and option: the extra and its package
EXTRAS = {
    "hydra/launcher=joblib": ("joblib", "hydra-joblib-launcher"),
    "hydra/launcher=submitit_slurm": ("slurm", "hydra-submitit-launcher"),
    "hydra/launcher=submitit_local": ("slurm", "hydra-submitit-launcher"),
    "hydra/launcher=ray": ("ray", "hydra-ray-launcher"),
    "hydra/sweeper=optuna": ("search", "hydra-optuna-sweeper"),
}


def explain(error: BaseException) -> str:
    """What is wrong with the command line, and what to do."""
    ours: BaseException | None = error
    while ours is not None and not isinstance(ours, NCRunnerError):
        ours = ours.__cause__ or ours.__context__  # raised by a resolver, and wrapped by OmegaConf
    if ours is not None:
        return str(ours)
    text = str(error)
    if isinstance(error, MissingConfigException):
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = sorted(error.options or ())
        if f"{group}={option}" in EXTRAS:
            extra, package = EXTRAS[f"{group}={option}"]
            return f"{group}={option} needs the extra {extra}, which is not installed\npip install {package}"
        hint = (
            f"options of {group}: {', '.join(options)}"
            if options
            else "--config-dir DIR adds a folder of your own"
        )
        return f"{group}={option}: there is no such option{schema.nearest(option, options)}\n{hint}"
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: {_first(text)}\ngive settings as key=value"
    cause = error.__cause__
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        key = _between(text, "Could not override '", "'") or str(cause.full_key)
        return (
            f"there is no setting {key}{schema.nearest(key, known_keys())}\n"
            "nc-run --help lists all settings; +KEY=VALUE adds one to an own network or data set"
        )
    if isinstance(cause or error, ValidationError):
        problem = cause or error
        return f"{getattr(problem, 'full_key', '')}: {_first(str(problem))}"
    key = _between(text, "Could not override '", "'")
    if key:
        near = schema.nearest(key, (*GROUPS, *known_keys()))
        return f"there is no group {key}{near}\nthe groups: {', '.join(GROUPS)}"
    return " ".join(text.split())


def known_keys() -> list[str]:
    """All settings, dotted, and those of the network families."""
    keys = [key for key, _ in schema.leaves()]
    for family in schema.NETWORK_FAMILIES.values():
        keys.extend(key for key, _ in schema.leaves(family, "net."))
    return keys


def _between(text: str, before: str, after: str) -> str:
    found = re.search(re.escape(before) + "(.*?)" + re.escape(after), text)
    return found.group(1) if found else ""


def _first(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
