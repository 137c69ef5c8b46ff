"""The page that ``nc-run --help`` prints, made from the schema and conf/ without composing a config."""

from __future__ import annotations

import textwrap
from importlib import resources
from typing import Any

import yaml

from nc_runner.config import schema

USAGE = """\
nc-run trains a classifier, measures its Neural Collapse after every epoch and logs it to metrics.csv.

usage: nc-run [GROUP=OPTION ...] [KEY=VALUE ...]
       nc-run -m GROUP=OPTION,OPTION ... KEY=VALUE,VALUE ...     every combination: a sweep

examples:
  nc-run                                              a small ResNet on scikit-learn's digits, 350 epochs
  nc-run loss=mse net=resnet18 data=cifar10           one run of the paper's protocol
  nc-run -m loss=mse,ce net=resnet18,vgg11 data=mnist,cifar10 seed=0,1,2    a sweep of 24 runs

The same command again goes on with an interrupted run and skips a finished one. Then: nc-plot outputs/
"""

FLAGS = """\
flags:
  -m, --multirun          run every combination of the comma-separated values
  --cfg job [--resolve]   print the settings that would be used, and stop; with -m those of every run
  --config-dir DIR        a folder with net/, data/, loss/, experiment/ of your own, and Python files
  --version, --help, --hydra-help
"""


def show() -> None:
    """Print the page."""
    print(USAGE)
    print("groups:")
    for group in ("net", "data", "loss", "experiment", "launcher"):
        names = ", ".join(_options(group)) or "none yet"
        print(textwrap.fill(names, 100, initial_indent=f"  {group:<12}", subsequent_indent=" " * 14))
    print("\nsettings and their defaults:")
    values = yaml.safe_load(resources.files("nc_runner.conf").joinpath("config.yaml").read_text())
    for key, entry in schema.leaves():
        value: Any = values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if key == "launcher.name":  # launcher=NAME sets it
            continue
        if value is not None or key in ("threads", "data.samples_per_class") or key.startswith("launcher."):
            print(f"  {key + '=' + _shown(value):<42}{entry.metadata['meaning']}")
    print(
        "  net.depth=N, net.stem, net.head_width ...  see conf/net/; nc-run net=vgg11 --cfg job prints them\n"
    )
    print(FLAGS, end="")


def _options(group: str) -> list[str]:
    folder = resources.files("nc_runner.conf").joinpath(group)
    if not folder.is_dir():
        return []
    names = [file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)
