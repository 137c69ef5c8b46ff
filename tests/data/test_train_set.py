"""What training takes of a data set: class sizes of an imbalance, exact; labels replaced, exact; what is
recorded and read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from helpers import miniature
from helpers.settings import settings_of

from nc_runner.config.data_schema import Imbalance
from nc_runner.data import dataset as module
from nc_runner.data.dataset import load_dataset
from nc_runner.data.subset import balanced_subset, class_sizes, sized_subset
from nc_runner.data.train_set import with_noise
from nc_runner.errors import ConfigError
from nc_runner.runs.record import read_run_file
from nc_runner.training.loaded import load_run
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

UNEVEN = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [50, 60, 40, 70, 45]))
STEP = ("data.imbalance.kind=step", "data.imbalance.ratio=10", "data.imbalance.minority_classes=3")
LONG_TAIL = ("data.imbalance.kind=exponential", "data.imbalance.ratio=100")


def imbalance(kind: str, ratio: float, minority_classes: int | None = None) -> Imbalance:
    return Imbalance(kind=kind, ratio=ratio, minority_classes=minority_classes)  # type: ignore[arg-type]


def dataset_of(*overrides: str) -> Any:
    config = settings_of("data=digits", *overrides)
    return load_dataset(config.data, config.seed)


@pytest.mark.parametrize("classes", [2, 3, 7, 100])
@pytest.mark.parametrize("ratio", [1.0, 1.5, 10.0, 64.0])
def test_a_step_gives_the_last_classes_the_largest_over_the_ratio(classes: int, ratio: float) -> None:
    for small in {1, classes // 2, classes - 1}:
        sizes = class_sizes(imbalance("step", ratio, small), classes, 192)
        assert sizes.tolist() == [192] * (classes - small) + [int(192 / ratio + 0.5)] * small


@pytest.mark.parametrize("classes", [2, 3, 7, 100])
@pytest.mark.parametrize("ratio", [1.0, 8.0, 100.0])
def test_an_exponential_imbalance_falls_by_one_factor_from_class_to_class(classes: int, ratio: float) -> None:
    sizes = class_sizes(imbalance("exponential", ratio), classes, 800)
    assert (sizes[0], sizes[-1]) == (800, 800 / ratio)
    exact = [800 * ratio ** (-c / (classes - 1)) for c in range(classes)]
    assert np.abs(sizes - exact).max() <= 0.5
    assert (np.diff(sizes) <= 0).all()


def test_the_sizes_that_docs_give_for_ten_classes() -> None:
    sizes = class_sizes(imbalance("exponential", 100.0), 10, 5000)
    assert sizes.tolist() == [5000, 2997, 1797, 1077, 646, 387, 232, 139, 83, 50]


@pytest.mark.parametrize("overrides", [STEP, LONG_TAIL])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_train_set_has_exactly_these_sizes_and_the_test_set_all_its_images(
    overrides: tuple[str, ...], seed: int
) -> None:
    dataset = dataset_of(*overrides, f"seed={seed}", "data.samples_per_class=100")
    assert dataset.class_counts == class_sizes(settings_of(*overrides).data.imbalance, 10, 100).tolist()
    assert dataset.class_counts[0] == 100
    assert dataset.test.images.equal(dataset_of().test.images)


def test_without_samples_per_class_the_smallest_class_is_the_largest_size() -> None:
    whole, chosen = dataset_of(), dataset_of(*STEP)
    least = min(whole.class_counts)
    assert chosen.class_counts == [least] * 7 + [int(least / 10 + 0.5)] * 3


def test_images_are_drawn_by_the_seed_from_the_balanced_subset_and_kept_in_order() -> None:
    sizes = np.array([40, 30, 20, 10, 5])
    rows = sized_subset(UNEVEN, sizes, seed=1)
    assert np.bincount(UNEVEN[rows]).tolist() == sizes.tolist()
    assert (np.diff(rows) > 0).all()
    assert set(rows) < set(balanced_subset(UNEVEN, 5, 40, seed=1))
    assert set(sized_subset(UNEVEN, sizes // 2, seed=1)) < set(rows)
    assert set(rows) != set(sized_subset(UNEVEN, sizes, seed=2))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*STEP, "data.imbalance.ratio=101"), "=101 empties the smallest class: the largest has 100 images\n"
         "give data.imbalance.ratio=100 or less"),
        ((*LONG_TAIL, "data.samples_per_class=20"), "=100 empties .* has 20 images\ngive .*=20 or less"),
        ((*STEP, "data.imbalance.minority_classes=10"), "only 10 classes\ngive .*=9 or less"),
        ((*STEP, "data.samples_per_class=1000"), "data.samples_per_class=1000, but class . has 1.. images"),
        (STEP[:2], "step needs data.imbalance.minority_classes\ngive data.imbalance.minority_classes=NUMBER"),
        (LONG_TAIL[:1], "exponential needs data.imbalance.ratio\n"),
        (STEP[1:2], "ratio=10 has no use with data.imbalance.kind=none\n.* kind=step or exponential"),
        ((*LONG_TAIL, STEP[2]), "minority_classes=3 has no use with data.imbalance.kind=exponential"),
        ((STEP[0], "data.imbalance.ratio=0.5", STEP[2]), "ratio=0.5 is not valid: .* must be at least 1"),
        (("data.imbalance.kind=linear",), "kind=linear is not valid: .* one of none, step, exponential"),
        (("data.label_noise=1.5",), "label_noise=1.5 is not valid: .* must be at most 1"),
        (("data.augment=flip",), "augment=flip is not valid: .* one of none, standard, crop"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_an_error_that_names_what_is_allowed(
    overrides: tuple[str, ...], message: str
) -> None:
    given = ["data.samples_per_class=100", *overrides]
    last = {override.partition("=")[0]: override for override in given}
    with pytest.raises(ConfigError, match=message.replace(".* kind=", ".*kind=")):
        dataset_of(*last.values())


@pytest.mark.parametrize("share", [0.001, 0.1, 0.25, 0.5, 1.0])
def test_the_share_of_replaced_labels_is_exact_and_class_sizes_stay(share: float) -> None:
    labels = np.random.default_rng(1).integers(0, 7, 2000)
    noisy, noise = with_noise(labels, share, seed=0)
    assert noise is not None
    assert noise.replaced == round(share * 2000)
    assert noise.changed == (noisy != labels).sum() <= noise.replaced
    assert np.bincount(noisy).tolist() == np.bincount(labels).tolist()
    np.testing.assert_array_equal(noisy, with_noise(labels, share, seed=0)[0])
    if share > 0.01:
        assert not np.array_equal(noisy, with_noise(labels, share, seed=1)[0])


def test_wholly_random_labels_say_nothing_about_the_true_ones() -> None:
    """Each true class has each label as often as any: also its own."""
    labels = np.repeat(np.arange(5), 4000)
    noisy, noise = with_noise(labels, 1.0, seed=0)
    table = np.zeros((5, 5))
    np.add.at(table, (labels, noisy), 1)
    assert np.abs(table - 800).max() < 5 * 800**0.5
    assert noise is not None
    assert abs(noise.changed / 20000 - 0.8) < 0.01


def test_noise_is_not_in_the_order_of_the_first_epoch() -> None:
    """Both are permutations that the seed draws: with one generator they would be the same."""
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0)).numpy()
    labels = np.arange(2000)
    noisy, _ = with_noise(labels, 0.1, seed=0)
    assert 5 < np.isin(np.flatnonzero(noisy != labels), order[:200]).sum() < 50


def test_training_and_measurement_see_the_noisy_labels_and_the_test_set_the_true_ones() -> None:
    plain, noisy = dataset_of(), dataset_of("data.label_noise=0.3")
    assert noisy.label_noise.replaced == 450  # of 1,500
    assert (noisy.train.labels != plain.train.labels).sum() == noisy.label_noise.changed > 350
    assert noisy.train.images.equal(plain.train.images)
    assert noisy.test.labels.equal(plain.test.labels)
    assert noisy.fingerprint != plain.fingerprint
    assert plain.label_noise is None


def test_noise_after_an_imbalance_keeps_its_sizes() -> None:
    chosen = dataset_of(*STEP, "data.samples_per_class=100", "data.label_noise=1")
    assert chosen.class_counts == [100] * 7 + [10] * 3
    assert chosen.label_noise.replaced == 730


def test_streamed_data_have_the_same_images_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_raw", lambda data: miniature.random_raw((6, 6, 3), 5))
    overrides = ("data.imbalance.kind=exponential", "data.imbalance.ratio=3", "data.label_noise=0.5")
    resident, streamed = (dataset_of(*overrides, f"data.resident={how}") for how in ("true", "false"))
    assert resident.fingerprint == streamed.fingerprint
    assert resident.class_counts == streamed.class_counts
    assert resident.label_noise == streamed.label_noise


def test_a_run_records_its_counts_and_is_read_back_with_the_same_data(tmp_path: Any) -> None:
    data = *STEP, "data.samples_per_class=100", "data.label_noise=0.1", "data.augment=standard"
    config = settings_of(*data, "epochs=1", "device=cpu", "progress=none")
    execute(config, tmp_path, StopSignals())
    record = read_run_file(tmp_path)
    assert record["class_counts"] == [100] * 7 + [10] * 3
    assert record["label_noise"]["replaced"] == 73
    assert record["augment"] == {"seed": 0, "pad": 4, "flip": False}
    assert json.dumps(record["identity"]["data.imbalance.kind"]) == '"step"'
    run = load_run(tmp_path)
    assert run.data().class_counts == record["class_counts"]
    assert run.data().fingerprint == record["data_fingerprint"]
    plain, batch = run.data(), next(iter(run.batches("train", 4)))[0]
    assert batch.equal(plain.normalise(plain.train.images[:4], channels_last=True))
