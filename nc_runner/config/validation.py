"""The door: plain values in, a checked :class:`Config` out, or one message that names the setting."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nc_runner.columns import OOD_COLUMN, metric_columns, wider_columns
from nc_runner.config.data_checks import check_data
from nc_runner.config.data_schema import DATA_SETS
from nc_runner.config.fields import Group
from nc_runner.config.head_schema import head_completed
from nc_runner.config.loss_schema import LOSSES
from nc_runner.config.optimizer_checks import check_optimization
from nc_runner.config.optimizer_schema import OPTIMIZERS
from nc_runner.config.plugins import callable_name
from nc_runner.config.schedules import analysed_epochs
from nc_runner.config.schema import NETWORKS, Analysis, Config
from nc_runner.config.ufm_checks import check_ufm
from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError

GROUPS = ("net", "data", "loss", "optimizer", "lr_schedule", "experiment", "launcher")

_TYPES = {  # pydantic's types of error: what the setting must be
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a table of settings",
    "finite_number": "a finite number",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
}


def validate(settings: dict[str, Any]) -> Config:
    """The checked settings of a run, with the names that were left to be filled in.

    Args:
        settings: all settings as plain values, nested by group, as conf/ gives them.

    Raises:
        ConfigError: a setting is unknown, of a wrong type, out of range, or at odds with another.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_message(error.errors()[0], settings)) from None
    config = head_completed(_named(config))
    _check_ood(config.analysis)
    _check_objective(config.objective, config.analysis)
    _check_kept(config)
    _check_samples(config)
    check_optimization(config)
    check_data(config.data)
    check_ufm(config)
    return config


def leaves(group: type[Group] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a group and the groups in it, as (dotted key, field)."""
    for name, field in group.model_fields.items():
        inner = [kind for kind in _kinds(field.annotation) if issubclass(kind, Group)]
        for kind in inner:
            yield from leaves(kind, f"{prefix}{name}.")
        if not inner:
            yield f"{prefix}{field.alias or name}", field


def known_settings() -> list[str]:
    """The dotted keys of all settings, those of every network family and data set among them."""
    return list(dict.fromkeys(key for key, _ in leaves()))


def unknown_setting(key: str, group: str = "") -> str:
    """The message for a key that does not exist: what it may mean, or where it belongs.

    Args:
        key: dotted, as in ``net.head_width``.
        group: what the chosen option of the key's group is called, such as ``resnet8``.
    """
    owners = [name for name, kind in NETWORKS.items() if key in dict(leaves(kind, "net."))]
    if owners:
        mine = f"{group} has no setting {key}" if group else f"this network has no setting {key}"
        return f"{mine}: it is one of {' and '.join(owners)}\nleave it out, or choose another net="
    owners = [name for name, kind in OPTIMIZERS.items() if key in dict(leaves(kind, "optimizer."))]
    if owners:
        mine = f"optimizer={group} has" if group else "this optimizer has"
        return f"{mine} no setting {key}: it is one of {' and '.join(owners)}\nleave it out or choose another"
    owners = [name for name, kind in LOSSES.items() if key in dict(leaves(kind, "loss."))]
    if owners:
        mine = f"loss={group} has" if group else "this loss has"
        return f"{mine} no setting {key}: it is one of {' and '.join(owners)}\nleave it out or choose another"
    return (
        f"there is no setting {key}{nearest(key, (*GROUPS, *known_settings()))}\n"
        "nc-run --help lists all settings; only what is custom takes further keys"
    )


def _kinds(annotation: Any) -> list[type]:
    """The classes that an annotation names."""
    if isinstance(annotation, types.UnionType) or get_args(annotation):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation] if isinstance(annotation, type) else []


def _message(error: ErrorDetails, settings: dict[str, Any]) -> str:
    """One line for the first thing that is wrong, and one for what to do where that is not plain."""
    path = [str(part) for part in error["loc"]]
    if len(path) > 1 and path[0] in ("net", "data", "loss", "optimizer", "lr_schedule"):
        del path[1]  # the tag of the chosen class
    while path and (path[-1].isdigit() or path[-1].startswith("function-")):
        path.pop()  # an element of a list: the message is about the whole
    key = ".".join(path)
    value: Any = settings
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    kind = error["type"]
    if kind == "extra_forbidden":
        chosen = settings.get(path[0]) if len(path) > 1 else None
        name = (chosen.get("name") or chosen.get("_target_")) if isinstance(chosen, dict) else ""
        return unknown_setting(key, str(name or ""))
    if kind == "missing":
        return f"{key} is not set\ngive it as {key}=VALUE"
    if kind == "literal_error":
        wanted = re.sub(r"'(\w+)'", r"\1", error["ctx"]["expected"]).replace(" or ", ", ")
        return f"{key}={shown(value)} is not valid: {key} must be one of {wanted}"
    if kind == "value_error":
        return f"{key}={shown(value)} is not valid: {key} {error['ctx']['error']}"
    if kind in ("model_type", "model_attributes_type", "union_tag_not_found"):
        return f"{key}={shown(value)} is not valid: {key} is a group of settings; choose one as {key}=NAME"
    wanted = _TYPES[kind].format(**error.get("ctx", {})) if kind in _TYPES else error["msg"]
    return f"{key}={shown(value)} is not valid: {key} must be {wanted}"


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _named(config: Config) -> Config:
    """With the names that are null: after the callable, file, folder or class."""
    filled: dict[str, Group] = {}
    for group, part, shipped in (("net", config.net, NETWORKS), ("loss", config.loss, LOSSES)):
        if part.name is None:
            filled[group] = part.model_copy(update={"name": callable_name(part.target)})
        elif part.target not in shipped and part.name in shipped and part.name != callable_name(part.target):
            raise ConfigError(
                f"{group}.name={part.name} is the name of what ships, but {group}._target_ is {part.target}"
                f"\ngive {group}.name=NAME"
            )
    data = config.data
    if data.name is None:
        given = next((getattr(data.options, key, None) for key in ("folder", "file", "dataset")
                      if data.target in DATA_SETS and hasattr(data.options, key)), None)  # fmt: skip
        name = Path(str(given)).name.removesuffix(".npz").rpartition(".")[2] if given else None
        filled["data"] = data.model_copy(update={"name": name or callable_name(data.target)})
    return config.model_copy(update=filled) if filled else config


def _check_ood(analysis: Analysis) -> None:
    """Out-of-distribution data and the column that uses them: both or none."""
    wanted = OOD_COLUMN in wider_columns(analysis.metrics, ood=analysis.ood is not None)
    if wanted and analysis.ood is None:
        raise ConfigError(f"{OOD_COLUMN} needs images of another kind\nname a data set: analysis.ood=NAME")
    if analysis.ood is not None and not wanted:
        raise ConfigError(
            f"analysis.ood={analysis.ood} has no use without its column\n"
            f"ask for it: analysis.metrics=[{OOD_COLUMN}]"
        )


def _check_objective(name: str, analysis: Analysis) -> None:
    columns = metric_columns(2, analysis.further_columns)
    if name not in columns and not re.fullmatch("snr_[1-9][0-9]*", name):
        problem = f"objective={name}: metrics.csv of this run has no such column"
        raise ConfigError(f"{problem}{nearest(name, columns)}\nname one of its columns, such as nc1")


def _check_kept(config: Config) -> None:
    """Weights are kept of epochs that come; those at initialisation where they are measured."""
    keep, epochs = config.keep_checkpoints, config.epochs
    if isinstance(keep, str):
        return
    if max(keep) > epochs:
        raise ConfigError(
            f"keep_checkpoints={shown(keep)}: there is no epoch {max(keep)}, epochs={epochs}\n"
            f"list epochs up to {epochs}"
        )
    if 0 in keep and 0 not in analysed_epochs(config.analysis.schedule, epochs):
        raise ConfigError(
            f"keep_checkpoints={shown(keep)}: the run does not stop at epoch 0, which is not measured\n"
            "list 0 in analysis.schedule too, or leave it out"
        )


def _check_samples(config: Config) -> None:
    """A refit takes the statistics of the measurement: of a subset it would train another classifier."""
    if config.analysis.samples is not None and config.classifier == "least_squares":
        raise ConfigError(
            f"analysis.samples={config.analysis.samples} does not go with classifier=least_squares, "
            "which is refitted to the features of all train images\n"
            "leave analysis.samples out, or give classifier=gradient"
        )
