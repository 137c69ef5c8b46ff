"""Data sets: from files to raw arrays. Each loader is what ``data._target_`` names in conf/data/.

An own data set is a function that returns a :class:`RawDataset`, or two map data sets; see :func:`load_raw`.
torchvision and scikit-learn are imported only where they are needed: both take seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nc_runner.config.plugins import locate
from nc_runner.data import files as data_files
from nc_runner.data.files import FileSet
from nc_runner.data.sources import ImageSource
from nc_runner.errors import ConfigError, DataError, NCRunnerError


@dataclass(frozen=True, eq=False)
class RawSplit:
    """Images (N, H, W, C) as uint8, in an array or decoded as they are indexed; labels (N,) int64, from 0."""

    images: NDArray[np.uint8] | ImageSource
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RawDataset:
    """What a loader returns."""

    train: RawSplit
    test: RawSplit
    num_classes: int


@dataclass(frozen=True)
class Known:
    """What a standard data set must be: images per split, classes, and the shape (H, W, C) of an image."""

    train: int
    test: int
    num_classes: int
    shape: tuple[int, int, int]


KNOWN = {
    "digits": Known(1_500, 297, 10, (8, 8, 1)),
    "MNIST": Known(60_000, 10_000, 10, (28, 28, 1)),
    "FashionMNIST": Known(60_000, 10_000, 10, (28, 28, 1)),
    "SVHN": Known(73_257, 26_032, 10, (32, 32, 3)),
    "CIFAR10": Known(50_000, 10_000, 10, (32, 32, 3)),
    "CIFAR100": Known(50_000, 10_000, 100, (32, 32, 3)),
    "STL10": Known(5_000, 8_000, 10, (96, 96, 3)),
}


def digits(root: str | Path = "", download: bool = False) -> RawDataset:
    """scikit-learn's ``load_digits``: 1,797 handwritten digits of 8 x 8 pixels; ``root`` is not used.

    Its grey levels 0..16 become 0..255, rounded. The first 1,500 images are the train set and the last 297
    the test set, in scikit-learn's order, whatever the seed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int64)
    train, test = slice(None, KNOWN["digits"].train), slice(KNOWN["digits"].train, None)
    raw = RawDataset(RawSplit(images[train], labels[train]), RawSplit(images[test], labels[test]), 10)
    return _as_known(raw, "digits")


def mnist(root: str | Path, download: bool = True) -> RawDataset:
    """MNIST: 60,000 + 10,000 digits, 28 x 28, grey; four IDX files, or their .gz, in ``root``/MNIST/raw/."""
    return _idx("MNIST", _folder(root), download)


def fashionmnist(root: str | Path, download: bool = True) -> RawDataset:
    """FashionMNIST: as :func:`mnist`, in ``root``/FashionMNIST/raw/. See also scripts/fashion_mnist.sh."""
    root = _folder(root)
    return _idx("FashionMNIST", root, download, f"; on Debian: bash scripts/fashion_mnist.sh {root}")


def svhn(root: str | Path, download: bool = True) -> RawDataset:
    """SVHN: 73,257 + 26,032 cropped digits, 32 x 32, colour; two .mat files in ``root``."""
    from torchvision.datasets import SVHN

    splits = [SVHN.split_list[split] for split in ("train", "test")]
    files = {name: md5 for _, name, md5 in splits}
    return _torchvision(SVHN, root, download, "", files, files, " and ".join(url for url, _, _ in splits))


def cifar10(root: str | Path, download: bool = True) -> RawDataset:
    """CIFAR10: 50,000 + 10,000 images, 32 x 32, colour; in ``root``/cifar-10-batches-py/."""
    from torchvision.datasets import CIFAR10

    return _torchvision_archive(CIFAR10, root, download)


def cifar100(root: str | Path, download: bool = True) -> RawDataset:
    """CIFAR100: 50,000 + 10,000 images, 32 x 32, colour, 100 fine labels; in ``root``/cifar-100-python/."""
    from torchvision.datasets import CIFAR100

    return _torchvision_archive(CIFAR100, root, download)


def stl10(root: str | Path, download: bool = True) -> RawDataset:
    """STL10: 5,000 + 8,000 labelled images, 96 x 96, colour; in ``root``/stl10_binary/.

    torchvision asks for all five .bin files, though the 100,000 unlabelled images are not used here.
    """
    from torchvision.datasets import STL10

    return _torchvision_archive(STL10, root, download)


def check(raw: RawDataset, name: str) -> None:
    """Check shapes, types and labels of a data set from any loader; :class:`DataError` says what is wrong."""

    def require(condition: bool, problem: str) -> None:
        if not condition:
            raise DataError(f"data set {name}: {problem}\nmend its loader or its files")

    count = raw.num_classes
    require(isinstance(count, (int, np.integer)) and count >= 2, f"num_classes is {count}, not 2 or more")
    for split, part in (("train", raw.train), ("test", raw.test)):
        images, labels = part.images, part.labels
        arrays = isinstance(images, (np.ndarray, ImageSource)) and isinstance(labels, np.ndarray)
        require(arrays, f"{split} images and labels must be NumPy arrays")
        require(images.dtype == np.uint8, f"{split} images are {images.dtype}, not uint8 from 0 to 255")
        layout = images.ndim == 4 and images.shape[3] in (1, 3)
        require(layout, f"{split} images have shape {images.shape}, not (N, height, width, 1 or 3)")
        require(images.shape[1] == images.shape[2], f"{split} images are not square: {images.shape[1:3]}")
        require(len(images) > 0, f"the {split} set is empty")
        require(labels.dtype == np.int64, f"{split} labels are {labels.dtype}, not int64")
        same = labels.shape == (len(images),)
        require(same, f"{split} has {len(images)} images, but labels of shape {labels.shape}")
        low, high = int(labels.min()), int(labels.max())
        inside = low >= 0 and high < count
        require(inside, f"{split} labels go from {low} to {high}, not within 0 to {count - 1}")
    shapes = raw.train.images.shape[1:], raw.test.images.shape[1:]
    require(shapes[0] == shapes[1], f"train images are {shapes[0]}, test images {shapes[1]}")
    absent = np.flatnonzero(np.bincount(raw.train.labels, minlength=count) == 0)
    require(not len(absent), f"no train image of class {', '.join(map(str, absent[:10]))}")


def load_raw(settings: Mapping[str, Any]) -> RawDataset:
    """Call the loader that ``settings`` (the resolved ``data`` group) names, and check what it returns.

    ``_target_`` is a path to a function, as :func:`nc_runner.config.plugins.locate` finds it. It gets
    ``root`` and ``download`` where its signature takes them and ``options`` as further keyword arguments, and
    returns a :class:`RawDataset`, or a pair (train, test) of map data sets whose items are (image, label).
    """
    path = str(settings["_target_"])
    loader = locate(path, "data._target_")
    options = dict(settings.get("options") or {})
    try:
        signature = inspect.signature(loader)
        takes = signature.parameters.values()
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes)
        common = {key: settings[key] for key in ("root", "download") if key in settings}
        arguments = {
            key: value for key, value in common.items() if anything or key in signature.parameters
        } | options
        signature.bind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"data.options do not fit {path}: {error}\ngive them as +data.options.KEY=VALUE"
        ) from error
    name = str(settings.get("name") or path)
    try:
        raw = loader(**arguments)
        if isinstance(raw, (tuple, list)) and len(raw) == 2 and all(_is_map(part) for part in raw):
            from nc_runner.data.custom import from_maps

            raw = from_maps(raw[0], raw[1], name)
    except NCRunnerError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"data set {name}: {path} failed with {type(error).__name__}: {reason}\n"
            "mend the loader or its files; HYDRA_FULL_ERROR=1 shows where it failed"
        ) from error
    if not isinstance(raw, RawDataset):
        raise ConfigError(
            f"data._target_={path} returned {type(raw).__name__}, not a data set\n"
            "a loader returns nc_runner.data.standard.RawDataset(train, test, num_classes), "
            "or two data sets of (image, label) items"
        )
    check(raw, name)
    return raw


def _is_map(part: Any) -> bool:
    return hasattr(part, "__getitem__") and hasattr(part, "__len__") and not isinstance(part, np.ndarray)


def _folder(root: str | Path) -> Path:
    folder = Path(root).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"data.root={root} is a file\ngive the folder of the data files: data.root=DIR")
    return folder


def _as_known(raw: RawDataset, title: str) -> RawDataset:
    known = KNOWN[title]
    for split, part, count in (("train", raw.train, known.train), ("test", raw.test, known.test)):
        if part.images.shape != (count, *known.shape):
            raise DataError(
                f"{title}: {split} images have shape {part.images.shape}, not {(count, *known.shape)}\n"
                "remove its files and get them anew, or load your own variant with data._target_=PATH"
            )
    check(raw, title)
    return raw


def _idx(title: str, root: Path, download: bool, hint: str = "") -> RawDataset:
    """Read with our own reader: torchvision's checks nothing, and prefers a ``processed`` folder if any."""
    known, folder = KNOWN[title], root / title / "raw"

    def fetch(into: Path) -> None:
        import torchvision.datasets

        getattr(torchvision.datasets, title)(into, download=True)

    by_hand = f"put its four files, as they are or as .gz, into {folder}{hint}"
    wanted = FileSet(title, root, folder, data_files.IDX_MD5[title], fetch, by_hand, packed=".gz")
    data_files.obtain(wanted, download)

    def split(prefix: str, count: int) -> RawSplit:
        labels = data_files.read_idx(wanted, f"{prefix}-labels-idx1-ubyte", (count,))
        images = data_files.read_idx(wanted, f"{prefix}-images-idx3-ubyte", (count, *known.shape[:2]))
        return RawSplit(images[..., np.newaxis], labels.astype(np.int64))

    return _as_known(
        RawDataset(split("train", known.train), split("t10k", known.test), known.num_classes), title
    )


def _torchvision_archive(source: Any, root: str | Path, download: bool) -> RawDataset:
    """CIFAR and STL10: one .tar.gz with one folder in it."""
    files = dict([*source.train_list, *source.test_list])
    if hasattr(source, "meta"):
        files[source.meta["filename"]] = source.meta["md5"]
    archive = {source.filename: source.tgz_md5}
    return _torchvision(source, root, download, source.base_folder, files, archive, source.url)


def _torchvision(
    source: Any,
    root: str | Path,
    download: bool,
    folder: str,
    files: Mapping[str, str],
    archives: Mapping[str, str],
    address: str,
) -> RawDataset:
    """Read with torchvision's class ``source``, which verifies the MD5 of every file."""
    root, title = _folder(root), source.__name__
    by_split = "split" in inspect.signature(source).parameters
    choices = [{"split": "train"}, {"split": "test"}] if by_split else [{"train": True}, {"train": False}]

    def fetch(into: Path) -> None:
        for choice in choices:
            source(into, **choice, download=True)

    by_hand = f"put {' and '.join(archives)} ({address}) into {root}"
    wanted = FileSet(title, root, root / folder, files, fetch, by_hand, archives)
    data_files.obtain(wanted, download)
    try:
        with data_files.quiet():
            parts = [source(root, **choice) for choice in choices]
    except RuntimeError:  # torchvision's "not found or corrupted"
        data_files.verify(wanted)
        raise

    def split(part: Any) -> RawSplit:
        images = np.asarray(part.data)
        if images.shape[1] == 3 and images.shape[3] != 3:  # SVHN and STL10 come as (N, C, H, W)
            images = images.transpose(0, 2, 3, 1)
        labels = part.labels if hasattr(part, "labels") else part.targets
        return RawSplit(images, np.asarray(labels).astype(np.int64))

    return _as_known(RawDataset(split(parts[0]), split(parts[1]), KNOWN[title].num_classes), title)
