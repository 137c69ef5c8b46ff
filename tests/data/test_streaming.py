"""What is streamed is what would be resident: the same images, in the same order, to the same bits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from helpers import miniature
from helpers.lab import rows_of, trainer_of
from helpers.settings import settings_of

from nc_runner.columns import TIME_COLUMNS
from nc_runner.data import dataset as module
from nc_runner.data import streaming
from nc_runner.data.dataset import Dataset, Split, load_dataset
from nc_runner.data.raw import RawDataset, RawSplit, from_maps
from nc_runner.data.streaming import StreamedSplit
from nc_runner.errors import DataError

RGB = miniature.random_raw((6, 6, 3), 5)


class Pictures:
    """A map data set of the same images; ``damaged`` cannot be read, which labels alone do not show."""

    def __init__(self, split: RawSplit, damaged: int = -1) -> None:
        self.split, self.damaged = split, damaged
        self.targets = split.labels.tolist()

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index == self.damaged:
            raise OSError("image file is truncated")
        return self.split.images[index], int(self.split.labels[index])


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    def load(raw: RawDataset, **changes: Any) -> Dataset:
        monkeypatch.setattr(module, "load_raw", lambda data: raw)
        data = settings_of("data=digits", "data.mean=null", "data.std=null").data
        return load_dataset(data.model_copy(update=changes), seed=0)

    return load


MAPPED = from_maps(Pictures(RGB.train), Pictures(RGB.test), "pictures")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("raw", [RGB, MAPPED], ids=["array", "decoded"])
def test_streamed_images_are_the_resident_ones(raw: RawDataset, workers: int, load: Any) -> None:
    how = {"pad": 2, "samples_per_class": 4}
    resident = load(RGB, resident=True, **how)
    streamed = load(raw, resident=False, workers=workers, **how)
    assert isinstance(resident.train, Split)
    assert isinstance(streamed.train, StreamedSplit)
    assert streamed.fingerprint == resident.fingerprint
    assert (streamed.mean, streamed.std) == (resident.mean, resident.std)
    before = torch.get_rng_state()
    order = torch.randperm(20).view(4, 5)
    torch.set_rng_state(before)
    for mine, theirs in itertools.zip_longest(streamed.train.batches(order), resident.train.batches(order)):
        assert mine[0].equal(theirs[0])
        assert mine[1].equal(theirs[1])
    assert torch.cat(list(streamed.test.blocks(7))).equal(resident.test.images)
    assert torch.get_rng_state().equal(before)  # weights and dropout are drawn as without a loader


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_run_has_the_rows_and_weights_of_a_resident_one(workers: int, load: Any) -> None:
    """TinyNetwork has dropout: a generator that moved differently would show."""
    results = []
    for how in ({"resident": True}, {"resident": False, "workers": workers}):
        trainer = trainer_of("epochs=2", "analysis.batch_size=7", dataset=load(MAPPED, **how))
        rows = [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in rows_of(trainer)]
        results.append((rows, {k: v.tolist() for k, v in trainer.network.model.state_dict().items()}))
    assert results[0] == results[1]


def test_auto_keeps_what_fits_and_streams_the_rest(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (len(RGB.train.labels) + len(RGB.test.labels)) * 6 * 6 * 3
    monkeypatch.setattr(streaming, "free_memory", lambda: 2 * size)
    assert isinstance(load(RGB, resident="auto").train, Split)
    monkeypatch.setattr(streaming, "free_memory", lambda: 2 * size - 1)
    assert isinstance(load(RGB, resident="auto").train, StreamedSplit)
    assert isinstance(load(RGB, resident=True).train, Split)


def test_free_memory_is_some_of_the_machines() -> None:
    assert 2**20 < streaming.free_memory() < 2**50


def test_a_memory_map_is_streamed_without_being_read_whole(tmp_path: Any, load: Any) -> None:
    np.save(tmp_path / "images.npy", RGB.train.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    raw = RawDataset(RawSplit(mapped, RGB.train.labels), RGB.test, 5)
    streamed = load(raw, resident=False)
    assert isinstance(streamed.train.images, np.memmap)
    assert streamed.fingerprint == load(RGB, resident=True).fingerprint


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_cannot_be_read_is_named_in_two_lines(workers: int, load: Any) -> None:
    raw = from_maps(Pictures(RGB.train, damaged=13), Pictures(RGB.test), "pictures")
    with pytest.raises(DataError) as caught:
        load(raw, resident=False, workers=workers)
    assert str(caught.value).startswith(
        "data set pictures: image 13 cannot be used: OSError: image file is truncated\n"
    )
    assert len(str(caught.value).splitlines()) == 2


def test_computed_moments_are_those_of_all_train_pixels(load: Any) -> None:
    """Whatever subset and padding: with them each seed would normalise differently."""
    dataset = load(RGB, samples_per_class=4, pad=3)
    pixels = RGB.train.images.reshape(-1, 3) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std(axis=0), rtol=1e-12)
    assert load(RGB, mean=(0.25,)).mean == (0.25, 0.25, 0.25)
    assert load(RGB, mean=(0.25,)).std == dataset.std
