"""Loaders give back every pixel and label of files in the published formats."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from helpers import miniature
from helpers.miniature import WITH_FILES, assert_same, data_error

from nc_runner.data import standard


@pytest.fixture
def mnist_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    miniature.write_mnist_like(tmp_path, "MNIST", monkeypatch)
    return tmp_path


def test_digits_are_scikit_learns_in_its_order_scaled_to_255() -> None:
    from sklearn.datasets import load_digits

    original = load_digits()
    raw = standard.digits()
    images = np.concatenate([raw.train.images, raw.test.images])[..., 0]
    assert raw.train.images.shape == (1500, 8, 8, 1)
    assert raw.test.images.shape == (297, 8, 8, 1)
    np.testing.assert_array_equal(images, np.rint(original.images * (255 / 16)))
    np.testing.assert_array_equal(np.rint(images * (16 / 255)), original.images)
    np.testing.assert_array_equal(np.concatenate([raw.train.labels, raw.test.labels]), original.target)


def test_digits_need_no_slow_library() -> None:
    code = (
        "import sys; from nc_runner.data import standard; standard.digits(); "
        "print([name for name in ('torch', 'torchvision', 'sklearn', 'scipy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no gzip", gzip.compress(b"1,2,x\n" * 1797), gzip.compress(b"1,2\n" * 1797)],
    ids=["no file", "empty", "not packed", "no numbers", "too few"],
)
def test_a_scikit_learn_without_its_digits_is_an_error_that_names_the_file(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "datasets" / "data" / "digits.csv.gz"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    spec = ModuleSpec("sklearn", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(standard, "find_spec", lambda name: spec)
    assert f"digits: {path}" in data_error(standard.digits)


def test_other_digits_than_scikit_learns_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    (original,) = spec.submodule_search_locations or []
    path = tmp_path / "datasets" / "data" / "digits.csv.gz"
    path.parent.mkdir(parents=True)
    whole = gzip.decompress(Path(original, "datasets/data/digits.csv.gz").read_bytes())
    path.write_bytes(gzip.compress(b"".join(whole.splitlines(keepends=True)[:-1])))
    shortened = ModuleSpec("sklearn", None)
    shortened.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(standard, "find_spec", lambda name: shortened)
    assert "it has 1796 lines, not 1797" in data_error(standard.digits)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard, "find_spec", lambda name: None)
    assert "pip install scikit-learn" in data_error(standard.digits)


@pytest.mark.parametrize("loader", WITH_FILES)
def test_every_pixel_and_label_comes_back(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = miniature.write(tmp_path, loader, monkeypatch)
    assert_same(getattr(standard, loader)(tmp_path, download=False), written)
    assert_same(getattr(standard, loader)(str(tmp_path), download=True), written)


def test_packed_idx_files_are_as_good_as_unpacked_ones(mnist_root: Path) -> None:
    unpacked = standard.mnist(mnist_root, download=False)
    for path in (mnist_root / "MNIST" / "raw").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert_same(standard.mnist(mnist_root, download=False), unpacked)
