"""The page that ``nc-run --help`` prints, made from the schema and conf/ without composing them."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

from nc_runner.config.data_schema import DATA_SETS
from nc_runner.config.fields import Group
from nc_runner.config.loss_schema import LOSSES
from nc_runner.config.optimizer_schema import OPTIMIZERS
from nc_runner.config.schema import NETWORKS
from nc_runner.config.validation import GROUPS, leaves, shown

USAGE = """\
nc-run trains a classifier, measures its Neural Collapse after every epoch and
logs it to metrics.csv.

usage: nc-run [GROUP=OPTION ...] [KEY=VALUE ...]
       nc-run -m GROUP=OPTION,OPTION ... KEY=VALUE,VALUE ...
                                         a sweep: runs every combination

examples:
  nc-run                                 a small ResNet on scikit-learn's digits
  nc-run loss=mse net=resnet18 data=cifar10
                                         one run of the paper's protocol
  nc-run -m loss=mse,ce net=resnet18,vgg11 data=mnist,cifar10 seed=0,1,2
                                         a sweep of 24 runs

The same command again resumes an interrupted run and skips a finished one.
Draw the figures with nc-plot, and list the runs with nc-status.
"""

FLAGS = """\
flags:
  -m, --multirun         run every combination of the comma-separated values
  --plan                 print which runs are new, resume or are complete, and
                         how long they take (--json: as JSON); start nothing
  --cfg job [--resolve]  print the settings of the run (with -m: of every run);
                         start nothing
  --config-dir DIR       add a folder of custom options (net/, data/, loss/,
                         experiment/) and Python files
  --completion SHELL     print the script that completes all commands in bash,
                         zsh or fish
  --version              print the version
  --help                 print this page
  --hydra-help, --info   print Hydra's own help, or what Hydra composes
"""

WIDEST = 110
# Settings that nc-run or a choice sets, not the user.
_SET_BY_OTHERS = ("launcher.name", "sweep", "cells", "data.name", "data.options", "net.class_size")


def show() -> None:
    """Print the page, as wide as the terminal but at most :data:`WIDEST`."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    print(USAGE)
    print("groups:")
    for group in GROUPS:
        _print_entry(group, ", ".join(_options(group)), 14, width)
    print("\nsettings and their defaults:")
    meanings = {key: str(field.description) for key, field in leaves()}
    values = yaml.safe_load(resources.files("nc_runner.conf").joinpath("config.yaml").read_text())
    for key, value in values_of(values):
        if key in meanings and key not in _SET_BY_OTHERS:
            _print_entry(f"{key}={_default(value)}", meanings[key], 35, width)
    print("\nsettings of some networks, data sets, losses and optimizers only:")
    for group, kinds in (("net", NETWORKS), ("data", DATA_SETS), ("loss", LOSSES), ("optimizer", OPTIMIZERS)):
        _print_choices(group, kinds, width)
    print(f"\n{FLAGS}", end="")


def _print_choices(group: str, kinds: Mapping[str, type[Group]], width: int) -> None:
    """The settings that some of a group's choices have, with the names of these."""
    owners: dict[tuple[str, str], list[str]] = {}
    for name, kind in kinds.items():
        for key, field in leaves(kind, f"{group}."):
            if key not in (f"{group}._target_", f"{group}.name", *_SET_BY_OTHERS):
                owners.setdefault((key, str(field.description)), []).append(name)
    for (key, meaning), names in owners.items():
        if len(names) < len(kinds):
            _print_entry(f"{key}  ({', '.join(names)})", meaning, 35, width)


def _print_entry(name: str, text: str, column: int, width: int) -> None:
    """A name, and from ``column`` on its text: on the next line where the name is too long."""
    first = f"  {name}".ljust(column)
    if len(f"  {name} ") > column:
        print(f"  {name}")
        first = " " * column
    room = max(width, column + 30)  # in a terminal narrower than that, the terminal wraps
    lines = textwrap.wrap(f"{first}{text}", room, subsequent_indent=" " * column, break_on_hyphens=False)
    print("\n".join(lines))


def _default(value: Any) -> str:
    """A default as one writes it; of one that an environment variable may set, what holds without it."""
    variable = re.fullmatch(r"\$\{oc\.env:\w+,(\w+)\}", str(value))
    return variable[1] if variable else shown(value)


def values_of(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all settings in nested ones; a group without any is a value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from values_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _options(group: str) -> list[str]:
    folder = resources.files("nc_runner.conf").joinpath(group)
    names = [file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)
