"""Custom networks, as users write them: how they are called, and what cannot be measured."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import FAMILIES, assert_outputs_belong_to_features, custom
from helpers.settings import settings_of
from torch import nn

from nc_runner.errors import ConfigError
from nc_runner.networks import Network, build_network
from nc_runner.networks import build as build_module
from nc_runner.networks.build import check_network

CUSTOM = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, num_classes, in_channels, image_size, width=8, frozen=False, bias=True):
        super().__init__()
        self.hidden = nn.Linear(in_channels * image_size**2, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, num_classes, bias=bias)
        if frozen:
            self.norm.eval()
    def forward(self, x):
        return self.head(input=torch.relu(self.norm(self.hidden(x.flatten(1)))))

class After(Good):  # something happens after the classifier
    def __init__(self, after, **kwargs):
        super().__init__(kwargs["num_classes"], kwargs["in_channels"], kwargs["image_size"])
        self.after = after
    def forward(self, x):
        y = super().forward(x)
        return {"softmax": lambda: y.softmax(1), "relu": lambda: y.relu(), "scale": lambda: 2 * y,
                "tuple": lambda: (y, y), "none": lambda: None, "nothing": lambda: y}[self.after]()

def needs_after(after, num_classes):
    pass

class AuxiliaryLast(Good):
    def __init__(self, num_classes, in_channels, image_size):
        super().__init__(num_classes, in_channels, image_size)
        self.aux = nn.Linear(8, num_classes)

class Twice(Good):
    def forward(self, x):
        super().forward(x)
        return super().forward(x)

class Tokens(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.head = nn.Linear(image_size, num_classes)
    def forward(self, x):
        return self.head(x[:, 0])

class ThousandOutputs(Good):
    def __init__(self, in_channels, image_size):
        super().__init__(1000, in_channels, image_size)

def only_convolutions(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def lazy(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(num_classes))

def unrestricted(**kwargs):
    assert set(kwargs) == {"num_classes", "in_channels", "image_size", "width"}, kwargs
    return Good(**kwargs)

def noisy(num_classes, in_channels, image_size):
    class Noisy(Good):
        def forward(self, x):
            return super().forward(x + torch.randn_like(x))
    return Noisy(num_classes, in_channels, image_size)

def needs_colour(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

def not_a_network(num_classes):
    return {"layers": num_classes}

def crashes(num_classes):
    raise ZeroDivisionError("no luck\\nsecond line")

class Nested:
    Inner = Good

instance = nn.Linear(2, 2)  # draws its weights when the module is imported
number = 3
"""
numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of custom networks in the current folder; its name, a new one for each test."""
    name = f"custom_networks_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(CUSTOM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])  # '' would be this folder
    return name


def build_custom(path: str, classes: int = 3, channels: int = 1, size: int = 4, **settings: Any) -> Network:
    net = custom(path, **settings)
    return build_network(net, num_classes=classes, in_channels=channels, image_size=size)


class TestCustomNetwork:
    def test_a_file_in_the_current_folder_is_found(self, module: str) -> None:
        network = build_custom(f"{module}.Good", width=5)
        assert network.classifier is network.model.head
        assert network.classifier.in_features == 5
        network.model.eval()
        assert_outputs_belong_to_features(network, torch.randn(4, 1, 4, 4), 3)

    def test_the_current_folder_comes_last_and_once(self, module: str) -> None:
        before = list(sys.path)
        build_custom(f"{module}.Good")
        build_custom(f"{module}.Good")
        assert sys.path == [*before, os.getcwd()]

    def test_a_file_in_a_package_and_a_nested_class_are_found(self, module: str) -> None:
        package = Path(f"{module}_package")
        package.mkdir()
        (package / "__init__.py").touch()
        Path(f"{module}.py").rename(package / "models.py")
        assert build_custom(f"{package}.models.Nested.Inner").classifier.out_features == 3

    @pytest.mark.parametrize("function", ["lazy", "noisy"])
    def test_other_ways_to_write_one(self, module: str, function: str) -> None:
        torch.manual_seed(0)
        network = build_custom(f"{module}.{function}")
        assert type(network.classifier) is nn.Linear
        outputs, features = network.forward_with_features(torch.randn(2, 1, 4, 4))
        torch.testing.assert_close(outputs, network.classifier(features))

    def test_only_drawing_the_weights_moves_the_generator(self, module: str) -> None:
        after = []
        for function in ("Good", "Good", "noisy"):  # the first imports the module; noisy's forward pass draws
            torch.manual_seed(0)
            weight = build_custom(f"{module}.{function}").classifier.weight
            after.append((weight, torch.get_rng_state()))
        assert all(torch.equal(weight, after[0][0]) for weight, _ in after)
        assert all(torch.equal(state, after[0][1]) for _, state in after)

    def test_frozen_layers_stay_frozen(self, module: str) -> None:
        model = build_custom(f"{module}.Good", frozen=True).model
        assert model.training
        assert not model.norm.training

    def test_a_classifier_without_bias(self, module: str) -> None:
        assert build_custom(f"{module}.Good", bias=False).classifier.bias is None

    def test_a_callable_with_keyword_arguments_gets_everything(self, module: str) -> None:
        assert build_custom(f"{module}.unrestricted", width=6).classifier.in_features == 6

    def test_torchvisions_functions_work_as_they_are(self) -> None:
        network = build_custom("torchvision.models.resnet18", classes=4, channels=3, size=32)
        assert network.classifier is network.model.fc
        assert network.classifier.out_features == 4
        with pytest.raises(
            ConfigError, match=r"torchvision\.models\.resnet18 fails on images of 1 x 32 x 32"
        ):
            build_custom("torchvision.models.resnet18", classes=4, channels=1, size=32)
        with pytest.raises(ConfigError, match="unexpected keyword argument 'widht'"):
            build_custom("torchvision.models.resnet18", classes=4, channels=3, size=32, widht=3)

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("no_such_module.Net", "cannot be imported: there is no module no_such_module"),
            ("{module}.Absent", "cannot be imported: {module} has no attribute Absent"),
            ("torch.nn.absent.Net", r"cannot be imported: torch\.nn has no attribute absent"),
            ("resnet18", "is not a dotted path"),
            ("my-net.py:Net", "there is no Python file my-net.py"),
            ("{module}..Good", "is not a dotted path"),
            ("{module}.number", "is of type int"),
            ("{module}.instance", "is a network already"),
            ("torch.nn", "is of type module"),
            ("{module}.not_a_network", r"returned an object of type dict, not a torch\.nn\.Module"),
            ("{module}.crashes", "failed to build the network: ZeroDivisionError: no luck"),
            (
                "{module}.only_convolutions",
                r"has no nn\.Linear: nc-runner measures the input of the last linear",
            ),
            ("{module}.AuxiliaryLast", "must make its output, but aux is called 0 times"),
            ("{module}.Twice", "must make its output, but head is called 2 times"),
            ("{module}.Tokens", r"but the input of head has shape \(2, 4, 4\)"),
            ("{module}.ThousandOutputs", "has 1000 outputs, but the data has 3 classes"),
            ("{module}.needs_colour", r"fails on images of 1 x 4 x 4 .*: RuntimeError: "),
        ],
    )
    def test_what_cannot_be_measured_is_an_error_of_two_lines(
        self, module: str, target: str, message: str
    ) -> None:
        target = target.format(module=module)
        with pytest.raises(ConfigError, match=message.format(module=module)) as caught:
            build_custom(target)
        assert str(caught.value).startswith(f"net._target_={target}")
        assert len(str(caught.value).splitlines()) <= 2

    @pytest.mark.parametrize("after", ["softmax", "relu", "scale", "tuple", "none"])
    def test_anything_after_the_classifier_is_an_error(self, module: str, after: str) -> None:
        with pytest.raises(ConfigError, match="does not return the output of head as it is"):
            build_custom(f"{module}.After", after=after)
        build_custom(f"{module}.After", after="nothing")

    def test_wrong_arguments_are_named_before_the_callable_is_called(self, module: str) -> None:
        for call in (
            check_network,
            lambda net: build_network(net, num_classes=3, in_channels=1, image_size=4),
        ):
            with pytest.raises(
                ConfigError, match=r"no setting net\.widht: Good has .*did you mean width\?\nit takes"
            ):
                call(custom(f"{module}.Good", widht=3))
            with pytest.raises(
                ConfigError, match=r"^net\.after is not set, .*\ngive it as \+net\.after=VALUE"
            ):
                call(custom(f"{module}.needs_after"))
            with pytest.raises(ConfigError, match="is a network already"):
                call(custom(f"{module}.instance"))
            with pytest.raises(ConfigError, match=r"resnt8 is not a dotted path; did you mean resnet\?"):
                call(custom("resnt8"))
        check_network(custom(f"{module}.Good", width=3))
        check_network(custom(f"{module}.unrestricted", anything=3))  # takes **kwargs: cannot be checked

    def test_nothing_is_looked_up_for_what_ships(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build_module, "locate", None)
        for family in FAMILIES:
            check_network(settings_of(f"net={family}").net)

    def test_a_callable_that_fails_on_a_value_is_named(self, module: str) -> None:
        with pytest.raises(ConfigError, match=r"failed to build the network: TypeError: "):
            build_custom(f"{module}.Good", width="many")

    def test_arguments_that_the_settings_give_come_before_those_of_the_data_set(self, module: str) -> None:
        with pytest.raises(ConfigError, match="has 5 outputs, but the data has 3 classes"):
            build_custom(f"{module}.Good", num_classes=5)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import absent_dependency", "ModuleNotFoundError: No module named 'absent_dependency'"),
            ("def broken(:", "SyntaxError: "),
            ("raise RuntimeError('set me up first')", "RuntimeError: set me up first"),
        ],
    )
    def test_a_module_that_fails_says_why(self, module: str, text: str, reason: str) -> None:
        Path(f"{module}_bad.py").write_text(text)
        with pytest.raises(ConfigError, match=f"cannot be imported: {module}_bad fails with {reason}"):
            build_custom(f"{module}_bad.Net")
