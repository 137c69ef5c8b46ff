"""The classifier of models that others made: found, or declined with the reason."""

import pytest
import torch
from torch import nn

from nc_runner.errors import ConfigError, MeasurementError
from nc_runner.measurement.measure import measure
from nc_runner.networks.finding import find_classifier, unwrapped
from nc_runner.networks.loading import load_model, load_weights_file

pytestmark = pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")

IMAGES = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


def found(model, *inputs):
    with torch.no_grad():
        layer = find_classifier(model.eval(), lambda: model(*inputs))
    return next(name for name, module in model.named_modules() if module is layer)


def loaded(name):
    return load_model(name, num_classes=3, in_channels=3, image_size=32)


def vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: loaded("torchvision:resnet18"), "fc"),
        (lambda: loaded("torchvision:mobilenet_v3_small"), "classifier.3"),
        (lambda: loaded("torchvision:densenet121"), "classifier"),
        (vit, "heads.head"),
        (lambda: loaded("timm:resnet10t"), "fc"),
        (lambda: loaded("timm:mixer_s32_224"), None),
        (lambda: loaded("timm:convnext_atto"), "head.fc"),
    ],
)  # fmt: skip
def test_models_of_torchvision_and_timm_are_measured_by_one_line(make, name):
    model = make()
    if name is None:  # it takes images of one size alone
        with pytest.raises(MeasurementError, match="the model fails on the first batch"):
            measure(model, [(IMAGES, LABELS)])
        return
    assert found(model, IMAGES) == name
    row = measure(model, [(IMAGES[:8], LABELS[:8]), (IMAGES[8:], LABELS[8:])]).row
    assert 0 <= row["nc4_ncc_mismatch"] <= 1
    assert row["nc1"] > 0


def test_a_vit_has_layers_of_tokens():
    result = measure(vit(), [(IMAGES, LABELS)], layers=["encoder.layers.*"])
    assert [layer["features"] for layer in result.layers] == [16, 16]


def test_a_classifier_of_transformers_is_measured_by_one_line():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config)
    ids = torch.randint(0, 50, (12, 9), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": LABELS}
    result = measure(model, [batch], layers=["bert.encoder.layer.*"])
    assert result.row["nc1"] > 0
    assert len(result.layers) == 2


class Odd(nn.Module):
    """A linear layer and what is done with its output."""

    def __init__(self, after, calls=1):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.after, self.calls = after, calls

    def forward(self, x):
        for _ in range(self.calls):
            y = self.head(self.first(x).relu())
        return self.after(y)


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (lambda y: y.relu_(), "changes the output of head before it returns it"),
        (lambda y: y.clamp_(-100, 100), "changes the output of head"),  # the values are equal, by chance
        (lambda y: y.softmax(1), "no nn.Linear makes the model's output.*the last one called is head"),
        (lambda y: y * 1, "no nn.Linear makes"),
        (lambda y: "text", "returns no tensor"),
        (lambda y: (None, y), "returns no tensor"),
        (lambda y: {"out": y}, "returns no tensor"),
    ],
)
def test_outputs_that_are_changed_are_declined(after, message):
    with pytest.raises(MeasurementError, match=message) as error:
        found(Odd(after), X)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("after", [lambda y: y, lambda y: y.view(-1, 3), lambda y: (y, None), lambda y: [y]])
def test_outputs_that_are_passed_on_are_found(after):
    assert found(Odd(after), X) == "head"


def test_a_layer_that_is_called_twice_is_declined():
    with pytest.raises(MeasurementError, match="head is called 2 times"):
        found(Odd(lambda y: y, calls=2), X)


def test_models_without_weights_here_are_declined():
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(MeasurementError, match="weight is on the meta device"):
        unwrapped(model)
    with pytest.raises(MeasurementError, match="weight is not initialised yet"):
        unwrapped(nn.LazyLinear(3))

    class FSDPModule:  # as fully_shard adds it to a module's class
        pass

    class FSDPLinear(FSDPModule, nn.Linear):
        pass

    with pytest.raises(MeasurementError, match="the model is sharded by FSDP"):
        unwrapped(nn.Sequential(FSDPLinear(3, 2)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("named", [None, "2"])
def test_quantised_layers_are_declined_with_the_reason(named):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    quantised = torch.ao.quantization.quantize_dynamic(model.eval(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(MeasurementError, match="the model's linear layers are quantised"):
        measure(quantised, [(X, LABELS[:6])], classifier=named)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_model_is_declined_with_the_reason():
    with pytest.raises(MeasurementError, match="the model is compiled to TorchScript"):
        found(torch.jit.script(nn.Sequential(nn.Linear(3, 2))), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "no such model; did you mean resnet1"),
        ("timm:resnet1234", "no such model"),
        ("hf:/no/such/folder", "failed to build the model"),
        ("nothing", "not a dotted path"),
        ("missing.py:make", "there is no Python file missing.py"),
        ("helpers.lab.few_images", "returned an object of type Dataset"),
    ],
)
def test_models_that_are_not_there_are_said(name, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_model(name, num_classes=3, in_channels=1, image_size=8)
    assert "--model" in str(error.value)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))


@pytest.mark.parametrize(
    "saved",
    [
        lambda model: model.state_dict(),
        lambda model: {"state_dict": model.state_dict(), "epoch": 3},
        lambda model: {"model": {f"module.{name}": value for name, value in model.state_dict().items()}},
        lambda model: {"state_dict": {f"model._orig_mod.{n}": v for n, v in model.state_dict().items()}},
    ],
)
def test_weights_are_read_from_checkpoints_of_many_forms(saved, tmp_path):
    torch.save(saved(small()), tmp_path / "w.pt")
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    load_weights_file(model, tmp_path / "w.pt")
    assert model[1].weight.equal(small()[1].weight)


def test_weights_in_safetensors_are_read(tmp_path):
    pytest.importorskip("safetensors.torch").save_file(small().state_dict(), tmp_path / "w.safetensors")
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    load_weights_file(model, tmp_path / "w.safetensors")
    assert model[0].bias.equal(small()[0].bias)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda model: {"0.weight": torch.zeros(4, 4)}, "does not fit the model: Missing key"),
        (
            lambda model: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).state_dict(),
            "does not fit the model: size",
        ),
        (lambda model: model, "cannot be read as weights"),
        (lambda model: [1, 2], "holds no state_dict"),
        (lambda model: {"a": 1}, "holds no state_dict"),
    ],
)
def test_weights_that_do_not_fit_are_said_and_nothing_is_executed(content, message, tmp_path):
    torch.save(content(small()), tmp_path / "w.pt")
    with pytest.raises(MeasurementError, match=message):
        load_weights_file(small(), tmp_path / "w.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(MeasurementError, match="cannot be read"):
        load_weights_file(small(), tmp_path / "text.pt")
    with pytest.raises(MeasurementError, match="there is no file"):
        load_weights_file(small(), tmp_path / "absent.pt")
