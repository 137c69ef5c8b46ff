"""From the ``data`` settings to a raw data set: the loaders by name, and the call of one. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nc_runner.config.data_schema import Data, TorchvisionOptions
from nc_runner.config.plugins import callable_name, check_arguments, locate, taken
from nc_runner.data import custom, standard
from nc_runner.data.raw import RawDataset, check, from_maps
from nc_runner.data.ufm import ufm
from nc_runner.errors import ConfigError, DataError, NCRunnerError

STANDARD: dict[str, Callable[..., RawDataset]] = {
    "digits": standard.digits,
    "mnist": standard.mnist,
    "fashionmnist": standard.fashionmnist,
    "svhn": standard.svhn,
    "cifar10": standard.cifar10,
    "cifar100": standard.cifar100,
    "stl10": standard.stl10,
}
LOADERS: dict[str, Callable[..., RawDataset]] = STANDARD | {
    "folder": custom.folder,
    "npz": custom.npz,
    "torchvision": custom.torchvision,
    "ufm": ufm,
}
PROVIDED = ("root", "download")  # what a custom loader gets if it names them


def check_loader(data: Data) -> None:
    """Find a custom loader, and check that it takes the arguments that ``data.options`` gives.

    The same for the class that ``data=torchvision`` names. Does nothing for the other loaders that ship.
    Raises ConfigError.
    """
    options = data.options.model_extra or {}
    if isinstance(data.options, TorchvisionOptions):
        source = custom.map_class(data.options.dataset)
        check_arguments(source, "data.options", options, (*PROVIDED, "train", "split"))
    elif data.target not in LOADERS:
        check_arguments(_loader(data), "data.options", options, PROVIDED)


def load_raw(data: Data) -> RawDataset:
    """Call the loader that the settings name, and check what it returns.

    ``data.target`` is the name of a loader that ships, or the path of a function: it gets ``root`` and
    ``download`` where its signature takes them and ``data.options`` as further keyword arguments, and
    returns a :class:`RawDataset`, or a pair (train, test) of map data sets whose items are (image, label).

    Raises:
        ConfigError: there is no such loader, it does not take the options, or it returns something else.
        DataError: it fails, or its data set does not pass :func:`nc_runner.data.raw.check`.
    """
    check_loader(data)
    loader, path, name = _loader(data), data.target, data.name or callable_name(data.target)
    arguments = {key: getattr(data, key) for key in taken(loader, PROVIDED)} | data.options.model_dump()
    try:
        raw = loader(**arguments)
        if isinstance(raw, (tuple, list)) and len(raw) == 2 and all(_is_map(part) for part in raw):
            raw = from_maps(raw[0], raw[1], name)
    except NCRunnerError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"data set {name}: {path} failed with {type(error).__name__}: {reason}\n"
            "fix the loader or its files; HYDRA_FULL_ERROR=1 shows where it failed"
        ) from error
    if not isinstance(raw, RawDataset):
        raise ConfigError(
            f"data._target_={path} returned {type(raw).__name__}, not a data set\n"
            "a loader returns nc_runner.data.raw.RawDataset(train, test, num_classes), "
            "or two data sets of (image, label) items"
        )
    check(raw, name)
    return raw


def _loader(data: Data) -> Any:
    return LOADERS.get(data.target) or locate(data.target, "data._target_", LOADERS)


def _is_map(part: object) -> bool:
    return hasattr(part, "__getitem__") and hasattr(part, "__len__") and not isinstance(part, np.ndarray)
