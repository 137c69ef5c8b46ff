"""The checks that the arrays of every data set must pass."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import miniature
from helpers.miniature import data_error

from nc_runner.data.raw import RawDataset, RawSplit, check


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
def test_arrays_that_are_not_a_data_set_are_an_error(changes: dict[str, object], problem: str) -> None:
    message = data_error(lambda: check(raw_with(**changes), "mine"))
    assert problem in message
    assert "data set mine" in message


def test_arrays_of_any_layout_in_memory_are_a_data_set() -> None:
    check(raw_with(images=np.asfortranarray(GOOD.images)), "mine")
