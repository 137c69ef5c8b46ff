import numpy as np
import pytest
import torch
from helpers.settings import settings_of

from nc_runner.config.values import STANDARD_DATA
from nc_runner.data.dataset import load_dataset
from nc_runner.data.loaders import STANDARD
from nc_runner.data.ood import LUMA, fit
from nc_runner.errors import DataError


def random_images(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_small_grey_images_are_repeated_and_padded_with_zeros():
    images = random_images(5, 1, 8, 8)
    fitted = fit(images, (3, 12, 12))
    assert fitted.dtype == torch.uint8
    assert fitted.shape == (5, 3, 12, 12)
    assert fitted[:, :, 2:-2, 2:-2].equal(images.expand(-1, 3, -1, -1))
    assert int(fitted.long().sum()) == 3 * int(images.long().sum())  # nothing but zeros around


def test_colour_becomes_grey_by_luma():
    images = random_images(4, 3, 6, 6)
    expected = sum(weight * images[:, c].float() for c, weight in enumerate(LUMA)).round()
    assert fit(images, (1, 6, 6))[:, 0].float().equal(expected)


def test_large_images_are_resized_whole():
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    images[..., :14, :] = 200
    fitted = fit(images, (1, 8, 8))
    assert fitted[0, 0, :3].unique().tolist() == [200]
    assert fitted[0, 0, 5:].unique().tolist() == [0]
    constant = torch.full((2, 3, 96, 96), 77, dtype=torch.uint8)
    assert fit(constant, (3, 32, 32)).unique().tolist() == [77]


def test_the_images_of_a_standard_data_set_come_with_those_of_the_run():
    settings = settings_of("analysis.metrics=all", "analysis.ood=digits", "data.pad=2")
    data = load_dataset(settings.data, seed=0, ood=settings.analysis.ood)
    assert data.ood.shape == (297, 1, 12, 12)
    assert data.ood.equal(data.test.images)  # digits padded, as data.pad pads
    plain = load_dataset(settings.data, seed=0)
    assert plain.ood is None
    assert plain.fingerprint == data.fingerprint


def test_every_data_set_that_the_setting_takes_has_its_loader():
    assert set(STANDARD_DATA) == set(STANDARD)


def test_their_files_are_looked_for_where_those_of_the_run_are():
    data = settings_of("data.root=nowhere", "data.download=false").data
    with pytest.raises(DataError, match="MNIST is not in nowhere"):
        load_dataset(data, seed=0, ood="mnist")
