"""The data sets that ship, each read from its published files into raw arrays and checked. Imports no torch.

torchvision is imported only where one of its classes reads or fetches: it takes more than a second.
"""

from __future__ import annotations

import gzip
import inspect
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nc_runner.config.plugins import reason
from nc_runner.data import files as data_files
from nc_runner.data.files import FileSet
from nc_runner.data.raw import RawDataset, RawSplit, check
from nc_runner.errors import ConfigError, DataError


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

    The file is read without importing scikit-learn, which takes one to two seconds: comma-separated lines of
    64 grey levels and the label. Raises DataError where the package is not installed or lacks the file.
    """
    table = _table_of_digits()
    images = np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    train, test = slice(None, KNOWN["digits"].train), slice(KNOWN["digits"].train, None)
    raw = RawDataset(RawSplit(images[train], labels[train]), RawSplit(images[test], labels[test]), 10)
    return _as_known(raw, "digits")


def _table_of_digits() -> NDArray[np.float64]:
    """(1797, 65)."""
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError(
            "digits: the package scikit-learn, which holds these images, is not installed\n"
            "install it: pip install scikit-learn"
        )
    count = KNOWN["digits"].train + KNOWN["digits"].test
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        if len(lines) != count:
            raise ValueError(f"it has {len(lines)} lines, not {count}")
        return np.loadtxt(lines, delimiter=",").reshape(-1, 65)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"digits: {path} cannot be read: {reason(error)}\n"
            "install scikit-learn again: pip install --force-reinstall scikit-learn"
        ) from error


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
    address = " and ".join(url for url, _, _ in splits)
    return _torchvision(SVHN, download, _torchvisions_files(SVHN, root, "", files, files, address))


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


def _folder(root: str | Path) -> Path:
    folder = Path(root).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"data.root={root} is a file\ngive the folder of the data files: data.root=DIR")
    return folder


def _as_known(raw: RawDataset, title: str) -> RawDataset:
    known = KNOWN[title]
    for split, part, count in (("train", raw.train, known.train), ("test", raw.test_split, known.test)):
        if part.images.shape != (count, *known.shape):
            raise DataError(
                f"{title}: {split} images have shape {part.images.shape}, not {(count, *known.shape)}\n"
                "remove its files and fetch them again, or load a variant with data=custom data._target_=PATH"
            )
    check(raw, title)
    return raw


def _idx(title: str, root: Path, download: bool, hint: str = "") -> RawDataset:
    """Read with the reader of :mod:`nc_runner.data.files`: torchvision's checks nothing."""
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
    wanted = _torchvisions_files(source, root, source.base_folder, files, archive, source.url)
    return _torchvision(source, download, wanted)


def _torchvisions_files(
    source: Any,
    root: str | Path,
    folder: str,
    files: dict[str, str],
    archives: dict[str, str],
    address: str,
) -> FileSet:
    """The ``files`` in ``root``/``folder`` that torchvision's class ``source`` reads."""
    root = _folder(root)

    def fetch(into: Path) -> None:
        for choice in _choices(source):
            source(into, **choice, download=True)

    by_hand = f"put {' and '.join(archives)} ({address}) into {root}"
    return FileSet(source.__name__, root, root / folder, files, fetch, by_hand, archives)


def _torchvision(source: Any, download: bool, wanted: FileSet) -> RawDataset:
    """Read with torchvision's class ``source``, which verifies the MD5 of every file."""
    data_files.obtain(wanted, download)
    try:
        with data_files.quiet():
            parts = [source(wanted.root, **choice) for choice in _choices(source)]
    except RuntimeError:  # torchvision's "not found or corrupted"
        data_files.verify(wanted)
        raise

    def split(part: Any) -> RawSplit:
        images = np.asarray(part.data)
        if images.shape[1] == 3 and images.shape[3] != 3:  # SVHN and STL10 come as (N, C, H, W)
            images = images.transpose(0, 2, 3, 1)
        labels = part.labels if hasattr(part, "labels") else part.targets
        return RawSplit(images, np.asarray(labels).astype(np.int64))

    train, test = map(split, parts)
    return _as_known(RawDataset(train, test, KNOWN[wanted.title].num_classes), wanted.title)


def _choices(source: Any) -> list[dict[str, str | bool]]:
    """The arguments with which a class of torchvision's gives its train and its test set."""
    by_split = "split" in inspect.signature(source).parameters
    return [{"split": "train"}, {"split": "test"}] if by_split else [{"train": True}, {"train": False}]
