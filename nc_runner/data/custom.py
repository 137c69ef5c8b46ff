"""Loaders of users' data: a folder of images, an .npz file, any data set of torchvision's kind."""

from __future__ import annotations

import inspect
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nc_runner.config.plugins import locate, reason
from nc_runner.config.values import nearest
from nc_runner.data.raw import RawDataset, RawSplit, from_maps
from nc_runner.data.sources import MapDataset
from nc_runner.errors import ConfigError, DataError

NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
TEST_FOLDERS = ("test", "val")


def folder(
    root: str | Path, *, folder: str, size: int | None = None, train: str = "train", test: str | None = None
) -> RawDataset:
    """A folder of images: ``folder``/train/CLASS/*.png and ``folder``/test/CLASS/*.png, as ImageFolder's.

    Classes are numbered in the order of their names. ``size`` resizes and crops all images to a square; it is
    needed unless they have one size already. ``test`` is ``test`` or ``val``, whichever is there, by default.

    Raises DataError where a folder is missing, or the two hold different classes.
    """
    from torchvision.datasets import ImageFolder

    place = _place(root, folder, "data.options.folder")
    chosen = test or next((name for name in TEST_FOLDERS if (place / name).is_dir()), TEST_FOLDERS[0])
    splits = []
    for name in (train, chosen):
        if not (place / name).is_dir():
            raise DataError(
                f"data set {place}: there is no folder {place / name}\n"
                "name its two folders: data.options.train=NAME data.options.test=NAME"
            )
        try:
            splits.append(ImageFolder(str(place / name)))
        except FileNotFoundError as error:  # no class folders, or one without images
            raise DataError(f"data set {place}: {reason(error)}\nput images into {name}/CLASS/") from error
    if splits[0].classes != splits[1].classes:
        odd = sorted(set(splits[0].classes) ^ set(splits[1].classes))
        raise DataError(
            f"data set {place}: {train} and {chosen} hold different classes ({', '.join(odd[:5])})\n"
            "give both the same class folders"
        )
    return from_maps(splits[0], splits[1], place.name, size)


def npz(root: str | Path, *, file: str) -> RawDataset:
    """An .npz file with train_images, train_labels, test_images, test_labels.

    Images (N, H, W), (N, H, W, C) or (N, C, H, W) in uint8, labels (N,) from 0 on.
    """
    place = _place(root, file, "data.options.file")
    try:
        _check_size(place)
        with np.load(place) as arrays:
            missing = [name for name in NPZ_ARRAYS if name not in arrays]
            if missing:
                held = ", ".join(arrays.files[:8])
                raise DataError(
                    f"{place} has no {', '.join(missing)}; it holds {held}\nsave it with np.savez"
                )
            given = [arrays[name] for name in NPZ_ARRAYS]
    except DataError:
        raise
    except Exception as error:  # a damaged file can fail in any way inside zipfile and NumPy
        raise DataError(
            f"{place} is not an .npz file of arrays ({reason(error)})\nsave it with np.savez"
        ) from error
    train, test = (RawSplit(_channels_last(given[i]), _whole(given[i + 1])) for i in (0, 2))
    return RawDataset(train, test, int(max(train.labels.max(initial=0), test.labels.max(initial=0))) + 1)


def torchvision(
    root: str | Path, *, dataset: str, download: bool = True, size: int | None = None, **options: Any
) -> RawDataset:
    """A data set of torchvision, by its name, or any class of that kind by a dotted path.

    It is made twice, with ``train=True`` and ``train=False``, or ``split="train"`` and ``split="test"``
    (``"val"`` where it knows no test), whichever it takes; ``root``, ``download`` and the further options are
    handed on where it takes them. Items are (image, label): see :class:`ImageSource`.
    """
    source = map_class(dataset)
    takes = inspect.signature(source).parameters
    common = {"root": str(Path(root).expanduser()), "download": download}
    arguments = {key: value for key, value in common.items() if key in takes} | options

    def make(**choice: Any) -> MapDataset:
        made: MapDataset = source(**arguments, **choice)
        return made

    if "train" in takes:
        splits = make(train=True), make(train=False)
    elif "split" in takes:
        try:
            splits = make(split="train"), make(split="test")
        except ValueError:  # torchvision's "Unknown value for argument split"
            splits = make(split="train"), make(split="val")
    else:
        raise ConfigError(
            f"data.options.dataset={dataset} is not supported: it takes neither train= nor split=\n"
            "write a loader that returns its two splits: data=custom data._target_=my_module.load"
        )
    return from_maps(*splits, dataset, size)


def map_class(dataset: str) -> Any:
    """The class of map data sets that a name in torchvision.datasets, or a path, stands for.

    Raises ConfigError where there is none.
    """
    if "." in dataset:
        return locate(dataset, "data.options.dataset")
    import torchvision.datasets

    if dataset not in torchvision.datasets.__all__:
        near = nearest(dataset, torchvision.datasets.__all__)
        raise ConfigError(
            f"data.options.dataset={dataset}: torchvision has no such data set{near}\n"
            "give its class name, such as KMNIST, or the dotted path of a custom class"
        )
    return getattr(torchvision.datasets, dataset)


def _place(root: str | Path, name: str, setting: str) -> Path:
    """The path of ``name``, in the current folder or in ``data.root``."""
    places = [Path(name).expanduser(), Path(root).expanduser() / name]
    for place in places:
        if place.exists():
            return place
    raise DataError(
        f"{setting}={name} is neither in the current folder nor in data.root={root}\ngive its path"
    )


def _check_size(path: Path) -> None:
    """Raise DataError where the arrays are larger than the free memory: a small file may expand."""
    from nc_runner.data.streaming import free_memory  # here: it imports torch

    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > (free := free_memory()):
        raise DataError(
            f"{path} takes {size / 2**30:.1f} GiB unpacked, and {free / 2**30:.1f} GiB of memory are free\n"
            "give a smaller file, or images in folders: data=folder"
        )


def _whole(labels: Any) -> Any:
    return labels.astype(np.int64) if labels.dtype.kind in "iu" else labels  # others: an error of their type


def _channels_last(images: Any) -> Any:
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        return images.transpose(0, 2, 3, 1)
    return images
