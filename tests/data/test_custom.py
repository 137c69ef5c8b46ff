"""Data that users bring: folders of images, .npz files, data sets of torchvision's kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import miniature
from helpers.settings import settings_of
from PIL import Image

from nc_runner.data.custom import NPZ_ARRAYS
from nc_runner.data.dataset import Dataset, load_dataset
from nc_runner.errors import ConfigError, DataError, NCRunnerError

RAW = miniature.random_raw((6, 6, 3), 5)
GREY = miniature.random_raw((6, 6, 1), 5)


def dataset_of(*overrides: str) -> Dataset:
    return load_dataset(settings_of(*overrides).data, seed=0)


def error(*overrides: str) -> str:
    with pytest.raises(NCRunnerError) as caught:
        dataset_of(*overrides)
    assert len(str(caught.value).splitlines()) == 2
    return str(caught.value)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def write_folder(place: Path, test: str = "test", raw: Any = RAW) -> None:
    for split, part in (("train", raw.train), (test, raw.test)):
        for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            folder = place / split / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03}.png")


def as_sorted(raw: Any) -> np.ndarray:
    """ImageFolder goes class by class."""
    return np.moveaxis(raw.images[np.argsort(raw.labels, kind="stable")], 3, 1)


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_of_images_is_read_class_by_class(test: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", test)
    dataset = dataset_of("data=folder", "data.options.folder=mine")
    np.testing.assert_array_equal(dataset.train.images.numpy(), as_sorted(RAW.train))
    np.testing.assert_array_equal(dataset.test.images.numpy(), as_sorted(RAW.test))
    assert dataset.train.labels.tolist() == sorted(RAW.train.labels.tolist())
    assert (dataset.name, dataset.num_classes) == ("mine", 5)
    assert dataset_of("data=folder", "data.options.folder=mine", "data.resident=false").fingerprint == (
        dataset.fingerprint
    )


def test_a_folder_may_be_in_the_data_root_and_images_be_resized(tmp_path: Path) -> None:
    write_folder(tmp_path / "root" / "mine")
    Image.new("RGB", (30, 10), (10, 20, 30)).save(tmp_path / "root/mine/train/class0/wide.png")
    settings = ("data=folder", "data.options.folder=mine", "data.root=root")
    message = error(*settings, "data.resident=true")
    assert "is (10, 30, 3), but the first is (6, 6, 3)" in message
    assert "data.options.size=" in message
    dataset = dataset_of(*settings, "data.options.size=5")
    assert dataset.train.shape == (len(RAW.train.labels) + 1, 3, 5, 5)
    wide = int((dataset.train.labels == 0).sum()) - 1  # the last of its class by name
    assert dataset.train.images[wide, :, 2, 2].tolist() == [10, 20, 30]


def test_folders_that_are_missing_or_do_not_match_are_an_error(tmp_path: Path) -> None:
    settings = ("data=folder", "data.options.folder=mine", "data.options.size=6")
    assert "neither in the current folder nor in data.root" in error(*settings)
    write_folder(tmp_path / "mine", "held_out")
    assert "there is no folder mine/test" in error(*settings)
    (tmp_path / "mine/held_out/class9").mkdir()
    named = (*settings, "data.options.test=held_out")
    assert "class9" in error(*named)
    Image.new("RGB", (6, 6)).save(tmp_path / "mine/held_out/class9/0.png")
    assert "hold different classes (class9)" in error(*named)
    with pytest.raises(ConfigError, match=r"data\.options\.folder is not set"):
        dataset_of("data=folder")


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW"])
def test_an_npz_file_is_read_in_any_usual_layout(layout: str) -> None:
    raw = GREY if layout == "NHW" else RAW

    def arranged(images: np.ndarray) -> np.ndarray:
        return (
            images[..., 0] if layout == "NHW" else np.moveaxis(images, 3, 1) if layout == "NCHW" else images
        )

    labels = {"train_labels": raw.train.labels.astype(np.uint8), "test_labels": raw.test.labels}
    np.savez(
        "a.npz", train_images=arranged(raw.train.images), test_images=arranged(raw.test.images), **labels
    )
    dataset = dataset_of("data=npz", "data.options.file=a.npz")
    np.testing.assert_array_equal(dataset.train.images.numpy(), np.moveaxis(raw.train.images, 3, 1))
    np.testing.assert_array_equal(dataset.test.labels.numpy(), raw.test.labels)
    assert (dataset.name, dataset.num_classes) == ("a", 5)


def test_npz_files_that_are_no_data_set_are_an_error(tmp_path: Path) -> None:
    settings = ("data=npz", "data.options.file=a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK not really")
    assert "a.npz is not an .npz file of arrays" in error(*settings)
    np.savez("a.npz", **dict.fromkeys(NPZ_ARRAYS, np.zeros(3)))
    content = bytearray(Path("a.npz").read_bytes())
    content[content.rindex(b"PK\x01\x02") + 6] = 200  # needs a later zip than there is
    Path("a.npz").write_bytes(content)
    assert "a.npz is not an .npz file of arrays" in error(*settings)
    np.savez("a.npz", train_images=RAW.train.images, x=np.zeros(3))
    message = error(*settings)
    assert "a.npz has no train_labels, test_images, test_labels; it holds train_images, x" in message
    arrays = {"train_images": RAW.train.images / 255, "test_images": RAW.test.images}
    np.savez("a.npz", train_labels=RAW.train.labels, test_labels=RAW.test.labels, **arrays)
    assert "train images are float64, not uint8" in error(*settings)


MAPS = """
import numpy as np, torch
from PIL import Image

class Items:
    def __init__(self, root, train=True, transform=None, target_transform=None, shift=0):
        self.rng = np.random.default_rng(int(train))
        self.images = self.rng.integers(0, 256, (40 if train else 20, 6, 6, 3), dtype=np.uint8)
        self.targets = [i % 4 for i in range(len(self.images))]
        self.shift = shift
    def __len__(self):
        return len(self.images)
    def __getitem__(self, index):
        return self.form(self.images[index]), (self.targets[index] + self.shift) % 4
    def form(self, image):
        return Image.fromarray(image)

class Tensors(Items):
    def form(self, image):  # as torchvision's ToTensor
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255

class Normalised(Items):
    def form(self, image):
        return torch.from_numpy(image).permute(2, 0, 1).float() / 64 - 2

def pair():
    return Items("", True), Items("", False)

class Unsplit(torch.utils.data.Dataset):
    def __init__(self, root):
        pass
"""


@pytest.mark.parametrize("name", ["Items", "Tensors"])
def test_a_class_of_torchvisions_kind_is_taken_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "custom_maps.py").write_text(MAPS)
    dataset = dataset_of("data=torchvision", f"data.options.dataset=custom_maps.{name}")
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(
        dataset.train.images.numpy(), np.moveaxis(rng.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8), 3, 1)
    )
    assert dataset.train.labels.tolist() == [i % 4 for i in range(40)]
    assert (dataset.name, len(dataset.test)) == (name, 20)


def test_labels_come_from_the_items_where_they_differ_from_the_targets(tmp_path: Path) -> None:
    (tmp_path / "custom_maps.py").write_text(MAPS)
    dataset = dataset_of(
        "data=torchvision", "data.options.dataset=custom_maps.Items", "+data.options.shift=1"
    )
    assert dataset.train.labels.tolist() == [(i + 1) % 4 for i in range(40)]


def test_a_loader_may_return_two_map_data_sets(tmp_path: Path) -> None:
    (tmp_path / "custom_maps.py").write_text(MAPS)
    dataset = dataset_of("data=custom", "data._target_=custom_maps.pair")
    assert (dataset.name, dataset.train.shape) == ("pair", (40, 3, 6, 6))


def test_torchvisions_data_sets_are_found_by_name() -> None:
    """FakeData needs no download; it takes neither train nor split."""
    message = error("data=torchvision", "data.options.dataset=FakeData")
    assert "it takes neither train= nor split=" in message
    assert "torchvision has no such data set" in error("data=torchvision", "data.options.dataset=KMINST")
    missing = ("data=torchvision", "data.options.dataset=KMNIST", "data.download=false")
    with pytest.raises(DataError, match="KMNIST"):
        dataset_of(*missing)


def test_images_that_were_normalised_already_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "custom_maps.py").write_text(MAPS)
    message = error("data=torchvision", "data.options.dataset=custom_maps.Normalised")
    assert "before any normalising" in message


def test_the_moments_are_not_those_of_another_data_set(tmp_path: Path) -> None:
    """data=custom gives none, so they are computed: the digits' must not be left from the defaults."""
    (tmp_path / "custom_maps.py").write_text(MAPS)
    dataset = dataset_of("data=custom", "data._target_=custom_maps.pair")
    values = dataset.normalise(dataset.train.images, channels_last=False)
    assert torch.allclose(values.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(values.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
