"""Names, orders and colours."""

import doctest

import pytest

from nc_runner.figures import looks, scales, style


@pytest.mark.parametrize("module", [style, scales])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_networks_go_by_family_then_by_depth_and_unknown_ones_come_last():
    names = ["zoo", "densenet100", "resnet152", "densenet40", "resnet18", "vgg13", "vgg6", "alexnet"]
    expected = ["vgg6", "vgg13", "resnet18", "resnet152", "densenet40", "densenet100", "alexnet", "zoo"]
    assert sorted(names, key=style.network_order) == expected


def test_data_sets_go_from_easy_to_hard_and_unknown_ones_come_last():
    names = ["own", "stl10", "cifar100", "cifar10", "svhn", "fashionmnist", "mnist", "digits"]
    expected = ["digits", "mnist", "fashionmnist", "svhn", "cifar10", "cifar100", "stl10", "own"]
    assert sorted(names, key=style.data_set_order) == expected


def test_names_are_printed_as_papers_print_them():
    assert style.network_name("resnet18") == "ResNet18"
    assert style.network_name("vgg11-wide") == "VGG11-wide"
    assert style.data_set_name("svhn") == "SVHN"
    assert style.loss_name("mse") == "MSE"


def test_a_name_from_disk_may_hold_anything_and_becomes_one_short_printable_line():
    shown = style.network_name("a\nb\x1b[31m\ud800" + "x" * 100)
    assert shown.isprintable()
    assert len(shown) <= 24


def test_mse_and_ce_look_the_same_whatever_other_losses_there_are():
    alone, crowd = looks.loss_looks(["mse"]), looks.loss_looks(["hinge", "focal", "mse", "ce"])
    assert {name: crowd[name] for name in ("mse", "ce")} == {name: alone[name] for name in ("mse", "ce")}
    assert len(set(crowd.values())) == 4


def test_the_two_losses_differ_in_grey_print():
    def lightness(colour):
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    found = looks.loss_looks(["mse", "ce"])
    assert abs(lightness(found["mse"][0]) - lightness(found["ce"][0])) > 0.25
    assert found["mse"][1] != found["ce"][1]
