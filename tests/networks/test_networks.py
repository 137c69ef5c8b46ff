"""The networks: sizes against published numbers, shapes, and what a network that will not do is told."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nc_runner.conf
import pytest
import torch
import torchvision
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn

from nc_runner.config import schema
from nc_runner.errors import ConfigError
from nc_runner.networks import Network, build_network, densenet, resnet, vgg

FAMILIES = {"resnet": resnet, "vgg": vgg, "densenet": densenet}
DEPTHS: dict[str, tuple[int, ...]] = {
    family: node.__dataclass_fields__["depth"].metadata["choices"]
    for family, node in schema.NETWORK_FAMILIES.items()
}
ALL_NETWORKS = [(family, depth) for family, depths in DEPTHS.items() for depth in depths]
CONFIG_FILES = sorted(
    path.stem
    for path in (Path(nc_runner.conf.__file__).parent / "net").glob("*.yaml")
    if path.stem != "custom"
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Batches of two gain nothing from threads, and lose much where other processes want the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(
    family: str, depth: int, channels: int = 3, size: int = 32, classes: int = 10, **settings: Any
) -> Network:
    net = {"_target_": f"nc_runner.networks.{family}", "name": "x", "depth": depth, **settings}
    return build_network(net, num_classes=classes, in_channels=channels, image_size=size)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(family: str, depth: int, classes: int = 10, size: int = 32, **settings: Any) -> nn.Module:
    """The model without memory for its weights: enough to count them."""
    with torch.device("meta"):
        return FAMILIES[family](depth, num_classes=classes, in_channels=3, image_size=size, **settings)


def last_linear(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def stem_divides_by(model: nn.Module, size: int, channels: int) -> int:
    """By how much the size has shrunk when the first residual or dense block sees the images."""
    block = next(m for name, m in model.named_modules() if name.endswith(("layer1", "denseblock1")))
    sizes: list[int] = []

    class Seen(Exception):
        pass

    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        sizes.append(args[0].shape[-1])
        raise Seen  # the rest would only take time

    block.register_forward_pre_hook(see)
    with pytest.raises(Seen):
        model(torch.zeros(1, channels, size, size, device="meta"))
    return size // sizes[0]


def assert_outputs_belong_to_features(network: Network, images: Tensor, classes: int) -> None:
    outputs, features = network.forward_with_features(images)
    weight, bias = network.classifier.weight, network.classifier.bias
    assert outputs.shape == (len(images), classes)
    assert features.shape == (len(images), network.classifier.in_features)
    torch.testing.assert_close(outputs, features @ weight.T + bias)
    assert not torch.allclose(features[0], features[1])  # the images differ, so do their features


class TestSizes:
    """Parameter counts and feature dimensions of the published networks."""

    @pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
    def test_resnets_of_the_imagenet_family_are_torchvisions(self, depth: int) -> None:
        ours = on_meta("resnet", depth, classes=1000, size=224)
        with torch.device("meta"):
            theirs = getattr(torchvision.models, f"resnet{depth}")()
        assert {name: p.shape for name, p in ours.named_parameters()} == {
            name: p.shape for name, p in theirs.named_parameters()
        }

    @pytest.mark.parametrize("depth", [121, 201])
    def test_densenets_for_imagenet_are_torchvisions(self, depth: int) -> None:
        ours = on_meta("densenet", depth, classes=1000, size=224)
        with torch.device("meta"):
            theirs = getattr(torchvision.models, f"densenet{depth}")()
        assert {name: p.shape for name, p in ours.named_parameters()} == {
            name: p.shape for name, p in theirs.named_parameters()
        }

    @pytest.mark.parametrize("depth", [11, 13, 16, 19])
    def test_the_convolutions_of_vgg_are_torchvisions(self, depth: int) -> None:
        with torch.device("meta"):
            theirs = getattr(torchvision.models, f"vgg{depth}_bn")()
        ours = {n: p.shape for n, p in on_meta("vgg", depth).named_parameters() if n.startswith("features")}
        assert ours == {n: p.shape for n, p in theirs.named_parameters() if n.startswith("features")}

    @pytest.mark.parametrize(
        ("family", "depth", "published"),
        [
            ("resnet", 18, 11_689_512),
            ("resnet", 50, 25_557_032),
            ("densenet", 121, 7_978_856),
            ("densenet", 201, 20_013_928),
        ],
    )
    def test_counts_documented_by_torchvision(self, family: str, depth: int, published: int) -> None:
        assert parameters(on_meta(family, depth, classes=1000, size=224)) == published

    @pytest.mark.parametrize(
        ("family", "depth", "millions", "digits"),
        [  # He et al. 2016, table 6; Huang et al. 2017, table 2
            ("resnet", 20, 0.27, 2),
            ("resnet", 32, 0.46, 2),
            ("resnet", 56, 0.85, 2),
            ("densenet", 100, 0.8, 1),
            ("densenet", 250, 15.3, 1),
        ],
    )
    def test_counts_of_the_papers(self, family: str, depth: int, millions: float, digits: int) -> None:
        count = parameters(on_meta(family, depth))
        if family == "resnet":  # the papers' shortcuts have no parameters (option A), ours are convolutions
            count -= 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
        assert round(count / 1e6, digits) == millions

    @pytest.mark.parametrize(("depth", "layers"), [(10, 2), (40, 12)])
    def test_plain_densenets_by_the_papers_rule(self, depth: int, layers: int) -> None:
        def rule(maps: int) -> int:
            count = 3 * 9 * maps
            for block in range(3):
                for _ in range(layers):
                    count += 2 * maps + maps * 9 * 12
                    maps += 12
                count += 2 * maps + (maps * maps if block < 2 else 0)
            return count + maps * 10 + 10

        assert parameters(on_meta("densenet", depth)) == rule(24)
        if depth == 40:
            assert round(rule(16) / 1e6, 1) == 1.0  # the paper's 1.0 M is with 16 first maps

    @pytest.mark.parametrize(
        ("family", "depth", "features"),
        [
            ("vgg", 6, 64), ("vgg", 11, 4096), ("vgg", 19, 4096),
            ("resnet", 8, 64), ("resnet", 56, 64), ("resnet", 18, 512), ("resnet", 34, 512),
            ("resnet", 50, 2048), ("resnet", 101, 2048), ("resnet", 152, 2048),
            ("densenet", 10, 96), ("densenet", 40, 456), ("densenet", 100, 342), ("densenet", 250, 1734),
            ("densenet", 121, 1024), ("densenet", 201, 1920),
        ],
    )  # fmt: skip
    def test_features(self, family: str, depth: int, features: int) -> None:
        assert last_linear(on_meta(family, depth)).in_features == features

    @pytest.mark.parametrize(("family", "depth"), [(f, d) for f, d in ALL_NETWORKS if f != "densenet"])
    def test_depth_counts_the_layers_with_weights(self, family: str, depth: int) -> None:
        layers = [
            name
            for name, module in on_meta(family, depth).named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name
        ]
        assert len(layers) == depth

    @pytest.mark.parametrize("depth", DEPTHS["densenet"])
    def test_densenet_depth_counts_the_layers_with_weights(self, depth: int) -> None:
        layers = [m for m in on_meta("densenet", depth).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert len(layers) == depth

    def test_head_width_and_growth_rate_are_settings(self) -> None:
        assert last_linear(on_meta("vgg", 11, head_width=300)).in_features == 300
        assert last_linear(on_meta("densenet", 40, growth_rate=6)).in_features == 12 + 36 * 6
        assert last_linear(on_meta("densenet", 121, growth_rate=16)).in_features == 512

    @pytest.mark.parametrize(("family", "depth"), ALL_NETWORKS)
    def test_no_dropout(self, family: str, depth: int) -> None:
        names = {type(module).__name__ for module in on_meta(family, depth).modules()}
        assert not any("Dropout" in name for name in names)


class TestStems:
    @pytest.mark.parametrize(
        ("family", "depth"),
        [("resnet", 18), ("densenet", 10), ("densenet", 40), ("densenet", 100), ("densenet", 121)],
    )
    @pytest.mark.parametrize(
        ("stem", "size", "divided_by"),
        [("auto", 32, 1), ("auto", 63, 1), ("auto", 64, 4), ("small", 64, 1), ("imagenet", 32, 4)],
    )
    @pytest.mark.parametrize("channels", [1, 3])
    def test_stem(
        self, family: str, depth: int, stem: str, size: int, divided_by: int, channels: int
    ) -> None:
        with torch.device("meta"):
            model = FAMILIES[family](depth, stem=stem, num_classes=3, in_channels=channels, image_size=size)
        assert stem_divides_by(model, size, channels) == divided_by

    def test_small_stem_is_a_3_by_3_convolution_alone(self) -> None:
        for model, name in ((on_meta("resnet", 18), "conv1"), (on_meta("densenet", 121), "features.conv0")):
            first = model.get_submodule(name)
            assert isinstance(first, nn.Conv2d)
            assert (first.kernel_size, first.stride, first.padding) == ((3, 3), (1, 1), (1, 1))
        pools = [m for m in on_meta("resnet", 18).modules() if isinstance(m, nn.MaxPool2d)]
        assert pools == []

    def test_imagenet_stem_is_refused_for_the_cifar_family(self) -> None:
        with pytest.raises(ConfigError, match=r"net\.stem=imagenet is not for net\.depth=20"):
            build("resnet", 20, stem="imagenet")
        assert build("resnet", 8, stem="small", size=8).classifier.in_features == 64

    def test_images_too_small_for_the_stem_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"net\.stem=imagenet cannot take images of 28 x 28") as caught:
            build("densenet", 121, size=28, stem="imagenet")
        assert "net.stem=small" in str(caught.value)
        build("densenet", 121, size=29, stem="imagenet")
        with pytest.raises(ConfigError, match="too small"):
            build("densenet", 10, size=3)
        build("densenet", 10, size=4)

    def test_unknown_names_are_refused(self) -> None:
        for family in FAMILIES:
            with pytest.raises(ConfigError, match=r"net\.depth=12 is refused: .* one of "):
                build(family, 12)
        for family, depth in (("resnet", 18), ("densenet", 40)):
            with pytest.raises(ConfigError, match=r"net\.stem=big is refused"):
                build(family, depth, stem="big")


class TestForward:
    @pytest.mark.parametrize("name", CONFIG_FILES)
    def test_every_file_of_conf_net_builds(self, name: str) -> None:
        schema.register()
        with initialize_config_module("nc_runner.conf", version_base="1.3"):
            net = OmegaConf.to_container(compose("config", [f"net={name}"]).net, resolve=True)
        family = name.rstrip("0123456789")
        assert net["_target_"] == f"nc_runner.networks.{family}"
        assert name in (family, f"{family}{net['depth']}")
        if net.get("head_width", 0) is None:
            net["head_width"] = 32  # saves the time of drawing 19 million weights
        network = build_network(net, num_classes=7, in_channels=1, image_size=8)
        assert network.classifier.out_features == 7

    def test_every_depth_has_its_file(self) -> None:
        assert {f"{family}{depth}" for family, depth in ALL_NETWORKS} | set(DEPTHS) == set(CONFIG_FILES)

    @pytest.mark.parametrize(("family", "depth"), ALL_NETWORKS)
    def test_outputs_are_the_classifier_of_the_features_at_every_depth(self, family: str, depth: int) -> None:
        torch.manual_seed(0)
        settings = {"head_width": 64} if family == "vgg" else {}
        network = build(family, depth, channels=1, size=8, classes=5, **settings)
        images = torch.randn(2, 1, 8, 8)
        network.model.eval()
        with torch.no_grad():
            assert_outputs_belong_to_features(network, images, 5)

    @pytest.mark.parametrize(
        ("family", "depth"),
        [
            ("vgg", 6), ("vgg", 11), ("resnet", 8), ("resnet", 20), ("resnet", 18),
            ("densenet", 10), ("densenet", 40),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32), (3, 96)])
    def test_small_and_middle_members_train_and_measure_at_every_size(
        self, family: str, depth: int, channels: int, size: int
    ) -> None:
        torch.manual_seed(0)
        settings = {"head_width": 64} if family == "vgg" else {}
        network = build(family, depth, channels, size, **settings)
        images = torch.randn(2, channels, size, size)
        network.model.eval()
        with torch.no_grad():
            assert_outputs_belong_to_features(network, images, 10)
        network.model.train()
        outputs, features = network.forward_with_features(images)
        assert outputs.shape == (2, 10)
        assert features.shape == (2, network.classifier.in_features)
        outputs.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.model.parameters())

    @pytest.mark.parametrize("depth", [100, 121])
    @pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 96)])
    def test_densenets_with_bottlenecks_measure(self, depth: int, channels: int, size: int) -> None:
        torch.manual_seed(0)
        network = build("densenet", depth, channels, size)
        network.model.eval()
        with torch.no_grad():
            assert_outputs_belong_to_features(network, torch.randn(2, channels, size, size), 10)

    def test_vgg_pools_change_nothing_where_they_divide_evenly(self) -> None:
        torch.manual_seed(0)
        model = vgg(11, 16, num_classes=3, in_channels=3, image_size=32).eval()
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            outputs = model(images)
            for module in model.modules():
                if isinstance(module, nn.MaxPool2d):
                    module.ceil_mode = False
            assert torch.equal(model(images), outputs)

    def test_features_cost_no_second_pass_and_leave_no_hook(self) -> None:
        network = build("resnet", 8, channels=1, size=8)
        passes: list[int] = []
        handle = network.model.register_forward_pre_hook(lambda *_: passes.append(1))
        network.forward_with_features(torch.zeros(2, 1, 8, 8))
        handle.remove()
        assert len(passes) == 1
        assert not network.classifier._forward_hooks

    def test_hook_is_removed_when_the_pass_fails(self) -> None:
        network = build("resnet", 8, channels=1, size=8)
        with pytest.raises(RuntimeError):
            network.forward_with_features(torch.zeros(2, 5, 8, 8))
        assert not network.classifier._forward_hooks


class TestBuild:
    @pytest.mark.parametrize(
        ("family", "depth"), [("vgg", 6), ("resnet", 8), ("resnet", 18), ("densenet", 10)]
    )
    def test_the_seed_decides_the_weights(self, family: str, depth: int) -> None:
        states = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            states.append(build(family, depth, size=8).model.state_dict())
        same, again, other = states
        assert all(torch.equal(same[name], again[name]) for name in same)
        convolution = next(name for name, weight in same.items() if weight.ndim == 4)
        assert not torch.equal(same[convolution], other[convolution])

    def test_checking_a_network_leaves_generator_statistics_and_modes_alone(self) -> None:
        torch.manual_seed(1)
        plain = resnet(8, num_classes=10, in_channels=3, image_size=32)
        state_after_plain = torch.get_rng_state()
        torch.manual_seed(1)
        built = build("resnet", 8).model
        assert torch.equal(torch.get_rng_state(), state_after_plain)
        assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), built.buffers(), strict=True))
        assert all(module.training for module in built.modules())


# Own networks, as users write them.
OWN = """
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
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of own networks in the current folder; its name, a new one for each test."""
    name = f"own_networks_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])  # '' would be this folder
    return name


def build_own(path: str, classes: int = 3, channels: int = 1, size: int = 4, **settings: Any) -> Network:
    net = {"_target_": path, "name": "own", **settings}
    return build_network(net, num_classes=classes, in_channels=channels, image_size=size)


class TestOwnNetwork:
    def test_a_file_in_the_current_folder_is_found(self, own: str) -> None:
        network = build_own(f"{own}.Good", width=5)
        assert network.classifier is network.model.head
        assert network.classifier.in_features == 5
        network.model.eval()
        assert_outputs_belong_to_features(network, torch.randn(4, 1, 4, 4), 3)

    def test_the_current_folder_comes_last_and_once(self, own: str) -> None:
        before = list(sys.path)
        build_own(f"{own}.Good")
        build_own(f"{own}.Good")
        assert sys.path == [*before, os.getcwd()]

    def test_a_file_in_a_package_and_a_nested_class_are_found(self, own: str) -> None:
        package = Path(f"{own}_package")
        package.mkdir()
        (package / "__init__.py").touch()
        Path(f"{own}.py").rename(package / "models.py")
        assert build_own(f"{package}.models.Nested.Inner").classifier.out_features == 3

    @pytest.mark.parametrize("function", ["lazy", "noisy"])
    def test_other_ways_to_write_one(self, own: str, function: str) -> None:
        torch.manual_seed(0)
        network = build_own(f"{own}.{function}")
        assert type(network.classifier) is nn.Linear
        outputs, features = network.forward_with_features(torch.randn(2, 1, 4, 4))
        torch.testing.assert_close(outputs, network.classifier(features))

    def test_only_drawing_the_weights_moves_the_generator(self, own: str) -> None:
        after = []
        for function in ("Good", "Good", "noisy"):  # the first imports the module; noisy's forward pass draws
            torch.manual_seed(0)
            weight = build_own(f"{own}.{function}").classifier.weight
            after.append((weight, torch.get_rng_state()))
        assert all(torch.equal(weight, after[0][0]) for weight, _ in after)
        assert all(torch.equal(state, after[0][1]) for _, state in after)

    def test_frozen_layers_stay_frozen(self, own: str) -> None:
        model = build_own(f"{own}.Good", frozen=True).model
        assert model.training
        assert not model.norm.training

    def test_a_classifier_without_bias(self, own: str) -> None:
        assert build_own(f"{own}.Good", bias=False).classifier.bias is None

    def test_a_callable_with_keyword_arguments_gets_everything(self, own: str) -> None:
        assert build_own(f"{own}.unrestricted", width=6).classifier.in_features == 6

    def test_torchvisions_functions_work_as_they_are(self) -> None:
        network = build_own("torchvision.models.resnet18", classes=4, channels=3, size=32)
        assert network.classifier is network.model.fc
        assert network.classifier.out_features == 4
        with pytest.raises(
            ConfigError, match=r"torchvision\.models\.resnet18 fails on images of 1 x 32 x 32"
        ):
            build_own("torchvision.models.resnet18", classes=4, channels=1, size=32)
        with pytest.raises(ConfigError, match="unexpected keyword argument 'widht'"):
            build_own("torchvision.models.resnet18", classes=4, channels=3, size=32, widht=3)

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("no_such_module.Net", "cannot be imported: there is no module no_such_module"),
            ("{own}.Absent", "cannot be imported: {own} has no attribute Absent"),
            ("torch.nn.absent.Net", r"cannot be imported: torch\.nn has no attribute absent"),
            ("resnet18", "is not a dotted path"),
            ("my-net.py:Net", "there is no Python file my-net.py"),
            ("{own}..Good", "is not a dotted path"),
            ("{own}.number", "is of type int"),
            ("{own}.instance", "is a network already"),
            ("torch.nn", "is of type module"),
            ("{own}.not_a_network", r"returned an object of type dict, not a torch\.nn\.Module"),
            ("{own}.crashes", "failed to build the network: ZeroDivisionError: no luck"),
            (
                "{own}.only_convolutions",
                r"has no nn\.Linear: nc-runner measures the input of the last linear",
            ),
            ("{own}.AuxiliaryLast", "must make its output, but aux is called 0 times"),
            ("{own}.Twice", "must make its output, but head is called 2 times"),
            ("{own}.Tokens", r"but the input of head has shape \(2, 4, 4\)"),
            ("{own}.ThousandOutputs", "has 1000 outputs, but the data has 3 classes"),
            ("{own}.needs_colour", r"fails on images of 1 x 4 x 4 .*: RuntimeError: "),
        ],
    )
    def test_what_will_not_do_is_refused_in_two_lines(self, own: str, target: str, message: str) -> None:
        target = target.format(own=own)
        with pytest.raises(ConfigError, match=message.format(own=own)) as caught:
            build_own(target)
        assert str(caught.value).startswith(f"net._target_={target}")
        assert len(str(caught.value).splitlines()) <= 2

    @pytest.mark.parametrize("after", ["softmax", "relu", "scale", "tuple", "none"])
    def test_anything_after_the_classifier_is_refused(self, own: str, after: str) -> None:
        with pytest.raises(ConfigError, match="does not return the output of head as it is"):
            build_own(f"{own}.After", after=after)
        build_own(f"{own}.After", after="nothing")

    def test_arguments_that_the_callable_lacks_or_needs_are_named(self, own: str) -> None:
        with pytest.raises(
            ConfigError, match=r"^net\.widht is refused: .* no such argument\nit takes .*width"
        ):
            build_own(f"{own}.Good", widht=3)
        with pytest.raises(ConfigError, match=r"^net\.after is not set, .*\ngive it as \+net\.after=VALUE"):
            build_own(f"{own}.After")
        with pytest.raises(ConfigError, match=r"failed to build the network: TypeError: "):
            build_own(f"{own}.Good", width="many")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import absent_dependency", "ModuleNotFoundError: No module named 'absent_dependency'"),
            ("def broken(:", "SyntaxError: "),
            ("raise RuntimeError('set me up first')", "RuntimeError: set me up first"),
        ],
    )
    def test_a_module_that_fails_says_why(self, own: str, text: str, reason: str) -> None:
        Path(f"{own}_bad.py").write_text(text)
        with pytest.raises(ConfigError, match=f"cannot be imported: {own}_bad fails with {reason}"):
            build_own(f"{own}_bad.Net")
