"""Loaders give back every pixel and label of files in the true formats, and refuse all other files."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import miniature
from helpers.miniature import WITH_FILES, assert_same, refusal
from nc_runner.experiment import datasets

from nc_runner.data.standard import RawDataset, RawSplit, check, load_raw
from nc_runner.errors import ConfigError


@pytest.fixture
def mnist_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    miniature.write_mnist_like(tmp_path, "MNIST", monkeypatch)
    return tmp_path


def test_digits_are_scikit_learns_in_its_order_scaled_to_255() -> None:
    from sklearn.datasets import load_digits

    original = load_digits()
    raw = datasets.digits()
    images = np.concatenate([raw.train.images, raw.test.images])[..., 0]
    assert raw.train.images.shape == (1500, 8, 8, 1)
    assert raw.test.images.shape == (297, 8, 8, 1)
    assert images.max() == 255
    np.testing.assert_array_equal(np.rint(images * (16 / 255)), original.images)
    np.testing.assert_array_equal(np.concatenate([raw.train.labels, raw.test.labels]), original.target)


def test_digits_need_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys; from nc_runner.experiment import datasets; datasets.digits(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("loader", WITH_FILES)
def test_every_pixel_and_label_comes_back(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = miniature.write(tmp_path, loader, monkeypatch)
    assert_same(getattr(datasets, loader)(tmp_path, download=False), written)
    assert_same(getattr(datasets, loader)(str(tmp_path), download=True), written)


def test_packed_idx_files_are_as_good_as_unpacked_ones(mnist_root: Path) -> None:
    unpacked = datasets.mnist(mnist_root, download=False)
    for path in (mnist_root / "MNIST" / "raw").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert_same(datasets.mnist(mnist_root, download=False), unpacked)


# Any data set


def raw_with(**changes: object) -> RawDataset:
    raw = miniature.random_raw((8, 8, 1))
    parts: dict[str, object] = {
        "images": raw.train.images,
        "labels": raw.train.labels,
        "test_images": raw.test.images,
        "num_classes": 10,
    }
    parts.update(changes)
    train = RawSplit(parts["images"], parts["labels"])  # type: ignore[arg-type]
    test = RawSplit(parts["test_images"], raw.test.labels)  # type: ignore[arg-type]
    return RawDataset(train, test, parts["num_classes"])  # type: ignore[arg-type]


GOOD = miniature.random_raw((8, 8, 1)).train


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"images": GOOD.images / 255}, "train images are float64, not uint8"),
        ({"images": GOOD.images[..., 0]}, "shape (30, 8, 8), not (N, height, width, 1 or 3)"),
        ({"images": GOOD.images.transpose(0, 3, 1, 2)}, "shape (30, 1, 8, 8), not"),
        ({"images": GOOD.images[:, :4]}, "not square: (4, 8)"),
        ({"images": GOOD.images[:0], "labels": GOOD.labels[:0]}, "the train set is empty"),
        ({"images": GOOD.images.tolist()}, "must be NumPy arrays"),
        ({"labels": GOOD.labels.astype(np.int32)}, "labels are int32, not int64"),
        ({"labels": GOOD.labels[1:]}, "30 images, but labels of shape (29,)"),
        ({"labels": GOOD.labels + 1}, "labels go from 1 to 10, not within 0 to 9"),
        ({"labels": GOOD.labels - 1}, "labels go from -1 to 8"),
        ({"labels": np.where(GOOD.labels == 3, 4, GOOD.labels)}, "no train image of class 3"),
        ({"num_classes": 12}, "no train image of class 10, 11"),
        ({"num_classes": 1}, "num_classes is 1"),
        (
            {"test_images": np.zeros((20, 9, 9, 1), np.uint8)},
            "train images are (8, 8, 1), test images (9, 9, 1)",
        ),
    ],
)
def test_arrays_that_are_not_a_data_set_are_refused(changes: dict[str, object], problem: str) -> None:
    message = refusal(lambda: check(raw_with(**changes), "own"))
    assert problem in message
    assert "data set own" in message


def test_arrays_of_any_layout_in_memory_are_a_data_set() -> None:
    check(raw_with(images=np.asfortranarray(GOOD.images)), "own")


OWN_LOADER = """
from helpers import miniature
from nc_runner.data.standard import RawDataset

def plain():
    return miniature.random_raw((8, 8, 3), 5)

def with_root(root, *, copies=1, download=True):
    assert root == "somewhere" and download is False
    return miniature.random_raw((8, 8, 1), seed=copies)

def arrays():
    raw = plain()
    return raw.train.images, raw.train.labels

def transposed():
    raw = plain()
    return RawDataset(raw.test, raw.train, 7)

def broken():
    raise FileNotFoundError("no such file:\\n a.npz")

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RawDataset]:
    (tmp_path / "own_data.py").write_text(OWN_LOADER)
    (tmp_path / "own_syntax.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_data", raising=False)

    def load(target: str, **options: object) -> RawDataset:
        settings = {"_target_": target, "name": "own", "root": "somewhere", "download": False}
        return load_raw({**settings, "options": options})

    return load


def test_an_own_loader_in_the_current_folder_gets_what_its_signature_takes(
    own: Callable[..., RawDataset],
) -> None:
    assert_same(own("own_data.plain"), miniature.random_raw((8, 8, 3), 5))
    assert_same(own("own_data.with_root", copies=4), miniature.random_raw((8, 8, 1), seed=4))


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("plain", {}, "data._target_=plain is not a dotted path"),
        ("nowhere.plain", {}, "there is no module nowhere"),
        ("own_data.missing", {}, "has no attribute missing"),
        ("own_syntax.f", {}, "cannot be imported"),
        ("own_data.number", {}, "is of type int"),
        ("own_data.arrays", {}, "returned tuple, not a data set"),
        ("own_data.plain", {"copies": 2}, "data.options do not fit own_data.plain"),
        ("nc_runner.data.standard.mnist", {"size": 2}, "unexpected keyword argument 'size'"),
    ],
)
def test_an_own_loader_that_cannot_be_used_is_a_config_error(
    target: str, options: dict[str, object], problem: str, own: Callable[..., RawDataset]
) -> None:
    with pytest.raises(ConfigError) as caught:
        own(target, **options)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_an_own_loader_that_fails_or_gives_bad_arrays_is_a_data_error(own: Callable[..., RawDataset]) -> None:
    assert "FileNotFoundError: no such file: a.npz" in refusal(lambda: own("own_data.broken"))
    assert "data set own: no train image of class 5, 6" in refusal(lambda: own("own_data.transposed"))
