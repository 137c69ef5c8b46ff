"""Errors of Hydra and OmegaConf in one or two lines that name the setting and what to do."""

from __future__ import annotations

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from nc_runner.config.validation import GROUPS, known_settings, unknown_setting
from nc_runner.config.values import nearest
from nc_runner.errors import NCRunnerError

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
    ours = _cause(error, NCRunnerError)  # raised by a resolver, and wrapped by OmegaConf
    if ours is not None:
        return str(ours)
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: {_first(str(error))}\ngive settings as key=value"
    inner = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    if isinstance(inner, (ConfigKeyError, ConfigAttributeError)) and inner.full_key:
        return unknown_setting(str(inner.full_key))
    if isinstance(inner, OmegaConfBaseException):
        return f"{inner.full_key or 'the settings'}: {_first(str(inner))}"
    if isinstance(error, ConfigCompositionException) and (key := _quoted(str(error))):
        if "=" in key and not key.startswith("+"):  # a whole override, of several values, without -m
            return f"{key} has several values, which only a sweep takes\ngive -m: nc-run -m {key} ..."
        group = key.removeprefix("override ").lstrip("+").replace("=", ":").partition(":")[0]
        if group in GROUPS:  # it was given as +GROUP=NAME
            return f"{group} has a choice already, which + cannot add to\nchoose another as {group}=NAME"
        if group in known_settings():
            return f"{group} is a setting already, which + cannot add\ngive it as {group}=VALUE"
        near = nearest(key, (*GROUPS, *known_settings()))
        return f"there is no group {key}{near}\nthe groups: {', '.join(GROUPS)}"
    return " ".join(str(error).split())


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or ())
    if f"{group}={option}" in EXTRAS:
        extra, package = EXTRAS[f"{group}={option}"]
        return f"{group}={option} needs the extra {extra}, which is not installed\npip install {package}"
    hint = f"options of {group}: {', '.join(options)}" if options else "--config-dir DIR adds a folder"
    return f"{group}={option}: there is no such option{nearest(option, options)}\n{hint}"


def _cause(error: BaseException | None, kind: type[NCRunnerError]) -> NCRunnerError | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _quoted(text: str) -> str:
    """The first word in single quotes: Hydra names the key so, and nowhere else."""
    return text.split("'")[1] if text.count("'") >= 2 else ""


def _first(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
