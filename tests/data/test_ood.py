import numpy as np
import pytest
import torch
from helpers.lab import settings_of

from nc_runner.columns import OOD_COLUMN, WIDER_COLUMNS, wider_columns
from nc_runner.data.dataset import load_dataset
from nc_runner.data.ood import LUMA, fit
from nc_runner.errors import ConfigError


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


def test_a_data_set_of_conf_comes_with_the_run_s_own():
    settings = settings_of("analysis.metrics=all", "analysis.ood=digits", "data.pad=2")
    data = load_dataset(settings["data"], seed=0, ood=settings["analysis"]["ood"])
    assert data.ood.shape == (297, 1, 12, 12)
    assert data.ood.equal(data.test.images)  # digits padded, as data.pad pads
    plain = load_dataset(settings["data"], seed=0)
    assert plain.ood is None
    assert plain.fingerprint == data.fingerprint


def test_the_column_and_its_data_set_need_each_other():
    with pytest.raises(ConfigError, match=r"nc5_ood_orthogonality needs .*\n.*analysis\.ood="):
        settings_of(f"analysis.metrics=[{OOD_COLUMN}]")
    with pytest.raises(ConfigError, match=r"analysis\.ood=mnist has no use .*\n.*analysis\.metrics="):
        settings_of("analysis.ood=mnist")


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("metrics=[nc1_cdvn]", "did you mean nc1_cdnv"),
        ("metrics=[nc1]", "nc1 is in every run"),
        ("metrics=nc1_cdnv", r"a list of columns such as \[nc1_cdnv\]"),
        ("metrics=[]", "core, all or a list"),
        ("ood=fashion", "did you mean fashionmnist"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(override, hint):
    with pytest.raises(ConfigError, match=f"analysis.{override.split('=')[0]}=.*is refused: .*{hint}"):
        settings_of(f"analysis.{override}")


def test_the_chosen_columns_come_in_the_order_of_the_table_once_each():
    settings = settings_of("analysis.metrics=[rank,nc1_cdnv,rank]")
    assert settings["analysis"]["metrics"] == ["nc1_cdnv", "rank"]
    assert wider_columns(settings_of()["analysis"]) == ()
    every = settings_of("analysis.metrics=all")["analysis"]
    assert set(wider_columns(every)) == {*WIDER_COLUMNS} - {OOD_COLUMN}
    assert wider_columns(every | {"ood": "mnist"}) == WIDER_COLUMNS
