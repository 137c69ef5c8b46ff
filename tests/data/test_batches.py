"""Normalised batches of a split."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.lab import few_images

from nc_runner.data.batches import Batches
from nc_runner.data.streaming import StreamedSplit
from nc_runner.errors import ConfigError

DATA = replace(few_images(count=23), mean=(0.2,), std=(0.3,))


def streamed(dataset):
    split = dataset.train
    images = split.images.permute(0, 2, 3, 1).numpy()
    return replace(dataset, train=StreamedSplit(images, np.arange(len(images)), split.labels, pad=0))


@pytest.mark.parametrize("make", [lambda data: data, streamed], ids=["resident", "streamed"])
def test_batches_are_all_images_in_order_normalised_and_may_be_iterated_over_again(make):
    batches = Batches(make(DATA), "train", 5)
    for _ in range(2):
        images, labels = zip(*batches, strict=True)
        assert [len(part) for part in images] == [5, 5, 5, 5, 3]
        torch.testing.assert_close(torch.cat(images), (DATA.train.images / 255 - 0.2) / 0.3)
        assert torch.cat(labels).equal(DATA.train.labels)
        assert images[0].dtype == torch.float32
    assert len(batches) == 5


def test_the_images_of_the_data_set_stay_as_they_were():
    before = DATA.test.images.clone()
    list(Batches(DATA, "test", 4))
    assert DATA.test.images.equal(before)


@pytest.mark.parametrize(
    ("split", "size", "message"),
    [("valid", 4, "no split valid\nname train or test"), ("test", 0, "at least 1")],
)
def test_another_split_and_no_batch_size_are_errors(split, size, message):
    with pytest.raises(ConfigError, match=message):
        Batches(DATA, split, size)
