"""The page that ``nc-run --help`` prints, made from the schema and conf/ without composing them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

from nc_runner.config.fields import Group
from nc_runner.config.loss_schema import LOSSES
from nc_runner.config.optimizer_schema import OPTIMIZERS
from nc_runner.config.schema import NETWORKS
from nc_runner.config.validation import GROUPS, leaves, shown

USAGE = """\
nc-run trains a classifier, measures its Neural Collapse after every epoch and logs it to metrics.csv.

usage: nc-run [GROUP=OPTION ...] [KEY=VALUE ...]
       nc-run -m GROUP=OPTION,OPTION ... KEY=VALUE,VALUE ...     every combination: a sweep

examples:
  nc-run                                              a small ResNet on scikit-learn's digits, 350 epochs
  nc-run loss=mse net=resnet18 data=cifar10           one run of the paper's protocol
  nc-run -m loss=mse,ce net=resnet18,vgg11 data=mnist,cifar10 seed=0,1,2    a sweep of 24 runs

The same command again resumes an interrupted run and skips a finished one. Then: nc-plot outputs/
"""

FLAGS = """\
flags:
  -m, --multirun          run every combination of the comma-separated values
  --plan                  say what is new, resumes or is done, and how long it takes (--json); start nothing
  --cfg job [--resolve]   print the settings that would be used, and stop; with -m those of every run
  --config-dir DIR        a folder with net/, data/, loss/, experiment/ of yours, and Python files
  --completion SHELL      print a script that completes all commands in bash, zsh or fish
  --version, --help, --hydra-help, --info
"""

_SET_BY_OTHERS = ("launcher.name", "sweep", "cells", "data.name", "data.options")  # not by the user


def show() -> None:
    """Print the page."""
    print(USAGE)
    print("groups:")
    for group in GROUPS:
        names = ", ".join(_options(group))
        print(textwrap.fill(names, 100, initial_indent=f"  {group:<12}", subsequent_indent=" " * 14))
    print("\nsettings and their defaults:")
    meanings = {key: str(field.description) for key, field in leaves()}
    values = yaml.safe_load(resources.files("nc_runner.conf").joinpath("config.yaml").read_text())
    for key, value in values_of(values):
        if key in meanings and key not in _SET_BY_OTHERS:
            _print_setting(f"{key}={shown(value)}", meanings[key])
    print("\nsettings of some networks, losses and optimizers:")
    for group, kinds in (("net", NETWORKS), ("loss", LOSSES), ("optimizer", OPTIMIZERS)):
        _print_choices(group, kinds)
    print(f"\n{FLAGS}", end="")


def _print_choices(group: str, kinds: Mapping[str, type[Group]]) -> None:
    """The settings that some of a group's choices have, with the names of these."""
    owners: dict[tuple[str, str], list[str]] = {}
    for name, kind in kinds.items():
        for key, field in leaves(kind, f"{group}."):
            if key not in (f"{group}._target_", f"{group}.name"):
                owners.setdefault((key, str(field.description)), []).append(name)
    for (key, meaning), names in owners.items():
        if len(names) < len(kinds):
            _print_setting(f"{key}  ({', '.join(names)})", meaning)


def _print_setting(name: str, meaning: str) -> None:
    print(textwrap.fill(meaning, 110, initial_indent=f"  {name:<35} ", subsequent_indent=" " * 38))


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
