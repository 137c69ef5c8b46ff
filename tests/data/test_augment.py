"""Augmentation: crops and flips by their definition, drawn of seed, epoch, step, place; for training only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.lab import few_images, rows_of, trainer_of
from helpers.settings import settings_of

from nc_runner.columns import TIME_COLUMNS
from nc_runner.data.augment import Augmentation, augmentation_of
from nc_runner.data.dataset import Dataset, Split
from nc_runner.data.streaming import StreamedSplit
from nc_runner.errors import ConfigError

AUGMENT = Augmentation(seed=7)
WHOLE = slice(None)


def augmented(count: int = 32, **changes: Any) -> Dataset:
    return replace(few_images(count=count), augment=replace(AUGMENT, **changes))


def streamed(dataset: Dataset) -> Dataset:
    def of(split: Any) -> StreamedSplit:
        images = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        return StreamedSplit(images, np.arange(len(split)), split.labels, pad=0)

    return replace(dataset, train=of(dataset.train), test=of(dataset.test))


@pytest.mark.parametrize("shape", [(1, 8), (3, 32), (3, 5)])
def test_each_image_is_padded_with_black_cut_and_mirrored_as_drawn(shape: tuple[int, int]) -> None:
    channels, size = shape
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (40, channels, size, size), dtype=np.uint8)
    draws = AUGMENT.draws(0, 1, 40)[0]
    found = AUGMENT.apply(torch.from_numpy(images), draws).numpy()
    assert found.dtype == np.uint8
    for image, (down, right, mirrored), mine in zip(images, draws.tolist(), found, strict=True):
        wide = np.pad(image, ((0, 0), (4, 4), (4, 4)))
        cut = wide[:, down : down + size, right : right + size]
        np.testing.assert_array_equal(mine, cut[:, :, ::-1] if mirrored else cut)


def test_all_places_and_both_sides_come_equally_often() -> None:
    draws = AUGMENT.draws(3, 300, 100).reshape(-1, 3)
    for column, values in ((0, 9), (1, 9), (2, 2)):
        counts = torch.bincount(draws[:, column].long())
        assert len(counts) == values
        assert ((counts - 30000 / values).abs() < 5 * (30000 / values) ** 0.5).all()
    pairs = np.corrcoef(draws.T.numpy())
    assert np.abs(pairs[~np.eye(3, dtype=bool)]).max() < 0.03


def test_draws_depend_on_seed_and_epoch_and_move_no_other_generator() -> None:
    before = torch.get_rng_state()
    draws = AUGMENT.draws(1, 4, 6)
    assert torch.get_rng_state().equal(before)
    assert draws.equal(AUGMENT.draws(1, 4, 6))
    assert not draws.equal(AUGMENT.draws(2, 4, 6))
    assert not draws.equal(replace(AUGMENT, seed=8).draws(1, 4, 6))
    without = replace(AUGMENT, flip=False).draws(1, 4, 6)
    assert without[..., :2].equal(draws[..., :2])
    assert not without[..., 2].any()


def test_a_later_step_and_a_share_of_the_batch_see_what_the_whole_epoch_sees() -> None:
    dataset, order = augmented(), torch.randperm(30).view(5, 6)
    whole = list(dataset.training_batches(order, 2, 0, WHOLE))
    for share in (slice(0, 3), slice(3, 6)):
        later = list(dataset.training_batches(order, 2, 3, share))
        assert len(later) == 2
        for (images, labels), (all_images, all_labels) in zip(later, whole[3:], strict=True):
            assert images.equal(all_images[share])
            assert labels.equal(all_labels[share])


def test_streamed_images_are_augmented_as_resident_ones() -> None:
    order = torch.randperm(30).view(5, 6)
    mine, theirs = (d.training_batches(order, 1, 1, WHOLE) for d in (streamed(augmented()), augmented()))
    for (images, labels), (others, other_labels) in zip(mine, theirs, strict=True):
        assert images.equal(others)
        assert labels.equal(other_labels)


def test_the_measured_row_of_fixed_weights_does_not_change() -> None:
    plain, moved = (
        trainer_of("epochs=1", dataset=dataset).measurer.measure().row
        for dataset in (few_images(count=32), augmented())
    )
    assert plain == pytest.approx(moved, rel=0, abs=0, nan_ok=True)


def test_training_does_change() -> None:
    plain, moved = (
        rows_of(trainer_of("epochs=1", dataset=d))[0] for d in (few_images(count=32), augmented())
    )
    assert plain["train_loss"] != moved["train_loss"]


@pytest.mark.parametrize("how", [lambda d: d, streamed], ids=["resident", "streamed"])
def test_a_run_stopped_within_an_epoch_ends_with_the_same_bits(how: Any) -> None:
    """Dropout is drawn too: a state that came from augmentation would show in it."""
    whole = trainer_of("epochs=3", dataset=augmented())
    expected = rows_of(whole)
    first, states = trainer_of("epochs=3", dataset=how(augmented())), []
    count = 0

    def stop() -> None:
        nonlocal count
        count += first.epoch == 1 and first.step == 4
        if count == 1:
            states.append(first.state())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows_of(first, stop)
    second = trainer_of("epochs=3", dataset=how(augmented()))
    second.restore(states[0])
    rows = rows_of(second)
    for mine, theirs in zip(rows, expected[1:], strict=True):
        for column in set(theirs) - set(TIME_COLUMNS):
            assert mine[column] == theirs[column] or (mine[column] != mine[column]), column
    for name, value in whole.network.model.state_dict().items():
        assert value.equal(second.network.model.state_dict()[name])


@pytest.mark.parametrize(
    ("data", "augment", "flip"),
    [
        ("digits", "standard", False), ("mnist", "standard", False), ("svhn", "standard", False),
        ("fashionmnist", "standard", True), ("cifar10", "standard", True), ("cifar10", "crop", False),
    ],
)  # fmt: skip
def test_digits_are_not_mirrored(data: str, augment: str, flip: bool) -> None:
    made = augmentation_of(settings_of(f"data={data}", f"data.augment={augment}").data, 0, 28)
    assert made == Augmentation(0, 4, flip)
    assert augmentation_of(settings_of(f"data={data}").data, 0, 3) is None


def test_a_crop_that_may_miss_the_image_is_an_error() -> None:
    data = settings_of("data.augment=crop").data
    with pytest.raises(ConfigError, match="moves images by up to 4 pixels, but these have only 4 x 4"):
        augmentation_of(data, 0, 4)
    assert augmentation_of(data, 0, 5) is not None


def test_resident_splits_are_what_the_other_tests_take_them_for() -> None:
    assert isinstance(augmented().train, Split)
