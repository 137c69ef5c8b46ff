"""A data set in memory: channels first, black padding, normalised by the formula, subset by the seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import miniature
from helpers.settings import settings_of

from nc_runner.data import dataset as module
from nc_runner.data.dataset import Dataset, load_dataset
from nc_runner.data.raw import RawDataset, RawSplit
from nc_runner.data.subset import balanced_subset
from nc_runner.errors import ConfigError, DataError

DIGITS = settings_of("data=digits").data


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """Load given raw arrays with changed settings."""

    def load(raw: RawDataset, seed: int = 0, **changes: Any) -> Dataset:
        monkeypatch.setattr(module, "load_raw", lambda data: raw)
        return load_dataset(DIGITS.model_copy(update=changes), seed)

    return load


RGB = miniature.random_raw((6, 6, 3), 5)


def test_images_become_contiguous_uint8_channels_first(load: Callable[..., Dataset]) -> None:
    dataset = load(RGB)
    for split, raw in ((dataset.train, RGB.train), (dataset.test, RGB.test)):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.images.is_contiguous()
        np.testing.assert_array_equal(split.images.numpy(), np.moveaxis(raw.images, 3, 1))
        np.testing.assert_array_equal(split.labels.numpy(), raw.labels)
        assert len(split) == len(raw.labels)
    assert (dataset.in_channels, dataset.image_size, dataset.num_classes) == (3, 6, 5)


def test_padding_is_black_before_normalising(load: Callable[..., Dataset]) -> None:
    dataset = load(RGB, pad=2, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    assert dataset.image_size == 10
    np.testing.assert_array_equal(
        dataset.train.images.numpy(),
        np.pad(np.moveaxis(RGB.train.images, 3, 1), ((0, 0), (0, 0), (2, 2), (2, 2))),
    )
    corner = dataset.normalise(dataset.train.images[:1], channels_last=False)[0, :, 0, 0]
    torch.testing.assert_close(corner, torch.tensor([-5.0, -2.0, -1.0]))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("pad", [0, 2])
def test_normalise_is_pixel_over_255_minus_mean_over_std(
    channels_last: bool, pad: int, load: Callable[..., Dataset]
) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
    dataset = load(RGB, pad=pad, mean=mean, std=std)
    images = dataset.train.images[3:11]
    before = images.clone()
    result = dataset.normalise(images, channels_last)
    wanted = (images.numpy() / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(result.numpy(), wanted, atol=2e-6)
    assert result.dtype == torch.float32
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=layout)
    assert torch.equal(images, before)


def test_digits_have_zero_mean_and_unit_variance_with_the_shipped_constants() -> None:
    dataset = load_dataset(DIGITS, 0)
    images = dataset.normalise(dataset.train.images, channels_last=True)
    assert abs(images.mean().item()) < 1e-3
    assert abs(images.std().item() - 1) < 1e-3


def test_a_single_number_counts_for_all_channels(load: Callable[..., Dataset]) -> None:
    assert load(RGB, mean=(0.5,), std=(0.25,)).mean == (0.5, 0.5, 0.5)
    assert load(RGB, mean=(0.5,), std=(0.25,)).std == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("key", ["mean", "std"])
def test_a_wrong_number_of_channels_is_a_config_error(key: str, load: Callable[..., Dataset]) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{key} has 2 numbers, but the images have 3 channel"):
        load(RGB, **{key: (0.5, 0.5)})


def test_the_subset_is_balanced_and_keeps_the_order_of_the_file(load: Callable[..., Dataset]) -> None:
    dataset = load(RGB, samples_per_class=4)
    assert dataset.train.labels.bincount().tolist() == [4] * 5
    assert len(dataset.test) == len(RGB.test.labels)
    indices = balanced_subset(RGB.train.labels, 5, 4, seed=0)
    assert (np.diff(indices) > 0).all()
    np.testing.assert_array_equal(dataset.train.images.numpy(), np.moveaxis(RGB.train.images[indices], 3, 1))
    np.testing.assert_array_equal(dataset.train.labels.numpy(), RGB.train.labels[indices])


def test_the_seed_alone_decides_the_subset() -> None:
    labels = np.arange(1000) % 10
    first = balanced_subset(labels, 10, 20, seed=3)
    torch.manual_seed(99)
    np.testing.assert_array_equal(balanced_subset(labels, 10, 20, seed=3), first)
    assert not np.array_equal(balanced_subset(labels, 10, 20, seed=4), first)


def test_loading_leaves_the_global_generator_alone(load: Callable[..., Dataset]) -> None:
    before = torch.get_rng_state()
    load(RGB, samples_per_class=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_images_of_the_smallest_class_may_be_taken_but_no_more(load: Callable[..., Dataset]) -> None:
    labels = RGB.train.labels.copy()
    labels[np.flatnonzero(labels == 2)[0]] = 1
    raw = RawDataset(RawSplit(RGB.train.images, labels), RGB.test, 5)
    assert len(load(raw, samples_per_class=5).train) == 25
    with pytest.raises(
        ConfigError, match=r"data\.samples_per_class=6, but class 2 has 5 images\n.*=5 or less"
    ):
        load(raw, samples_per_class=6)


def test_the_fingerprint_depends_on_every_image_label_shape_and_split(load: Callable[..., Dataset]) -> None:
    base = load(RGB)
    assert load(RGB, seed=5, name="other", mean=(0.1,)).fingerprint == base.fingerprint
    assert len(base.fingerprint) == 64
    prints = {base.fingerprint, load(RGB, pad=1).fingerprint}
    prints |= {load(RGB, seed=seed, samples_per_class=4).fingerprint for seed in (0, 1)}
    for split in ("train", "test"):
        for part in ("images", "labels"):
            raws = {"train": RGB.train, "test": RGB.test}
            arrays = {"images": raws[split].images.copy(), "labels": raws[split].labels.copy()}
            arrays[part][0] = (arrays[part][0] + 1) % 5
            raws[split] = RawSplit(**arrays)
            prints.add(load(RawDataset(raws["train"], raws["test"], 5)).fingerprint)
    assert len(prints) == 8


def test_the_tensors_share_no_memory_with_the_loaders_arrays(load: Callable[..., Dataset]) -> None:
    dataset = load(RGB)
    dataset.train.labels.zero_()
    dataset.train.images.zero_()
    assert RGB.train.labels.any()
    assert RGB.train.images.any()


def test_read_only_arrays_load_without_a_warning(
    load: Callable[..., Dataset], recwarn: pytest.WarningsRecorder
) -> None:
    images, labels = RGB.train.images.copy(), RGB.train.labels.copy()
    images.flags.writeable = labels.flags.writeable = False
    load(RawDataset(RawSplit(images, labels), RGB.test, 5))
    assert not recwarn.list


def test_moving_to_a_device_moves_both_splits_and_the_normalisation(load: Callable[..., Dataset]) -> None:
    dataset = load(RGB).to("meta")
    assert dataset.device.type == "meta"
    assert dataset.test.labels.device.type == "meta"
    assert dataset.normalise(dataset.train.images[:2], channels_last=True).device.type == "meta"


def test_errors_of_the_files_come_through() -> None:
    data = settings_of("data=mnist", "data.root=nowhere", "data.download=false").data
    with pytest.raises(DataError, match=r"MNIST is not in .*nowhere"):
        load_dataset(data, 0)


@pytest.mark.parametrize("name", miniature.WITH_FILES)
def test_the_shipped_settings_fit_the_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature.write(tmp_path, name, monkeypatch)
    dataset = load_dataset(settings_of(f"data={name}", f"data.root={tmp_path}").data, 0)
    assert dataset.image_size == (96 if name == "stl10" else 32)
    assert dataset.name == name
    assert dataset.num_classes == (100 if name == "cifar100" else 10)
