"""Map data sets: items of (image, label) as one array, the same whenever they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import miniature
from helpers.miniature import data_error
from helpers.settings import settings_of
from PIL import Image
from torchvision.transforms import v2

from nc_runner.data import dataset as module
from nc_runner.data.dataset import load_dataset
from nc_runner.data.raw import from_maps
from nc_runner.data.sources import ImageSource

RAW = miniature.random_raw((6, 6, 3), 5)
Item = tuple[Any, Any]


class Items:
    """The train images; ``change`` makes an item of an image and its label each time it is read."""

    def __init__(self, change: Callable[[Any, int], Item] = lambda image, label: (image, label)) -> None:
        self.change = change

    def __len__(self) -> int:
        return len(RAW.train.labels)

    def __getitem__(self, index: int) -> Item:
        return self.change(RAW.train.images[index], int(RAW.train.labels[index]))


def flipped(image: Any, label: int) -> Item:
    return v2.RandomHorizontalFlip()(Image.fromarray(image)), label


def shifted(image: Any, label: int) -> Item:
    return np.roll(image, np.random.randint(3), axis=0), label  # noqa: NPY002  as users write it


def rarely_erased(image: Any, label: int) -> Item:
    return v2.RandomErasing(p=0.3)(torch.from_numpy(image.copy()).permute(2, 0, 1) / 255), label


def swapped_label(image: Any, label: int) -> Item:
    return image, (label + int(torch.rand(()) < 0.5)) % 5


def rarely_cropped(image: Any, label: int) -> Item:
    return image[: 6 - int(torch.rand(()) < 0.3)], label


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (flipped, "has other pixels each time it is read\nremove the random transforms"),
        (shifted, "has other pixels each time it is read\nremove the random transforms"),
        (rarely_erased, "has other pixels each time it is read\nremove the random transforms"),
        (swapped_label, "has another label each time it is read\nremove the random transforms"),
        (rarely_cropped, "but the first is"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_data_set_with_random_transforms_is_an_error(split: str, change: Any, problem: str) -> None:
    """Resident it would be frozen as first drawn, streamed it would be drawn again for every batch."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    train, test = (Items(change), Items()) if split == "train" else (Items(), Items(change))
    message = data_error(lambda: from_maps(train, test, "augmented"))
    assert message.startswith("data set augmented: image ")
    assert problem in message


def test_a_data_set_that_draws_what_belongs_to_an_item_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its random numbers depend on the item alone: resident and streamed images are equal."""

    def drawn(image: Any, label: int) -> Item:
        noise = np.random.default_rng(image[0, 0]).integers(0, 9, image.shape, dtype=np.uint8)
        return image // 2 + noise, label

    raw = from_maps(Items(drawn), Items(drawn), "drawn")
    monkeypatch.setattr(module, "load_raw", lambda data: raw)
    data = settings_of("data=digits", "data.mean=null", "data.std=null").data
    prints = [
        load_dataset(data.model_copy(update={"resident": resident}), 0).fingerprint
        for resident in (True, False)
    ]
    assert prints[0] == prints[1]


def test_a_single_item_is_read_like_many() -> None:
    class One(Items):
        def __len__(self) -> int:
            return 1

    assert ImageSource(One(), "one").shape == (1, 6, 6, 3)
    with pytest.raises(Exception, match="image 0 has other pixels"):
        ImageSource(One(shifted), "one")


def test_an_empty_data_set_is_an_error() -> None:
    class Empty(Items):
        def __len__(self) -> int:
            return 0

    assert "data set empty has no items" in data_error(lambda: ImageSource(Empty(), "empty"))


def test_an_item_may_hold_more_than_image_and_label() -> None:
    source = ImageSource(Items(lambda image, label: (image, label, "a name")), "three")  # type: ignore[arg-type,return-value]
    np.testing.assert_array_equal(source[3], RAW.train.images[3])


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (lambda image: image.astype(np.float64) * 255, "pixels of type float64 from 0 to"),
        (lambda image: image / 255 - 0.5, "before any normalising"),
        (lambda image: np.full(image.shape, np.nan), "pixels of type float64 from nan to nan"),
        (lambda image: image.astype(np.int64), "pixels of type int64"),
        (lambda image: image[..., :2], "an image of shape (6, 6, 2); 1 or 3 channels are needed"),
    ],
    ids=["255", "normalised", "nan", "int64", "channels"],
)
def test_items_that_are_no_image_are_an_error(form: Callable[[Any], Any], problem: str) -> None:
    items = Items(lambda image, label: (form(image), label))
    assert problem in data_error(lambda: ImageSource(items, "mine"))


def test_floats_from_0_to_1_are_the_bytes_they_came_from() -> None:
    source = ImageSource(Items(lambda image, label: (image / 255, label)), "mine")
    np.testing.assert_array_equal(source[7], RAW.train.images[7])
