"""Every network, data set and loss of conf/: composes, builds, takes a training step and an analysis."""

import itertools
from importlib import resources

import pytest
import torch
from helpers.lab import few_images, rows_of, trainer_of
from helpers.settings import settings_of

from nc_runner.config.data_schema import DATA_SETS
from nc_runner.config.loss_schema import LOSSES
from nc_runner.config.schema import NETWORKS
from nc_runner.config.values import STANDARD_DATA
from nc_runner.networks.build import FAMILIES

SHAPES = {
    "digits": (1, 8), "mnist": (1, 32), "fashionmnist": (1, 32), "svhn": (3, 32), "cifar10": (3, 32),
    "cifar100": (3, 32), "stl10": (3, 96),
}  # fmt: skip


def options(group):
    folder = resources.files("nc_runner.conf").joinpath(group)
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


NETS = [net for net in options("net") if net not in ("custom", "ufm")]  # ufm: tests/training/test_ufm.py
DATA = [data for data in options("data") if data in STANDARD_DATA]
SHIPPED_LOSSES = [loss for loss in options("loss") if loss != "custom"]


def test_every_option_composes_and_passes_the_checks():
    """Networks with a data set and loss in turn, data sets with both losses: no group reads another."""
    data_sets, losses = itertools.cycle(DATA), itertools.cycle(SHIPPED_LOSSES)
    combinations = [(net, next(data_sets), next(losses)) for net in NETS]
    combinations += itertools.product(["resnet8"], DATA, SHIPPED_LOSSES)
    for net, data, loss in combinations:
        config = settings_of(f"net={net}", f"data={data}", f"loss={loss}")
        family = net in ("vgg", "resnet", "densenet")  # reached as vgg11, resnet18, densenet40 as well
        name = config.net.name
        assert name.startswith(net) if family else name == net
        assert (config.data.name, config.loss.name) == (data, loss)


def test_every_data_set_has_a_known_shape_here():
    assert set(DATA) == set(SHAPES)
    assert set(options("data")) - set(DATA) == {"custom", "folder", "npz", "torchvision", "ufm"}


def test_what_conf_ships_is_what_the_settings_know():
    assert {settings_of(f"loss={loss}").loss.target for loss in SHIPPED_LOSSES} == set(LOSSES)
    assert set(options("data")) - {"custom"} == set(DATA_SETS)
    assert {settings_of(f"net={net}").net.target for net in NETS} | {"ufm"} == set(NETWORKS) == set(FAMILIES)


@pytest.mark.parametrize("net", NETS)
def test_every_network_takes_a_step_and_an_analysis(net):
    """On images of one size, small where the network is deep; each network with one of the losses."""
    name = ("mse", "ce")[NETS.index(net) % 2]
    deep = net in ("resnet50", "resnet101", "resnet152", "densenet201", "densenet250")
    width = ["net.head_width=64"] if net.startswith("vgg") else []  # to draw 19 million weights takes seconds
    overrides = (f"net={net}", f"loss={name}", *width, "epochs=1", "lr=1e-5")
    data = few_images(3, 8 if deep else 32, count=5)
    (row,) = rows_of(trainer_of(*overrides, dataset=data))
    assert row["train_loss"] > 0
    assert row["mse_ls"] + row["mse_perp"] == pytest.approx(row["mse_total"], rel=1e-6)


@pytest.mark.parametrize("shape", sorted(set(SHAPES.values())), ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("net", NETS)
def test_every_network_takes_every_image_shape(net, shape):
    """Without memory for weights and maps: the shapes alone."""
    settings = settings_of(f"net={net}").net.model_dump(exclude={"target", "name", "weights"})
    build = FAMILIES[settings_of(f"net={net}").net.target]
    channels, size = shape
    with torch.device("meta"):
        model = build(**settings, num_classes=10, in_channels=channels, image_size=size)
        assert model(torch.empty(5, channels, size, size)).shape == (5, 10)
