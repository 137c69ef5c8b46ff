"""The last layer as head.* and classifier ask for it: for every family and custom networks."""

from __future__ import annotations

import pytest
import torch
from helpers.settings import settings_of
from torch import nn

from nc_runner.collapse import ClassStatistics, collapse_metrics
from nc_runner.config.schema import Config
from nc_runner.errors import ConfigError
from nc_runner.measurement.measure import measure
from nc_runner.networks import LastLayer, Network, build_network
from nc_runner.networks.heads import simplex_etf

SHAPE = {"num_classes": 10, "in_channels": 1, "image_size": 8}
CUSTOM = ("net=custom", "net._target_=helpers.lab.TinyNetwork")
NETS = {"resnet": ("net=resnet8",), "vgg": ("net=vgg6",), "densenet": ("net=densenet10",), "custom": CUSTOM}
HEADS = {
    "plain": (),
    "no bias": ("head.bias=false",),
    "features": ("head.features=20",),
    "few features": ("head.features=5",),
    "normalised features": ("head.normalize=features", "head.temperature=0.5"),
    "normalised rows": ("head.normalize=rows", "head.temperature=0.25"),
    "both": ("head.normalize=both", "head.temperature=0.1", "head.bias=false"),
    "both, of other features": ("head.normalize=both", "head.features=12"),
    "etf": ("classifier=etf", "head.scale=3"),
    "etf without bias": ("classifier=etf", "head.bias=false", "head.normalize=features"),
    "etf on other features": ("classifier=etf", "head.features=9"),
}


def built(*overrides: str) -> tuple[Network, Config]:
    config = settings_of(*overrides)
    torch.manual_seed(config.seed)
    last = LastLayer(config.head, etf=config.classifier == "etf")
    return build_network(config.net, last, **SHAPE), config


def images(count: int = 30) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_measured_features_and_weights_make_the_output(net: tuple[str, ...], head: tuple[str, ...]):
    if "net=vgg6" in net and any("head.features" in setting for setting in head):
        pytest.skip("a VGG has net.head_width")
    network, config = built(*net, *head)
    network.model.eval()
    with torch.no_grad():
        outputs, features = network.forward_with_features(images())
        classifier = network.classifier
        weight, bias = classifier.weight, classifier.bias
        expected = features.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert torch.allclose(outputs.double(), expected, rtol=0, atol=2e-6 * float(expected.abs().max() + 1))
    assert (bias is None) == (not config.head.bias)
    assert features.shape[1] == classifier.in_features == (config.head.features or features.shape[1])
    temperature = config.head.temperature or 1.0
    if config.head.normalize == "features":
        assert torch.allclose(features.norm(dim=1), torch.full((30,), 1 / temperature), rtol=1e-5)
    if config.head.normalize == "both":
        assert torch.allclose(features.norm(dim=1), torch.ones(30), rtol=1e-5)
    if config.head.normalizes_rows:
        assert torch.allclose(weight.norm(dim=1), torch.full((10,), 1 / temperature), rtol=1e-5)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_measure_finds_the_classifier_of_every_head(head: tuple[str, ...]):
    network, config = built(*CUSTOM, *head)
    labels = torch.arange(30) % 10
    row = measure(network.model, [(images(), labels)]).row
    if config.classifier == "etf":
        assert row["nc2_equiangular_classifier"] < 1e-6


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_a_plain_head_leaves_names_and_random_weights_alone(net: tuple[str, ...]):
    network, config = built(*net)
    torch.manual_seed(config.seed)
    bare = build_network(config.net, **SHAPE)
    assert list(network.model.state_dict()) == list(bare.model.state_dict())
    for name, tensor in bare.model.state_dict().items():
        assert torch.equal(network.model.state_dict()[name], tensor)


@pytest.mark.parametrize("head", [("head.bias=false",), ("classifier=etf",), ("head.normalize=rows",)])
def test_another_classifier_leaves_the_other_layers_random_weights_alone(head: tuple[str, ...]):
    plain, _ = built("net=resnet8")
    other, _ = built("net=resnet8", *head)
    states = plain.model.state_dict(), other.model.state_dict()
    for name, tensor in states[0].items():
        assert name.startswith("fc.") or torch.equal(states[1][name], tensor)


@pytest.mark.parametrize(("classes", "dim"), [(2, 1), (3, 2), (10, 9), (10, 64), (100, 99)])
def test_a_simplex_etf_has_equal_norms_and_angles_and_sums_to_zero(classes: int, dim: int):
    etf = simplex_etf(classes, dim)
    gram = (classes * torch.eye(classes, dtype=torch.float64) - 1) / (classes - 1)
    assert torch.allclose(etf @ etf.T, gram, atol=1e-12)
    assert float(etf.sum(dim=0).norm()) < 1e-12
    assert dim == 1 or not torch.equal(etf, simplex_etf(classes, dim))  # in one dimension there are two


def test_the_seed_decides_the_etfs_rotation():
    one, same, other = (built("classifier=etf", f"seed={seed}")[0].classifier.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_an_etf_classifier_has_nc2_at_rounding_and_the_scale_asked_for(scale: float):
    network, _ = built("classifier=etf", f"head.scale={scale}")
    weight = network.classifier.weight
    metrics = collapse_metrics(ClassStatistics(10, 64), weight)
    for name in ("equinorm", "equiangular", "maxangle"):
        assert metrics[f"nc2_{name}_classifier"] < 1e-6
    assert torch.allclose(weight.norm(dim=1), torch.full((10,), scale), rtol=1e-6)
    assert isinstance(network.classifier, nn.Linear)
    assert [name for name, _ in network.classifier.named_parameters()] == ["bias"]


def test_a_network_that_is_its_own_classifier_can_have_another_head(tmp_path, monkeypatch):
    (tmp_path / "linear_only.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_classes, in_channels, image_size):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network, _ = built("net=custom", "net._target_=linear_only.Net", "head.features=11", "head.bias=false")
    assert network.model(images()).shape == (30, 10)
    assert network.classifier.in_features == 11


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["classifier=etf", "head.features=8"], "at least 9 features: .* 8 dimensions\ngive head.features=9"),
        (["net=vgg6", "head.features=16"], "linear layers before its classifier\n.*net.head_width=16"),
        (["classifier=etf", "head.normalize=both"], "one norm, head.scale\ngive head.normalize=features"),
        (["classifier=etf", "head.normalize=rows"], "one norm, head.scale\ngive head.normalize=none"),
        (["classifier=least_squares", "head.normalize=rows"], "least-squares classifier differ in norm"),
        (["head.temperature=0.5"], "head.temperature=0.5 has no use without head.normalize"),
        (["head.scale=2"], "head.scale=2 has no use without classifier=etf"),
        (["head.normalize=features", "head.temperature=0"], "above 0"),
        (["head.normalize=all"], "one of none, features, rows, both"),
        (["head.features=0"], "at least 1"),
    ],
)
def test_what_does_not_go_together_is_an_error_that_says_why(overrides: list[str], problem: str):
    with pytest.raises(ConfigError, match=problem) as caught:
        built(*overrides)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_null_that_is_filled_in_and_the_number_itself_have_one_identity():
    from nc_runner.config.identity import folder_name

    pairs = [
        (["head.normalize=both"], "head.temperature=1"),
        (["classifier=etf"], "head.scale=1"),
    ]
    for given, number in pairs:
        assert folder_name(settings_of(*given)) == folder_name(settings_of(*given, number))
