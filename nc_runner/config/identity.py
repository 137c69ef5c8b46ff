"""What identifies a run, and the name of its folder.

Two runs are the same where all settings that decide their numbers are equal, wherever and however they run.
The identity lists those that differ from a neutral value. Neutral values are written down in the schema and
never change: a setting that is added later, or a default that changes, moves no folder. What ships is
identified by its name (``resnet8``), so that code can move.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from nc_runner.config.fields import Group
from nc_runner.config.plugins import callable_name
from nc_runner.config.schema import NETWORKS, Config

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"

_IN_CELL = ("net", "data", "loss")  # their names begin the folder's name
_HASHED_ONLY = ("data.mean", "data.std", "data.pad")  # they differ between data sets: no word of the name
_WORDS = {"data.imbalance.kind": "imbalance"}  # where the last part of a key says too little
_NAMED = ("optimizer._target_", "lr_schedule._target_")  # the word is their name alone
_NULL_BY_CHOICE = ("momentum", "lr_milestones", "lr_gamma")  # that is said by the optimizer or schedule
_LONGEST = 72  # letters of the readable part


def identity(config: Config) -> dict[str, Value]:
    """The settings that identify a run, by dotted key: those that are not neutral."""
    return dict(_identifying(config, ""))


def folder_name(config: Config) -> str:
    """The folder of a run below the outputs folder, such as ``mse-resnet18-cifar10/lr0.0184-seed0-1f0c3a9b``.

    First what is to be read: the learning rate, the seed and each setting that is not neutral, as far as
    there is room; then a hash of the whole identity, on which alone equality rests.
    """
    found = identity(config)
    canonical = json.dumps(found, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    cell = "-".join(str(group.name) for group in (config.loss, config.net, config.data))
    words = f"lr{config.lr:.6g}-seed{config.seed}"
    for word in _words(found):
        if len(words) + len(word) < _LONGEST:
            words += f"-{word}"
    return f"{cell}/{words}-{digest}"


def differing(held: Mapping[str, object], asked: Mapping[str, object]) -> list[str]:
    """The keys in which two identities differ, sorted."""
    return sorted(key for key in {*held, *asked} if held.get(key) != asked.get(key))


def _identifying(group: Group, prefix: str) -> Iterator[tuple[str, Value]]:
    for name, field in type(group).model_fields.items():
        value, key = getattr(group, name), f"{prefix}{field.alias or name}"
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if isinstance(value, Group):
            yield from _identifying(value, f"{key}.")
        elif not extra.get("passive") and ("neutral" not in extra or value != extra["neutral"]):
            yield key, _plain(value)
    for name, value in (group.model_extra or {}).items():
        yield f"{prefix}{name}", _plain(value)


def _plain(value: object) -> Value:
    """As JSON holds it."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def _words(found: Mapping[str, Value]) -> Iterator[str]:
    """One word for each setting that is not neutral, such as ``weight_decay0.001``."""
    in_cell = (f"{group}.{key}" for group in _IN_CELL for key in ("name", "_target_"))
    said = {"lr", "seed", *_HASHED_ONLY, *in_cell}
    for key, value in found.items():
        if key in said or (key == "net.depth" and found["net._target_"] in NETWORKS):
            continue
        if key in _NULL_BY_CHOICE and value is None:
            continue
        name = _WORDS.get(key, key.rpartition(".")[2])
        if key in _NAMED:
            yield _text(callable_name(str(value)))
        elif key.startswith("decay."):
            yield f"{name}_decay{_text(value)}"
        else:
            yield _text(name) + ("" if value is True else _text(value))


def _text(value: Value) -> str:
    """In letters that every file system takes.

    >>> _text(1e-5), _text([1, 3, 20]), _text("1/3"), _text({"layers": ["layer*", "fc"]})
    ('1e-05', '1+3+20', '1_3', 'layerslayer+fc')
    """
    if isinstance(value, list):
        return "+".join(map(_text, value))
    if isinstance(value, dict):
        return "+".join(_text(key) + _text(part) for key, part in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "".join(c for c in str(value).replace("/", "_") if c.isalnum() or c in "._+")
