"""The families: sizes against published numbers, stems, and shapes from images to outputs."""

from __future__ import annotations

from pathlib import Path

import nc_runner.conf
import pytest
import torch
import torchvision
from helpers.networks import (
    ALL_NETWORKS,
    DEPTHS,
    FAMILIES,
    assert_outputs_belong_to_features,
    build,
    last_linear,
    on_meta,
    parameters,
)
from helpers.settings import settings_of
from torch import Tensor, nn

from nc_runner.errors import ConfigError
from nc_runner.networks import build_network, vgg

CONFIG_FILES = sorted(
    path.stem
    for path in (Path(nc_runner.conf.__file__).parent / "net").glob("*.yaml")
    if path.stem not in ("custom", "ufm")
)


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

    def test_the_imagenet_stem_is_an_error_for_the_cifar_family(self) -> None:
        with pytest.raises(ConfigError, match=r"net\.stem=imagenet is not supported for net\.depth=20"):
            build("resnet", 20, stem="imagenet")
        assert build("resnet", 8, stem="small", size=8).classifier.in_features == 64

    def test_images_too_small_for_the_stem_are_an_error(self) -> None:
        with pytest.raises(
            ConfigError, match=r"net\.stem=imagenet does not support 28 x 28 images"
        ) as caught:
            build("densenet", 121, size=28, stem="imagenet")
        assert "net.stem=small" in str(caught.value)
        build("densenet", 121, size=29, stem="imagenet")
        with pytest.raises(ConfigError, match="too small"):
            build("densenet", 10, size=3)
        build("densenet", 10, size=4)

    def test_unknown_depths_and_stems_are_an_error(self) -> None:
        for family in FAMILIES:
            with pytest.raises(ConfigError, match=r"net\.depth=12 is not valid: .* one of "):
                build(family, 12)
        for family, depth in (("resnet", 18), ("densenet", 40)):
            with pytest.raises(ConfigError, match=r"net\.stem=big is not valid"):
                build(family, depth, stem="big")


class TestForward:
    @pytest.mark.parametrize("name", CONFIG_FILES)
    def test_every_file_of_conf_net_builds(self, name: str) -> None:
        net = settings_of(f"net={name}").net
        family = name.rstrip("0123456789")
        assert net.target == family
        assert name in (family, f"{family}{net.depth}")
        if family == "vgg":
            net = net.model_copy(update={"head_width": 32})  # saves the time of drawing 19 million weights
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
