"""Every network, data set and loss of conf/: composes, builds, does one training step and one analysis."""

import itertools
from importlib import resources

import pytest
from lab import few_images, rows_of, settings_of, trainer_of

from nc_runner.experiment.losses import cross_entropy, mse
from nc_runner.experiment.plugins import locate
from nc_runner.experiment.schema import OWN_DATA

SHAPES = {
    "digits": (1, 8), "mnist": (1, 32), "fashionmnist": (1, 32), "svhn": (3, 32), "cifar10": (3, 32),
    "cifar100": (3, 32), "stl10": (3, 96),
}  # fmt: skip


def options(group):
    folder = resources.files("nc_runner.conf").joinpath(group)
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


NETS = [net for net in options("net") if net != "custom"]
DATA = [data for data in options("data") if data not in OWN_DATA]


def test_every_combination_composes_and_passes_the_checks():
    names = set()
    combinations = list(itertools.product(NETS, DATA, options("loss")))
    for net, data, loss in combinations:
        settings = settings_of(f"net={net}", f"data={data}", f"loss={loss}")
        names.add((settings["net"]["name"], settings["data"]["name"], settings["loss"]["name"]))
    families = {"vgg", "resnet", "densenet"}  # their files are also reached as vgg11, resnet18, densenet40
    assert len(names) == len([c for c in combinations if c[0] not in families])


def test_every_data_set_has_a_known_shape_here():
    assert set(DATA) == set(SHAPES)
    assert set(options("data")) - set(DATA) == set(OWN_DATA)


@pytest.mark.parametrize("shape", sorted(set(SHAPES.values())), ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("net", NETS)
def test_every_network_takes_a_step_and_an_analysis_on_every_image_shape_with_both_losses(net, shape):
    for name, loss in (("mse", mse), ("ce", cross_entropy)):
        overrides = (f"net={net}", f"loss={name}", "epochs=1", "lr=1e-5")
        assert locate(settings_of(*overrides)["loss"]["_target_"], "loss._target_") is loss
        (row,) = rows_of(trainer_of(*overrides, dataset=few_images(*shape, count=5), loss=loss))
        assert row["train_loss"] > 0
        assert row["mse_ls"] + row["mse_perp"] == pytest.approx(row["mse_total"], rel=1e-6)
