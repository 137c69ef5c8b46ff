"""The settings of a run as its record has them, brought to the shape that they have today. No torch.

A record of an earlier version may lack settings that came later, and have older names. What it lacks is
completed: by the neutral value, which never changes (:mod:`nc_runner.config.identity`) and is how runs were
trained before the setting existed; where a setting cannot change a run's numbers, by its default in conf/.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from nc_runner.config.schema import Config
from nc_runner.config.validation import leaves, validate

_UNKNOWN = object()
_OLDER_NAMES = {"cross_entropy": "ce"}  # of what ships, where it was named by its path


def config_of(settings: Mapping[str, Any]) -> Config:
    """The checked, frozen settings of a run, from the entry ``settings`` of its record.

    Raises ConfigError where today's nc-runner does not know a setting or a value, or cannot complete them.
    """
    return validate(completed(settings))


def completed(settings: Mapping[str, Any], *, passive: bool = True) -> dict[str, Any]:
    """The recorded settings with today's names, and with those that the record lacks, as far as that goes.

    ``passive``: complete those too that cannot change a run's numbers.
    """
    known, content = _known(passive), _renamed(settings)
    while any(_fill(content, path, known) for path in list(_missing(content))):
        pass  # ends: one more is there in each round, and what is filled is not missing again
    return content


def passive_settings() -> set[str]:
    """The dotted keys of the settings that cannot change a run's numbers."""
    return {key for key, field in leaves() if _extra(field).get("passive")}


@cache
def _known(passive: bool) -> Mapping[str, FieldInfo]:
    """The fields of all settings by dotted key, without those that are passive or with them: constants."""
    return {key: field for key, field in leaves() if passive or not _extra(field).get("passive")}


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with today's names: of ``analysis.custom``, and of what ships, which once was named by path."""
    content: dict[str, Any] = copy.deepcopy(dict(settings))
    analysis = content.get("analysis")
    if isinstance(analysis, dict) and "own" in analysis:
        analysis.setdefault("custom", analysis.pop("own"))
    for group in content.values():
        if isinstance(group, dict) and "_target_" in group:
            path = str(group["_target_"])
            name = path.rpartition(".")[2] if path.startswith("nc_runner.") else path
            group["_target_"] = _OLDER_NAMES.get(name, name) if name != path else path
    return content


def _missing(content: Mapping[str, Any]) -> Iterator[list[str]]:
    """The path of each setting, or group of settings, that the content lacks."""
    try:
        Config.model_validate(content)
    except ValidationError as error:
        for problem in error.errors():
            if problem["type"] == "missing":
                yield _without_tags([str(part) for part in problem["loc"]], content)


def _without_tags(location: list[str], content: Mapping[str, Any]) -> list[str]:
    """pydantic's location less the tags of the classes that it chose, which are no keys."""
    path: list[str] = []
    here: Any = content
    for part in location[:-1]:
        if isinstance(here, Mapping) and part in here:
            here = here[part]
            path.append(part)
    return [*path, location[-1]]


def _fill(content: dict[str, Any], path: list[str], known: Mapping[str, FieldInfo]) -> bool:
    """Set one missing setting, or begin a missing group; whether there is a value for it."""
    key, group = ".".join(path), content
    for part in path[:-1]:
        group = group[part]
    if key in known:
        value = _value(path, _extra(known[key]))
    else:
        value = {} if any(name.startswith(f"{key}.") for name in known) else _UNKNOWN
    if value is not _UNKNOWN:
        group[path[-1]] = value
    return value is not _UNKNOWN


def _value(path: list[str], extra: Mapping[str, Any]) -> Any:
    if not extra.get("passive"):
        return copy.deepcopy(extra["neutral"]) if "neutral" in extra else _UNKNOWN
    value: Any = yaml.safe_load(resources.files("nc_runner.conf").joinpath("config.yaml").read_text())
    for part in path:
        value = value.get(part, _UNKNOWN) if isinstance(value, dict) else _UNKNOWN
    return _UNKNOWN if isinstance(value, str) and "${" in value else value


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
