"""Types of single settings that pydantic does not have: what they accept, and what they say if not."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from nc_runner.columns import COLUMNS, PATH_COLUMNS, WIDER_COLUMNS, is_custom_name
from nc_runner.config.trackers import tracker_names

STANDARD_DATA = ("digits", "mnist", "fashionmnist", "svhn", "cifar10", "cifar100", "stl10")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that it may mean, or nothing.

    Dotted words are compared by their last part too: samples_per_class may mean data.samples_per_class.

    >>> nearest("epoch", ["epochs", "seed"]), nearest("nesterov", ["net.stem", "momentum"])
    ('; did you mean epochs?', '')
    """
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.8)
    if not near:
        by_last_part = {key.rpartition(".")[2]: key for key in reversed(known)}
        last = difflib.get_close_matches(word.rpartition(".")[2], by_last_part, n=1, cutoff=0.75)
        near = [by_last_part[part] for part in last if by_last_part[part] != word]
    return f"; did you mean {near[0]}?" if near else ""


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _text(value: object) -> object:
    """Hydra reads a name such as 2024 as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _name(value: str) -> str:
    if not value or not value[0].isalnum() or not all(c.isalnum() or c in "._+-" for c in value):
        raise ValueError("may have letters, digits and . _ + - only: it becomes part of a folder's name")
    return value


def _milestones(value: object) -> object:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of fractions such as 1/3 or epoch numbers such as 120")
    return tuple(_milestone(milestone) for milestone in value)


def _milestone(milestone: object) -> str:
    try:
        number = Fraction(str(milestone))
    except (ValueError, ZeroDivisionError):
        raise ValueError("must be fractions such as 1/3 or epoch numbers such as 120") from None
    if number <= 0 or (number > 1 and number.denominator != 1):
        raise ValueError("must be fractions between 0 and 1 or whole epoch numbers")
    return str(number)


def _betas(value: object) -> object:
    numbers = _tuple(value)
    if not isinstance(numbers, tuple) or len(numbers) != 2:
        raise ValueError("must be a list of two numbers such as [0.9,0.999]")
    if not all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in numbers):
        raise ValueError("must be two numbers from 0 on and below 1")
    return tuple(map(float, numbers))


def _schedule(value: object) -> object:
    if value in ("every", "paper"):
        return value
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be 'every', 'paper' or a list of epochs such as [0,1,10,100]")
    return _epochs(value)


def _keep(value: object) -> object:
    if value in ("none", "analysed"):
        return value
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be 'none', 'analysed' or a list of epochs such as [1,10,100]")
    return _epochs(value)


def _epochs(value: Iterable[object]) -> tuple[int, ...]:
    if any(isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0 for epoch in value):
        raise ValueError("must list whole epochs from 0 on; 0 is the network at initialisation")
    return tuple(sorted({epoch for epoch in value if isinstance(epoch, int)}))


def _ridge(value: object) -> object:
    if value in ("objective", "notebook"):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError("must be 'objective' (C*wd/2), 'notebook' (wd/2) or a number from 0 on")
    return float(value)


def _metrics(value: object) -> object:
    """A list comes out in the order of the columns, each once: both make no difference to a run."""
    if value in ("core", "all"):
        return value
    if not isinstance(value, (list, tuple)) or not value:
        wanted = f"[{value}]" if value in WIDER_COLUMNS else "[nc1_cdnv,nc3_cosine]"
        raise ValueError(f"must be core, all or a list of columns such as {wanted}")
    for name in value:
        if name in (*COLUMNS, *PATH_COLUMNS):
            raise ValueError(f"lists columns to add; {name} is in every run")
        if name not in WIDER_COLUMNS:
            raise ValueError(f"has an unknown column {name}{nearest(str(name), WIDER_COLUMNS)}")
    return tuple(name for name in WIDER_COLUMNS if name in value)


def _ood(value: object) -> object:
    if value not in STANDARD_DATA:
        near = nearest(str(value), STANDARD_DATA)
        raise ValueError(f"must be one of {', '.join(STANDARD_DATA)}{near}")
    return value


def _custom_metrics(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("must name columns: +analysis.custom.COLUMN=my_module.my_function")
    for name, path in value.items():
        if not is_custom_name(str(name)):
            raise ValueError(
                f"cannot have a column {name}: another column has that name, or it is not a plain word"
            )
        if not str(path).strip():
            raise ValueError(f"has no function for {name}")
    return {str(name): str(path) for name, path in value.items()}


def _layers(value: object) -> object:
    names = _tuple(value)
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must list names or globs of modules such as [layer*,layer3.0.conv1]")
    return names


def _device(value: str) -> str:
    name, _, index = value.partition(":")
    if name not in ("auto", "cpu", "cuda", "mps") or (index and not (name == "cuda" and index.isdigit())):
        raise ValueError("must be auto, cpu, cuda, cuda:N or mps")
    return value


def _resident(value: object) -> object:
    if value != "auto" and not isinstance(value, bool):
        raise ValueError("must be true, false or auto")
    return value


def _each_above_zero(value: tuple[float, ...]) -> tuple[float, ...]:
    if any(number <= 0 for number in value):
        raise ValueError("must be above 0 in every channel")
    return value


FileName = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, BeforeValidator(_text), AfterValidator(_name)]
Floats = Annotated[tuple[float, ...], BeforeValidator(_tuple)]
Names = tuple[str, ...]
Milestones = Annotated[tuple[str, ...], BeforeValidator(_milestones)]
Schedule = Annotated[str | tuple[int, ...], BeforeValidator(_schedule)]
Keep = Annotated[str | tuple[int, ...], BeforeValidator(_keep)]

each_above_zero = AfterValidator(_each_above_zero)
betas = BeforeValidator(_betas)
ridge = BeforeValidator(_ridge)
metrics = BeforeValidator(_metrics)
ood = BeforeValidator(_ood)
custom_metrics = BeforeValidator(_custom_metrics)
layers = BeforeValidator(_layers)
device = AfterValidator(_device)
resident = BeforeValidator(_resident)
tracker = BeforeValidator(tracker_names)

# What passes these checks, in words: for the page of all settings, docs/configuration.md.
ACCEPTED: Mapping[Callable[..., object], str] = {
    _name: "letters, digits and `. _ + -`",
    _milestones: "list of fractions such as `1/3`, or of epochs such as `120`",
    _betas: "list of two numbers, at least 0 and below 1",
    _schedule: "`every`, `paper`, or a list of epochs from 0 on",
    _keep: "`none`, `analysed`, or a list of epochs from 0 on",
    _ridge: "`objective`, `notebook`, or a number, at least 0",
    _metrics: "`core`, `all`, or a list of columns",
    _ood: ", ".join(f"`{name}`" for name in STANDARD_DATA),
    _custom_metrics: "table of column: path of a callable",
    _layers: "list of names or globs",
    _device: "`auto`, `cpu`, `cuda`, `cuda:N`, `mps`",
    _resident: "`true`, `false`, `auto`",
    tracker_names: "`null`, `tensorboard`, `wandb`, `mlflow`, or a list of them",
    _each_above_zero: "list of numbers above 0",
}
