"""The choices of a config group, which are files of conf/GROUP/, and the defaults of the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nc_runner.commands.help import values_of
from nc_runner.config.validation import shown

CONF = Path(__file__).parents[2] / "conf"
_SETTING = ("net", "data", "loss", "optimizer", "lr_schedule")  # groups whose files set defaults
_MANY = 6  # choices with another default that are listed


@dataclass(frozen=True)
class Choice:
    """One file of conf/GROUP/."""

    group: str
    name: str
    text: str  # of the file

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Dotted key: value, with those of the file that it extends."""
        content = yaml.safe_load(self.text) or {}
        extended = [name for name in content.pop("defaults", []) if isinstance(name, str) and "/" not in name]
        content.pop("hydra", None)
        prefix = "" if "@package _global_" in self.text else f"{self.group}."
        found: dict[str, Any] = {}
        for name in extended:
            found |= choice(self.group, name).settings
        return found | dict(values_of(content, prefix))

    @property
    def extends(self) -> str:
        """The choice that this one repeats with another number, without a word of its own; or nothing."""
        return "" if self._comment else str(yaml.safe_load(self.text)["defaults"][0])

    @property
    def meaning(self) -> str:
        """The file's first comment, in Markdown."""
        lines = [line.removeprefix("#").strip() for line in self._comment.splitlines()]
        lines = [line for line in lines if not line.startswith("nc-run")]
        return " ".join(re.sub(r"nc-run .*", lambda command: f"`{command[0]}`.", line) for line in lines)

    @property
    def _comment(self) -> str:
        found = re.match(r"(?:# @package.*\n)?((?:#.*\n)+)", self.text)
        return found[1] if found else ""


def choice(group: str, name: str) -> Choice:
    return Choice(group, name, (CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


def choices(group: str) -> list[Choice]:
    """All of a group, by name, ``custom`` last; numbers in names are compared as numbers."""
    names = [path.stem for path in (CONF / group).glob("*.yaml")]
    return [choice(group, name) for name in sorted(names, key=_natural)]


def default(key: str) -> str:
    """The default of a setting in Markdown, with those of choices that set another."""
    if key.endswith("._target_"):
        return "the choice"
    base = dict(values_of(yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))))
    by_value: dict[str, list[str]] = {}
    for group in _SETTING:
        for each in choices(group):
            if key in each.settings:
                by_value.setdefault(_value(each.settings[key]), []).append(f"`{each.name}`")
    if key in base:
        common = _value(base[key])
        by_value.pop(common, None)
    elif len(by_value) == 1:
        return next(iter(by_value))
    else:
        common = ""
    if sum(map(len, by_value.values())) > _MANY:
        return "; ".join(filter(None, [common, "by choice"]))
    others = [f"{', '.join(names)}: {value}" for value, names in by_value.items()]
    return "; ".join(filter(None, [common, *others]))


def _value(value: Any) -> str:
    if value == "???":
        return "none: it must be given"
    variable = re.fullmatch(r"\$\{oc\.env:(\w+),(\w+)\}", str(value))
    if variable:
        return f"`{variable[2]}`, or the environment variable `{variable[1]}`"
    if "${" in str(value):
        return "set by others"
    return f"`{shown(value)}`"


def _natural(name: str) -> tuple[bool, str, int]:
    stem = name.rstrip("0123456789")
    return name == "custom", stem, int(name[len(stem) :] or 0)
