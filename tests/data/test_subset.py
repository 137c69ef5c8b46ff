"""Which images a measurement of analysis.samples sees: balanced, seeded, in order, within what there is."""

import numpy as np
import pytest
import torch
from helpers.lab import few_images

from nc_runner.data.dataset import analysed_part
from nc_runner.data.subset import measured_test, measured_train
from nc_runner.errors import ConfigError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 30))
UNEVEN = np.concatenate([np.zeros(5, np.int64), np.ones(9, np.int64), np.full(7, 2)])


@pytest.mark.parametrize("samples", [14, 20, 70, 100, 209, 210])
def test_classes_differ_by_one_image_at_most_and_all_are_in_order(samples):
    rows = measured_train(LABELS, 7, samples, seed=1)
    counts = np.bincount(LABELS[rows], minlength=7)
    assert len(rows) == len(set(rows)) == counts.sum() == samples
    assert counts.max() - counts.min() == (samples % 7 > 0)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, measured_train(LABELS, 7, samples, seed=1))
    if samples < len(LABELS):
        assert not np.array_equal(rows, measured_train(LABELS, 7, samples, seed=2))


def test_the_seed_draws_the_classes_that_have_one_more():
    more = {np.bincount(LABELS[measured_train(LABELS, 7, 15, seed)]).argmax() for seed in range(30)}
    assert len(more) > 3


@pytest.mark.parametrize(
    ("labels", "classes", "samples", "message"),
    [
        (
            LABELS,
            7,
            13,
            "13 is too few: the variability within 7 classes needs 2 images of each\ngive .*=14 or",
        ),
        (
            LABELS,
            7,
            211,
            "=211, but the train set has 210 images\ngive analysis.samples=210 or less, or null",
        ),
        (
            UNEVEN,
            3,
            18,
            "=18, but the train set has 21 images, of class 0 only 5\ngive analysis.samples=17 or",
        ),
    ],
)
def test_too_few_or_too_many_samples_are_an_error_that_names_what_is_allowed(
    labels, classes, samples, message
):
    with pytest.raises(ConfigError, match=message):
        measured_train(labels, classes, samples, seed=0)


def test_the_number_that_the_error_names_is_allowed():
    assert np.bincount(UNEVEN[measured_train(UNEVEN, 3, 17, seed=0)]).tolist() == [5, 6, 6]


@pytest.mark.parametrize(
    ("samples", "counts"), [(21, [5, 9, 7]), (50, [5, 9, 7]), (18, [5, 6, 6]), (12, [4, 4, 4])]
)
def test_of_the_test_set_at_most_so_many_are_measured_and_a_small_class_gives_all(samples, counts):
    rows = measured_test(UNEVEN, 3, samples, seed=0)
    assert np.bincount(UNEVEN[rows]).tolist() == counts
    assert (np.diff(rows) > 0).all()


def test_a_part_of_a_data_set_has_its_own_images_and_the_wholes_normalisation():
    whole = few_images(count=60)
    whole = type(whole)(**{**{name: getattr(whole, name) for name in (
        "train", "test", "num_classes", "mean", "std", "name", "fingerprint")},
        "ood": torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1)})  # fmt: skip
    assert analysed_part(whole, None, seed=0) is whole
    part = analysed_part(whole, 25, seed=0)
    rows = torch.from_numpy(measured_train(whole.train.labels.numpy(), 10, 25, 0))
    assert torch.equal(part.train.images, whole.train.images[rows])
    assert torch.equal(part.train.labels, whole.train.labels[rows])
    assert torch.equal(part.test.images, whole.test.images)  # 10 are not more than 25
    assert len(part.ood) == len(set(part.ood.flatten().tolist())) == 25
    assert (part.mean, part.std, part.fingerprint) == (whole.mean, whole.std, whole.fingerprint)
