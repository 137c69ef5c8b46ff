"""Miniature data sets in the true on-disk formats, and a pretended server that torchvision downloads from.

Each writer fills a folder and returns the images and labels that a loader must give back. It lays out the
bytes from the format's description, not with the loader's own code, and tells nc-runner and torchvision the
counts and checksums of the small files, for the length of a test.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from nc_runner.data import files as data_files
from nc_runner.data import standard
from nc_runner.data.raw import RawDataset, RawSplit
from nc_runner.errors import DataError

TRAIN, TEST = 30, 20  # images
WITH_FILES = ["mnist", "fashionmnist", "svhn", "cifar10", "cifar100", "stl10"]
IDX_NAMES = [
    f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def random_raw(shape: tuple[int, int, int], num_classes: int = 10, seed: int = 0) -> RawDataset:
    """Random images; the train set holds TRAIN/num_classes of each class, shuffled."""
    rng = np.random.default_rng(seed)

    def split(count: int) -> RawSplit:
        images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        return RawSplit(images, rng.permutation(np.arange(count) % num_classes).astype(np.int64))

    return RawDataset(split(max(TRAIN, num_classes)), split(TEST), num_classes)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _know(patch: pytest.MonkeyPatch, title: str, raw: RawDataset) -> None:
    shape = raw.train.images.shape
    known = standard.Known(len(raw.train.labels), len(raw.test.labels), raw.num_classes, shape[1:])
    patch.setitem(standard.KNOWN, title, known)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Two zero bytes, type 8, number of dimensions, sizes as big-endian 32-bit integers, values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(struct.pack(">I", size) for size in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes())


def write_mnist_like(root: Path, title: str, patch: pytest.MonkeyPatch, seed: int = 0) -> RawDataset:
    """MNIST or FashionMNIST: four unpacked IDX files in ROOT/TITLE/raw/."""
    raw = random_raw((28, 28, 1), seed=seed)
    folder = root / title / "raw"
    for prefix, split in (("train", raw.train), ("t10k", raw.test)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images[..., 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.labels)
    _know(patch, title, raw)
    patch.setitem(data_files.IDX_MD5, title, {path.name: md5(path) for path in folder.iterdir()})
    return raw


def write_cifar(root: Path, title: str, patch: pytest.MonkeyPatch) -> RawDataset:
    """CIFAR10 or CIFAR100: pickled dicts; a row holds 1,024 red, then green, then blue bytes, row by row."""
    import torchvision.datasets

    source = getattr(torchvision.datasets, title)
    fine = title == "CIFAR100"
    raw = random_raw((32, 32, 3), 100 if fine else 10)
    folder = root / source.base_folder
    folder.mkdir(parents=True)

    def batch(name: str, images: np.ndarray, labels: np.ndarray) -> list[str]:
        rows = np.stack([np.concatenate([image[:, :, c].reshape(-1) for c in range(3)]) for image in images])
        entry: dict[str, Any] = {"data": rows, "fine_labels" if fine else "labels": labels.tolist()}
        if fine:
            entry["coarse_labels"] = (labels // 5).tolist()
        (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
        return [name, md5(folder / name)]

    names = [name for name, _ in source.train_list]
    parts = np.array_split(np.arange(len(raw.train.labels)), len(names))
    train = [
        batch(name, raw.train.images[part], raw.train.labels[part])
        for name, part in zip(names, parts, strict=True)
    ]
    test = [batch(source.test_list[0][0], raw.test.images, raw.test.labels)]
    meta = dict(source.meta)
    meta_path = folder / meta["filename"]
    meta_path.write_bytes(pickle.dumps({meta["key"]: [f"class {c}" for c in range(raw.num_classes)]}, 2))
    meta["md5"] = md5(meta_path)
    patch.setattr(source, "train_list", train)
    patch.setattr(source, "test_list", test)
    patch.setattr(source, "meta", meta)
    _know(patch, title, raw)
    return raw


def write_svhn(root: Path, patch: pytest.MonkeyPatch) -> RawDataset:
    """SVHN: MATLAB files with X (32, 32, 3, N) and y (N, 1), where the label 10 stands for the digit 0."""
    from torchvision.datasets import SVHN

    raw = random_raw((32, 32, 3))
    root.mkdir(parents=True, exist_ok=True)
    splits = dict(SVHN.split_list)
    for name, split in (("train", raw.train), ("test", raw.test)):
        path = root / f"{name}_32x32.mat"
        digits = np.where(split.labels == 0, 10, split.labels).astype(np.uint8)[:, np.newaxis]
        savemat(path, {"X": np.stack(list(split.images), axis=3), "y": digits})
        content = path.read_bytes()  # begins with 116 bytes of text that say when it was written
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content[116:])  # the same images, the same MD5
        splits[name] = [splits[name][0], path.name, md5(path)]
    patch.setattr(SVHN, "split_list", splits)
    _know(patch, "SVHN", raw)
    return raw


def write_stl10(root: Path, patch: pytest.MonkeyPatch) -> RawDataset:
    """STL10: bytes, image by image, channel by channel, column by column; labels from 1."""
    from torchvision.datasets import STL10

    raw = random_raw((96, 96, 3))
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for name, split in (("train", raw.train), ("test", raw.test)):
        columns = [image[:, x, c] for image in split.images for c in range(3) for x in range(96)]
        (folder / f"{name}_X.bin").write_bytes(np.concatenate(columns).tobytes())
        (folder / f"{name}_y.bin").write_bytes((split.labels + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    (folder / "class_names.txt").write_text("airplane\n" * 10)
    for attribute in ("train_list", "test_list"):
        listed = [[name, md5(folder / name)] for name, _ in getattr(STL10, attribute)]
        patch.setattr(STL10, attribute, listed)
    _know(patch, "STL10", raw)
    return raw


def write(root: Path, loader: str, patch: pytest.MonkeyPatch) -> RawDataset:
    """The data set that the standard loader of this name reads."""
    if loader in ("mnist", "fashionmnist"):
        return write_mnist_like(root, TITLES[loader], patch)
    if loader in ("cifar10", "cifar100"):
        return write_cifar(root, TITLES[loader], patch)
    return write_svhn(root, patch) if loader == "svhn" else write_stl10(root, patch)


TITLES = {
    "mnist": "MNIST",
    "fashionmnist": "FashionMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "stl10": "STL10",
}


def pack(root: Path, loader: str, server: Path, patch: pytest.MonkeyPatch) -> None:
    """Move a written data set into ``server`` in the form in which it is published."""
    import torchvision.datasets

    server.mkdir(parents=True, exist_ok=True)
    source = getattr(torchvision.datasets, TITLES[loader])
    if loader == "svhn":
        for path in root.glob("*.mat"):
            shutil.move(path, server / path.name)
    elif loader in ("mnist", "fashionmnist"):
        folder = root / TITLES[loader]
        for path in (folder / "raw").iterdir():
            (server / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        resources = [(name, md5(server / name)) for name, _ in source.resources]
        patch.setattr(source, "resources", resources)
        shutil.rmtree(folder)
    else:
        with tarfile.open(server / source.filename, "w:gz") as archive:
            archive.add(root / source.base_folder, source.base_folder)
        patch.setattr(source, "tgz_md5", md5(server / source.filename))
        shutil.rmtree(root / source.base_folder)


def serve(patch: pytest.MonkeyPatch, server: Path | None, error: Exception | None = None) -> SimpleNamespace:
    """Let torchvision download from the folder ``server``, or fail with ``error``; counts the downloads."""
    from torchvision.datasets import utils

    log = SimpleNamespace(urls=[])

    def retrieve(url: str, filename: str, chunk_size: int = 0) -> None:
        log.urls.append(url)
        print("a line that must not reach the terminal")
        if error is not None:
            Path(filename).write_bytes(b"the beginning of a file")
            raise error
        assert server is not None
        shutil.copy(server / url.rpartition("/")[2], filename)

    patch.setattr(utils, "_get_redirect_url", lambda url, max_hops=3: url)
    patch.setattr(utils, "_urlretrieve", retrieve)
    return log


def assert_same(loaded: RawDataset, written: RawDataset) -> None:
    assert loaded.num_classes == written.num_classes
    for got, want in ((loaded.train, written.train), (loaded.test, written.test)):
        assert got.images.dtype == np.uint8
        assert got.labels.dtype == np.int64
        np.testing.assert_array_equal(got.images, want.images)
        np.testing.assert_array_equal(got.labels, want.labels)


def data_error(call: Callable[[], object]) -> str:
    """The message of the DataError that ``call`` must raise."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 2
    return message
