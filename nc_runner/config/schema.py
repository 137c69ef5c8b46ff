"""The settings of a run: their types, ranges and meaning. Defaults stand in conf/. Imports no torch.

Hydra checks keys and types against these dataclasses while it composes; :func:`check` checks the ranges,
which OmegaConf cannot express, and :func:`deciding_settings` says which settings decide a run's numbers.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, field, fields, is_dataclass
from fractions import Fraction
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from nc_runner.columns import (
    COLUMNS,
    OOD_COLUMN,
    PATH_COLUMNS,
    WIDER_COLUMNS,
    is_custom_name,
    metric_columns,
    wider_columns,
)
from nc_runner.config import cells
from nc_runner.config.plugins import callable_name
from nc_runner.errors import ConfigError

# The authors' measurement epochs (their public notebook, 350 epochs).
PAPER_EPOCHS = (
    *range(1, 15), 16, 17, 19, 20, 22, 24, 27, 29, 32, 35, 38, 42, 45, 50, 54, 59, 65, 71, 77, 85, 92, 101,
    110, 121, 132, 144, 158, 172, 188, 206, 225, 245, 268, 293, 320, 350,
)  # fmt: skip


# The files of conf/data for data that users bring, and the option that says which data it is.
OWN_DATA = {"custom": "", "folder": "folder", "npz": "file", "torchvision": "dataset"}


def setting(
    meaning: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
    check: Callable[[Any], str | None] | None = None,
    decides: bool = True,
    neutral: tuple[Any, ...] = (),
    default: Any = MISSING,
) -> Any:
    """A dataclass field with a meaning and a range. ``check`` returns what is wrong, or None.

    ``decides`` is False for settings that cannot change a run's numbers, only where and how it runs.
    A value among ``neutral`` leaves the setting out of the identity: a setting that came later, and does
    nothing at its default, must not move the folders of earlier runs.
    """
    metadata = {
        "meaning": meaning,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "choices": choices,
        "check": check,
        "decides": decides,
        "neutral": neutral,
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


def milestone_epochs(milestones: list[Any], epochs: int) -> list[int]:
    """Epochs after which the learning rate drops: fractions of ``epochs`` (rounded down) or epoch numbers.

    In runs so short that a fraction rounds to 0 that drop is left out.

    >>> milestone_epochs(["1/3", "2/3"], 350), milestone_epochs(["1/3", "2/3"], 2)
    ([116, 233], [1])
    """
    values = (Fraction(str(milestone)) for milestone in milestones)
    drops = (int(value * epochs) if value < 1 else int(value) for value in values)
    return [epoch for epoch in drops if epoch > 0]


def analysed_epochs(schedule: Any, epochs: int) -> list[int]:
    """The epochs after which the run is measured, in order; the last epoch is always one of them.

    >>> analysed_epochs([1, 5], 8)
    [1, 5, 8]
    """
    if schedule == "every":
        return list(range(1, epochs + 1))
    chosen = PAPER_EPOCHS if schedule == "paper" else schedule
    return sorted({epoch for epoch in chosen if epoch <= epochs} | {epochs})


def _milestones_problem(value: Any) -> str | None:
    for milestone in value:
        try:
            number = Fraction(str(milestone))
        except (ValueError, ZeroDivisionError):
            return "must be fractions such as 1/3 or epoch numbers such as 120"
        if number <= 0 or (number > 1 and number.denominator != 1):
            return "must be fractions between 0 and 1 or whole epoch numbers"
    return None


def _schedule_problem(value: Any) -> str | None:
    if value in ("every", "paper"):
        return None
    if not isinstance(value, list) or not value:
        return "must be 'every', 'paper' or a list of epochs such as [1,10,100]"
    if any(isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1 for epoch in value):
        return "must list epochs from 1 on"
    return None


def _ridge_problem(value: Any) -> str | None:
    if value in ("objective", "notebook"):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        return "must be 'objective' (C*wd/2), 'notebook' (wd/2) or a number from 0 on"
    return None


def _metrics_problem(value: Any) -> str | None:
    if value in ("core", "all"):
        return None
    if not isinstance(value, list) or not value:
        wanted = f"[{value}]" if value in WIDER_COLUMNS else "[nc1_cdnv,nc3_cosine]"
        return f"must be core, all or a list of columns such as {wanted}"
    for name in value:
        if name in (*COLUMNS, *PATH_COLUMNS):
            return f"lists columns that are added: {name} is in every run"
        if name not in WIDER_COLUMNS:
            return f"knows no {name}{nearest(str(name), WIDER_COLUMNS)}"
    return None


def _ood_problem(value: Any) -> str | None:
    names = sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("nc_runner.conf").joinpath("data").iterdir()
        if entry.name.endswith(".yaml") and entry.name.removesuffix(".yaml") not in OWN_DATA
    )
    return None if value in names else f"must be one of {', '.join(names)}{nearest(str(value), names)}"


def _own_problem(value: Any) -> str | None:
    for name, path in value.items():
        if not is_custom_name(str(name)):
            return f"cannot name a column {name}: another column has that name, or it is no plain word"
        if not str(path).strip():
            return f"gives no function for {name}"
    return None


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that it may stand for, or nothing."""
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not near:  # samples_per_class for data.samples_per_class
        near = [key for key in known if key.rpartition(".")[2] == word.rpartition(".")[2]][:1]
    return f"; did you mean {near[0]}?" if near else ""


def _layers_problem(value: Any) -> str | None:
    return None if all(value) else "must list names or globs of modules such as [layer*,layer3.0.conv1]"


def _device_problem(value: Any) -> str | None:
    name, _, index = str(value).partition(":")
    if name not in ("auto", "cpu", "cuda", "mps") or (index and not (name == "cuda" and index.isdigit())):
        return "must be auto, cpu, cuda, cuda:N or mps"
    return None


def _tensorboard_problem(value: Any) -> str | None:
    found = find_spec("tensorboard") if value else None
    if not value or (found is not None and found.origin):  # without an origin: any folder of that name
        return None
    return "needs a package that is not installed\ninstall it: pip install tensorboard"


def _std_problem(value: Any) -> str | None:
    return "must be above 0 in every channel" if any(std <= 0 for std in value) else None


def _resident_problem(value: Any) -> str | None:
    return None if value == "auto" or isinstance(value, bool) else "must be true, false or auto"


def _name_problem(value: Any) -> str | None:
    if value is None or (value and all(c.isalnum() or c in "._+-" for c in value) and value[0].isalnum()):
        return None
    return "may hold letters, digits and . _ + - only: it becomes part of a folder's name"


@dataclass
class Data:
    _target_: str = setting("callable that loads the raw images: a dotted path")
    name: str | None = setting(
        "name in figures and folder names; null: that of the file, folder or callable", check=_name_problem
    )
    root: str = setting("folder of the data files", decides=False)
    download: bool = setting("fetch missing files where there is a public address", decides=False)
    samples_per_class: int | None = setting("balanced, seeded subset of the train set", minimum=1)
    pad: int = setting("zero pixels added on each side, before normalising", minimum=0, maximum=64)
    mean: list[float] | None = setting("per channel, of pixels scaled to [0, 1]; null: computed")
    std: list[float] | None = setting(
        "per channel, of pixels scaled to [0, 1]; null: computed", check=_std_problem
    )
    resident: Any = setting(
        "images in the device's memory: true, false (streamed), auto (true where they fit)",
        check=_resident_problem,
        decides=False,
    )
    workers: int | None = setting(
        "processes that fetch streamed images; null: none for arrays, up to 4 for files",
        minimum=0,
        decides=False,
    )
    options: dict[str, Any] = setting("further keyword arguments for an own loader")


@dataclass
class Analysis:
    schedule: Any = setting("every, paper, or a list of epochs", check=_schedule_problem)
    ridge: Any = setting(
        "lambda of the decomposition: objective, notebook, or a number", check=_ridge_problem
    )
    metrics: Any = setting(
        "core, all, or a list of the wider columns to add", check=_metrics_problem, neutral=("core",)
    )
    ood: str | None = setting(
        "data set whose test images nc5_ood_orthogonality sees", check=_ood_problem, neutral=(None,)
    )
    own: dict[str, str] = setting(
        "own metrics: column=path of a callable (stats, weight, bias) -> number",
        check=_own_problem,
        neutral=({},),
    )
    layers: list[str] = setting(
        "inner layers to measure too: names or globs of modules", check=_layers_problem, neutral=([],)
    )
    batch_size: int = setting("images per forward pass of the measurement, at most", minimum=1, decides=False)


@dataclass
class Loss:
    _target_: str = setting("callable (outputs, labels) -> mean loss: a dotted path")
    name: str = setting("name in figures and folder names", check=_name_problem)


@dataclass
class ResNet:
    _target_: str = setting("callable that builds the network")
    name: str = setting("name in figures and folder names", check=_name_problem)
    depth: int = setting("layers", choices=(8, 18, 20, 32, 34, 50, 56, 101, 152))
    stem: str = setting(
        "first layers of 18 to 152: small (3 x 3), imagenet (7 x 7 and pooling), "
        "auto (small below 64 x 64 pixels)",
        choices=("auto", "small", "imagenet"),
    )


@dataclass
class VGG:
    _target_: str = setting("callable that builds the network")
    name: str = setting("name in figures and folder names", check=_name_problem)
    depth: int = setting("layers", choices=(6, 11, 13, 16, 19))
    head_width: int | None = setting(
        "units of the two linear layers before the classifier; null: 4096 (64 for depth 6)", minimum=1
    )


@dataclass
class DenseNet:
    _target_: str = setting("callable that builds the network")
    name: str = setting("name in figures and folder names", check=_name_problem)
    depth: int = setting("layers", choices=(10, 40, 100, 121, 201, 250))
    growth_rate: int | None = setting("maps added by a layer; null: the depth's published value", minimum=1)
    stem: str = setting(
        "first layers: small, imagenet, auto (small below 64 x 64 pixels)",
        choices=("auto", "small", "imagenet"),
    )


@dataclass
class Launcher:
    """What the presets of conf/launcher/ read."""

    name: str = setting(
        "set by launcher=NAME: how the runs of a sweep are carried out",
        choices=("basic", "joblib", "ray", "slurm", "submitit_local"),
        decides=False,
    )
    jobs: int | None = setting(
        "runs at a time; null: one for each GPU, else core (slurm: 256)", minimum=1, decides=False
    )
    cpus: int | None = setting(
        "CPU cores, and threads, of each run; null: the cores divided by the jobs (slurm: 4)",
        minimum=1,
        decides=False,
    )
    gpus: int | None = setting(
        "GPUs of each run: slurm (null: 0) and ray (null: 1 where this machine has any)",
        minimum=0,
        decides=False,
    )
    hours: float = setting(
        "slurm: time limit of a job, after which it is requeued and resumes", above=0, decides=False
    )
    requeues: int = setting("slurm: at most so often", minimum=0, decides=False)
    memory_gb: int = setting("slurm: memory of a job", minimum=1, decides=False)
    partition: str | None = setting("slurm: null is Slurm's own choice", decides=False)
    account: str | None = setting("slurm: null is Slurm's own choice", decides=False)
    address: str | None = setting("ray: of a running cluster; null starts one here", decides=False)


@dataclass
class Config:
    """All settings of one run. ``net`` is open, since an own network has its own keys."""

    net: Any = setting("the network")
    data: Data = field(default_factory=Data, metadata={"meaning": "the data set"})
    loss: Loss = field(default_factory=Loss, metadata={"meaning": "the loss"})
    seed: int = setting("of weights, subset and shuffling", minimum=0, maximum=2**63 - 1)
    device: str = setting("auto, cpu, cuda, cuda:N, mps", check=_device_problem, decides=False)
    threads: int | None = setting("CPU threads of torch; null: torch's choice", minimum=1, decides=False)
    epochs: int = setting("passes over the train set", minimum=1)
    batch_size: int = setting("images per step; the last incomplete batch is dropped", minimum=1)
    lr: float = setting("learning rate of SGD", above=0)
    momentum: float = setting("of SGD, not Nesterov", minimum=0, maximum=1)
    weight_decay: float = setting("on all parameters", minimum=0)
    lr_milestones: list[Any] = setting(
        "fractions of the epochs, or epochs, after which lr drops", check=_milestones_problem
    )
    lr_gamma: float = setting("factor of each drop", above=0, maximum=1)
    precision: str = setting("of training alone", choices=("fp32", "tf32", "bf16"))
    channels_last: bool = setting("memory layout of images and convolutions")
    compile: bool = setting("torch.compile the network for training")
    sync_batchnorm: bool = setting(
        "under torchrun: batch norm over all processes' images, as in one process", neutral=(False,)
    )
    classifier: str = setting(
        "gradient, or least_squares (refit after every epoch)", choices=("gradient", "least_squares")
    )
    analysis: Analysis = field(default_factory=Analysis, metadata={"meaning": "the measurement"})
    cells: Any = setting("an experiment's table of settings by data set and network family", decides=False)
    launcher: Launcher = field(
        default_factory=Launcher, metadata={"meaning": "how a sweep's runs are spread"}
    )
    objective: str = setting("column whose last value a run returns to a sweep's search", decides=False)
    checkpoint_seconds: float = setting("between two checkpoints; 0: every epoch", minimum=0, decides=False)
    overwrite: bool = setting("start anew, keep the old folder beside", decides=False)
    progress: str = setting(
        "auto (live on a terminal)", choices=("auto", "live", "plain", "none"), decides=False
    )
    tensorboard: bool = setting("log each row for TensorBoard too", check=_tensorboard_problem, decides=False)


NETWORK_FAMILIES = {"resnet": ResNet, "vgg": VGG, "densenet": DenseNet}


def register() -> None:
    """Make the schema known to Hydra; config.yaml and net/*.yaml name it in their defaults lists."""
    cells.register()
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for family, node in NETWORK_FAMILIES.items():
        store.store(group="schema/net", name=family, node=node)


def leaves(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Every setting of a schema as (dotted key, field), in the order of declaration."""
    for entry in fields(schema):
        nested = entry.default_factory
        if nested is not NO_DEFAULT and is_dataclass(nested):
            yield from leaves(nested, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", entry


def _range_problem(value: Any, rules: Any) -> str | None:
    if value is None:
        return None
    if rules["choices"] is not None and value not in rules["choices"]:
        return f"must be one of {', '.join(map(str, rules['choices']))}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if rules["minimum"] is not None and value < rules["minimum"]:
        return f"must be at least {rules['minimum']}"
    if rules["above"] is not None and value <= rules["above"]:
        return f"must be above {rules['above']}"
    if rules["maximum"] is not None and value > rules["maximum"]:
        return f"must be at most {rules['maximum']}"
    return rules["check"](value) if rules["check"] is not None else None


def _network_schema(net: Any) -> type | None:
    family = str(net.get("_target_", "")).rpartition(".")
    return NETWORK_FAMILIES.get(family[2]) if family[0] == "nc_runner.networks" else None


def check(config: DictConfig) -> dict[str, Any]:
    """Check every range and return the resolved settings as plain dicts and lists.

    Raises :class:`ConfigError` naming the setting, what is wrong with it and what it may be.
    """
    missing = [key for key in OmegaConf.missing_keys(config) if not key.startswith("hydra.")]
    if "net._target_" in missing:
        raise ConfigError("net._target_ is not set\nsay which callable builds the network: "
                          "net=custom net._target_=my_package.my_module.MyNetwork")  # fmt: skip
    if missing:
        raise ConfigError(f"{sorted(missing)[0]} is not set\ngive it as {sorted(missing)[0]}=VALUE")
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    settings.pop("hydra", None)
    settings.pop("experiment", None)
    net = settings["net"]
    if not isinstance(net, dict) or not net.get("_target_"):
        raise ConfigError("net is not a network\nchoose one as net=resnet18, or net=custom net._target_=PATH")
    schemas: list[tuple[type, str]] = [(Config, "")]
    family = _network_schema(net)
    if family is not None:
        schemas.append((family, "net."))
    elif not net.get("name"):
        net["name"] = callable_name(str(net["_target_"]))
    data = settings["data"]
    if data["name"] is None:
        data["name"] = _data_name(data)
    for schema, prefix in schemas:
        for key, entry in leaves(schema, prefix):
            value: Any = settings
            for part in key.split("."):
                value = value[part]
            if "check" in entry.metadata and (problem := _range_problem(value, entry.metadata)):
                raise ConfigError(f"{key}={_shown(value)} is refused: {key} {problem}")
    if problem := _name_problem(net["name"]):
        raise ConfigError(f"net.name={net['name']} is refused: net.name {problem}")
    settings.pop("cells")  # what a run takes from the table stands in its settings
    _check_ood(settings["analysis"])
    _check_objective(str(settings["objective"]), settings["analysis"])
    mean, std = settings["data"]["mean"], settings["data"]["std"]
    if mean is not None and std is not None and len(mean) != len(std):
        raise ConfigError("data.mean and data.std differ in length\ngive one number per channel for each")
    return {str(key): value for key, value in settings.items()}


def _data_name(data: dict[str, Any]) -> str:
    """After the file, folder or class that ``data.options`` names, else after the loader."""
    for key in OWN_DATA.values():
        if given := data["options"].get(key):
            return Path(str(given)).name.removesuffix(".npz").rpartition(".")[2]
    return callable_name(str(data["_target_"]))


def _check_ood(analysis: dict[str, Any]) -> None:
    """Out-of-distribution data and the column that uses them: both or none. Also puts columns in order."""
    wanted = OOD_COLUMN in wider_columns(analysis["metrics"], bool(analysis["ood"]))
    if wanted and not analysis["ood"]:
        raise ConfigError(f"{OOD_COLUMN} needs images of another kind\nname a data set: analysis.ood=NAME")
    if analysis["ood"] and not wanted:
        ask = f"analysis.metrics=[{OOD_COLUMN}]"
        raise ConfigError(f"analysis.ood={analysis['ood']} has no use without its column\nask for it: {ask}")
    if isinstance(analysis["metrics"], list):  # order and repeats do not make another run
        analysis["metrics"] = list(wider_columns(analysis["metrics"], bool(analysis["ood"])))


def _check_objective(name: str, analysis: dict[str, Any]) -> None:
    columns = metric_columns(2, (*wider_columns(analysis["metrics"], bool(analysis["ood"])), *analysis["own"]))
    if name not in columns and not re.fullmatch("snr_[1-9][0-9]*", name):
        problem = f"objective={name}: metrics.csv of this run has no such column"
        raise ConfigError(f"{problem}{nearest(name, columns)}\nname one of its columns, such as nc1")


def _shown(value: Any) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def deciding_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's numbers, as a flat dict; the others say only where and how it runs."""
    passive = {key for key, entry in leaves() if not entry.metadata.get("decides", True)}
    neutral = {key: entry.metadata.get("neutral", ()) for key, entry in leaves()}
    flat: dict[str, Any] = {}

    def flatten(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                flatten(value, f"{prefix}{key}.")
            elif f"{prefix}{key}" not in passive and value not in neutral.get(f"{prefix}{key}", ()):
                flat[f"{prefix}{key}"] = value

    flatten(settings, "")
    return flat
