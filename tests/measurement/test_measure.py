"""nc_runner.measure: any model, any batches; the numbers, the manners, the errors."""

import copy
import random
import types
import warnings

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.lab import few_images, trainer_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nc_runner
from nc_runner.columns import WIDER_COLUMNS, metric_columns
from nc_runner.data.batches import Batches
from nc_runner.errors import ConfigError, MeasurementError, MeasurementWarning
from nc_runner.measurement import tables

C, P = 4, 6


def mlp(out=C):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, P), nn.BatchNorm1d(P), nn.ReLU(), nn.Dropout(0.5), nn.Linear(P, out))


def samples(count=80, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % C
    x = torch.randn(count, 5, generator=generator) + torch.eye(C, 5)[y] * 2
    return x, y


def in_batches(x, y, size=32):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def measure(model, batches, **options):
    """Without the warnings of small samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasurementWarning)
        return nc_runner.measure(model, batches, **options)


def assert_rows_equal(row, other, rel=1e-9, without=("analysis_seconds",)):
    assert row.keys() == other.keys()
    for name in row.keys() - set(without):
        tolerance = max(rel, 1e-6) if "loss" in name else rel
        assert row[name] == pytest.approx(other[name], rel=tolerance, abs=1e-12, nan_ok=True), name


def features_of(model, x):
    with torch.no_grad():
        return model[:-1].eval()(x).double().numpy()


def test_the_row_has_the_columns_of_metrics_csv_and_equals_the_definitions():
    model, (x, y), (test_x, test_y) = mlp(), samples(), samples(40, seed=1)
    result = measure(
        model, in_batches(x, y), test=in_batches(test_x, test_y), metrics="all", loss="mse", weight_decay=5e-4
    )
    wider = [name for name in WIDER_COLUMNS if name != "nc5_ood_orthogonality"]
    assert tuple(result.row) == metric_columns(C, wider)
    h, test_h = features_of(model, x), features_of(model, test_x)
    W, b = (p.detach().double().numpy() for p in model[-1].parameters())
    labels, ridge = y.numpy(), C * 5e-4 / 2
    expected = reference.collapse_metrics(h, labels, W) | reference.mse_decomposition(h, labels, W, b, ridge)
    expected |= reference.wider_metrics(h, labels, W, b)
    out = h @ W.T + b
    expected["train_accuracy"] = np.mean(out.argmax(1) == labels)
    expected["train_loss"] = np.mean((out - np.eye(C)[labels]) ** 2)
    squares = sum(float(p.detach().double().square().sum()) for p in model.parameters())
    expected["train_loss_regularized"] = expected["train_loss"] + 5e-4 / 2 * squares
    means = reference.class_means(h, labels, C)
    test_out = test_h @ W.T + b
    expected["test_nc4_ncc_mismatch"] = np.mean(
        reference.nearest_class_mean(test_h, means) != test_out.argmax(1)
    )
    expected["test_accuracy"] = np.mean(test_out.argmax(1) == test_y.numpy())
    expected["ridge"] = ridge
    for name, value in expected.items():
        tolerance = 1e-5 if "loss" in name else 1e-9
        assert result.row[name] == pytest.approx(value, rel=tolerance, abs=1e-12, nan_ok=True), name
    assert all(np.isnan(result.row[name]) for name in ("epoch", "lr", "train_seconds"))


@pytest.mark.parametrize("family", ["resnet8", "vgg6", "densenet10"])
def test_a_networks_row_is_that_of_nc_runs_own_measurement(family):
    data = few_images(count=48)
    trainer = trainer_of(f"net={family}", "analysis.layers=[*]", dataset=data)
    own = trainer.measurer.measure(with_layers=False).row
    train, test = (Batches(data, split, 20) for split in ("train", "test"))
    loss = trainer.loss_function
    row = measure(trainer.network.model, train, test=test, loss=loss, weight_decay=5e-4).row
    for name, value in own.items():  # the images pass in other batches: float32
        assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


class WithLogits(nn.Module):
    """Answers as Transformers' models do."""

    def __init__(self, inner, form):
        super().__init__()
        self.inner, self.form = inner, form

    def forward(self, x, scale=1.0):
        logits = self.inner(x * scale)
        forms = {
            "object": types.SimpleNamespace(loss=None, logits=logits),
            "dict": {"features": x, "logits": logits},
            "tuple": (logits, x),
        }
        return forms[self.form]


@pytest.mark.parametrize("form", ["object", "dict", "tuple"])
@pytest.mark.parametrize(
    "shaped",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y, torch.zeros(len(y)), "further"],
        lambda x, y: {"x": x, "labels": y},
        lambda x, y: {"x": x, "label": y.int(), "scale": torch.ones(len(y), 1)},
        lambda x, y: ({"x": x}, y),
        lambda x, y: ((x, torch.ones(len(y), 1)), y),
    ],
)
def test_batches_and_outputs_of_every_form_give_one_row(form, shaped):
    model, (x, y) = mlp(), samples()
    plain = measure(model, in_batches(x, y)).row
    shaped_batches = [shaped(*batch) for batch in in_batches(x, y)]
    assert_rows_equal(measure(WithLogits(model, form), shaped_batches).row, plain)


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m))]
)
def test_what_is_inside_a_wrapper_is_measured(wrap):
    model, (x, y) = mlp(), samples()
    plain = measure(model, in_batches(x, y)).row
    assert_rows_equal(measure(wrap(model), in_batches(x, y)).row, plain)


def test_a_model_that_is_compiled_in_place_is_measured():
    model, (x, y) = mlp(), samples()
    plain = measure(model, in_batches(x, y)).row
    model.compile(backend="eager")
    assert_rows_equal(measure(model, in_batches(x, y)).row, plain)


def snapshot(model):
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "addresses": [p.data_ptr() for p in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "asks": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "random": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_is_left_as_it_was(fails):
    model, (x, y) = mlp(), samples()
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model(x).square().mean().backward()
    model[2].register_forward_hook(lambda *_: None)
    batches = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)  # its order is drawn
    wrong = [*batches, (x, y[:3])]
    before = snapshot(model)
    if fails:
        with pytest.raises(MeasurementError):
            measure(model, wrong, layers=["0"])
    else:
        with torch.autocast("cpu", torch.bfloat16):
            measure(model, batches, test=batches, layers=["0"], metrics="all")
    assert equal(before, snapshot(model))
    assert torch.is_grad_enabled()


def test_an_autocast_around_it_does_not_reach_the_features():
    model, (x, y) = mlp(), samples()
    plain = measure(model, in_batches(x, y)).row
    with torch.autocast("cpu", torch.bfloat16):
        inside = measure(model, in_batches(x, y)).row
        assert model(x).dtype == torch.bfloat16
    assert_rows_equal(inside, plain, rel=0)


def lagging():
    """A model whose running statistics are not those of its weights."""
    model, (x, y) = mlp(), samples()
    model.train()
    for _ in range(3):
        model(x)
    with torch.no_grad():
        model[0].weight.mul_(2)
    return model, x, y


@pytest.mark.parametrize("given", ["recomputed", "batches"])
def test_batch_norms_statistics_are_computed_anew_and_come_back(given):
    model, x, y = lagging()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chosen = [x[:64], x[64:]] if given == "batches" else given
    row = measure(model, in_batches(x, y, 64 if given == "batches" else 80), batchnorm=chosen).row
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[1].training
    assert model[1].momentum == 0.1
    assert row["nc1"] != pytest.approx(measure(model, in_batches(x, y)).row["nc1"], rel=1e-3)
    with torch.no_grad():
        seen = model[0](x).double()
    model[1].running_mean.copy_(seen.mean(dim=0))
    model[1].running_var.copy_(seen.var(dim=0))
    assert_rows_equal(row, measure(model, in_batches(x, y)).row, rel=1e-4)


def test_a_model_without_batch_norm_is_measured_as_ever_and_dicts_and_loaders_are_passed():
    model, (x, y) = nn.Sequential(nn.Linear(5, P), nn.Linear(P, C)), samples()
    rows = [measure(model, in_batches(x, y), batchnorm=kind).row for kind in ("running", "recomputed")]
    assert_rows_equal(*rows, rel=0)
    with_norm = lagging()[0]
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    assert measure(with_norm, loader, batchnorm="recomputed").row["nc1"] > 0


@pytest.mark.parametrize(
    ("kind", "batches", "message"),
    [
        ("renewed", list, r"batchnorm=renewed is unknown\ngive running, recomputed, or batches"),
        ("recomputed", iter, r"iterates the train batches twice.*\ngive a list or DataLoader"),
        ([torch.zeros(1, 5)], list, r"batch norm's statistics .* fails on batch 1: ValueError"),
        (3, list, "the batchnorm batches are an object of type int"),
    ],
)
def test_statistics_that_cannot_be_computed_are_said(kind, batches, message):
    model, x, y = lagging()
    with pytest.raises(MeasurementError, match=message):
        measure(model, batches(in_batches(x, y)), batchnorm=kind)


def test_one_pass_of_the_model_over_each_batch():
    model, (x, y) = mlp(), samples()
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    measure(model, (batch for batch in in_batches(x, y)), test=in_batches(x, y))
    assert seen == [2, 2, 2, 32, 32, 16, 32, 32, 16]  # two of the first samples find the classifier


def test_features_beyond_the_memory_limit_go_to_a_file_and_give_the_same_bits(monkeypatch):
    model, (x, y) = mlp(), samples()
    plain = measure(model, in_batches(x, y), test=in_batches(x, y), metrics="all").row
    written = []
    monkeypatch.setattr(tables, "free_memory", lambda: 4 * 1000)
    write = tables.GrowingRows._write
    monkeypatch.setattr(tables.GrowingRows, "_write", lambda self: (written.append(1), write(self)))
    assert_rows_equal(
        measure(model, in_batches(x, y), test=in_batches(x, y), metrics="all").row, plain, rel=0
    )
    assert len(written) > 2


def test_samples_labelled_minus_100_are_left_out():
    model, (x, y) = mlp(), samples()
    plain = measure(model, [(x[:60], y[:60])]).row
    labels = y.clone()
    labels[60:] = -100
    mixed = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    assert_rows_equal(measure(model, in_batches(x[mixed], labels[mixed])).row, plain, rel=1e-5)


class TokenModel(nn.Module):
    def __init__(self, vocabulary=11, width=7):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(vocabulary, width)
        self.mix = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, input_ids):
        return types.SimpleNamespace(logits=self.head(self.mix(self.embedding(input_ids))[0]))


def tokens(rows=40, length=12):
    return torch.randint(0, 11, (rows, length), generator=torch.Generator().manual_seed(0))


def test_next_tokens_are_the_labels_of_a_language_model():
    model, ids = TokenModel(), tokens()
    shifted = measure(model, [{"input_ids": part, "labels": part} for part in ids.split(16)], shift=True)
    labels = torch.cat([ids[:, 1:], torch.full((40, 1), -100)], dim=1)
    by_hand = measure(model, [({"input_ids": ids}, labels)])
    assert_rows_equal(shifted.row, by_hand.row, rel=1e-5)
    h = model.mix(model.embedding(ids))[0][:, :-1].flatten(0, 1).detach().double().numpy()
    expected = reference.collapse_metrics(
        h, ids[:, 1:].flatten().numpy(), model.head.weight.detach().double().numpy()
    )
    for name, value in expected.items():
        assert shifted.row[name] == pytest.approx(value, rel=1e-9), name


def test_rare_classes_are_left_out_and_the_rest_is_measured_as_if_they_were_not_there():
    model, (x, y) = mlp(), samples()
    rare = y != 2
    rare[2] = True  # one sample of class 2
    result = measure(model, in_batches(x[rare], y[rare]), test=[(x, y)], min_samples=2)
    fewer = copy.deepcopy(model)
    kept = torch.tensor([0, 1, 3])
    fewer[-1] = nn.Linear(P, 3)
    fewer[-1].weight.data, fewer[-1].bias.data = (
        model[-1].weight[kept].detach(),
        model[-1].bias[kept].detach(),
    )
    others = y != 2
    place = torch.tensor([0, 1, -1, 2])
    alone = measure(fewer, [(x[others], place[y[others]])], test=[(x[others], place[y[others]])])
    fit = ("train_loss", "train_loss_regularized", "train_accuracy", "test_loss", "test_accuracy")
    assert_rows_equal(result.row, alone.row, rel=1e-6, without=("analysis_seconds", *fit))
    of_all = measure(model, in_batches(x[rare], y[rare]), test=[(x, y)])
    assert {name: result.row[name] for name in fit} == {name: of_all.row[name] for name in fit}
    assert "1 of 4 classes have fewer than 2 train samples" in result.cautions[0]


def test_without_a_test_set_its_columns_are_nan_and_all_leaves_out_what_needs_it():
    model, (x, y) = mlp(), samples()
    row = measure(model, in_batches(x, y), metrics="all").row
    assert np.isnan(row["test_accuracy"])
    assert np.isnan(row["test_nc4_ncc_mismatch"])
    assert "test_nc1" not in row
    assert "nc1_cdnv" in row
    with pytest.raises(MeasurementError, match="test_nc1 needs test features\ngive them as test="):
        measure(model, in_batches(x, y), metrics=["test_nc1"])


def test_out_of_distribution_batches_need_no_labels():
    model, (x, y) = mlp(), samples()
    other = torch.randn(30, 5, generator=torch.Generator().manual_seed(3))
    rows = [
        measure(model, in_batches(x, y), ood=ood, metrics=["nc5_ood_orthogonality"]).row[
            "nc5_ood_orthogonality"
        ]
        for ood in ([other], [(other[:10], None), (other[10:], "labels")], [{"input": other}])
    ]
    expected = reference.nc5_ood_orthogonality(features_of(model, x), y.numpy(), C, features_of(model, other))
    assert rows == pytest.approx([expected] * 3, rel=1e-6)


def test_custom_metrics_and_losses_are_taken():
    model, (x, y) = mlp(), samples()
    row = measure(
        model, in_batches(x, y), custom={"mine": lambda stats, weight, bias: stats.total + len(bias)},
        loss=lambda outputs, labels: outputs.new_tensor(7.0),
    ).row  # fmt: skip
    assert row["mine"] == 84
    assert row["train_loss"] == 7


def test_layers_have_the_rows_of_layers_csv():
    model, (x, y) = mlp(), samples()
    result = measure(model, in_batches(x, y), test=[(x, y)], layers=["0", "2"])
    assert [layer["layer"] for layer in result.layers] == ["0", "2"]
    last = measure(nn.Sequential(*model[:3], nn.Linear(P, C)), in_batches(x, y)).row
    assert result.layers[1]["nc1"] == pytest.approx(last["nc1"], rel=1e-9)
    alone = measure(model, in_batches(x, y), layers=["0"])
    assert np.isnan(alone.layers[0]["test_ncc_accuracy"])
    assert alone.layers[0]["nc1"] == result.layers[0]["nc1"]


def test_a_classifier_is_named_where_its_output_is_not_the_models():
    class Softmax(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            return self.inner(x).softmax(dim=1)

    model, (x, y) = Softmax(), samples()
    with pytest.raises(MeasurementError, match=r"no nn.Linear makes the model's output.*\n.*classifier="):
        measure(model, in_batches(x, y))
    plain = measure(model.inner, in_batches(x, y)).row
    for classifier in ("inner.4", model.inner[4]):
        assert_rows_equal(measure(model, in_batches(x, y), classifier=classifier).row, plain)


def test_half_precision_is_measured_with_a_caution():
    model, (x, y) = mlp().bfloat16(), samples()
    result = measure(model, in_batches(x.bfloat16(), y))
    assert "the model computes in bfloat16" in result.cautions[-1]
    assert result.row["nc1"] > 0


def test_cautions_are_warnings_too():
    model, (x, y) = mlp(), samples(8)
    with pytest.warns(MeasurementWarning) as given:
        result = nc_runner.measure(model, [(x, y)])
    assert [str(warning.message) for warning in given] == list(result.cautions)
    assert result.cautions[0].startswith("NC1 is ")
    assert any("samples are too few for 6 features" in caution for caution in result.cautions)
    assert "1 of 4 classes have no samples" in measure(model, [(x[:3], y[:3])]).cautions[0]


def test_it_prints_as_a_table_in_a_terminal_and_in_a_notebook():
    model, (x, y) = mlp(), samples()
    result = measure(model, in_batches(x, y), layers=["0"], custom={"<b>": None} and {"mine": lambda *_: 1.5})
    text = str(result)
    assert text.startswith("4 classes, 6 features, 80 train samples\n")
    assert "nc1 " in text
    assert "test_accuracy" not in text
    assert "custom metric" in text
    assert max(map(len, text.partition("\nlayer")[0].splitlines())) <= 120
    assert result._repr_html_().count("<table") == 2
    assert f"{result.row['nc1']:.6g}" in result._repr_html_()


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {}, "there are no train batches"),
        ([1], {}, "a batch is an object of type int\ngive batches of"),
        ([torch.zeros(3, 5)], {}, "a batch is an object of type Tensor"),
        (7, {}, "the train batches are an object of type int\ngive a list"),
        (None, {"test": 7}, "the test batches are an object of type int"),
        ([(torch.zeros(5), 1)], {}, "a batch has a single label: it looks like one sample\ngive batches"),
        ([(torch.zeros(2, 5), ["a", "b"])], {}, "labels must be whole numbers .*; they are a list of 2"),
        ([(torch.zeros(2, 5), None)], {}, "labels must be whole numbers .*; they are an object of type None"),
        ([(torch.zeros(0, 5), torch.zeros(0).long())], {}, "there are no train samples"),
        ([{"x": 1}], {}, "a batch has no labels: its keys are x"),
        (
            [(torch.zeros(3, 4), torch.zeros(3).long())],
            {},
            "the model fails on the first batch: RuntimeError",
        ),
        ([(torch.zeros(3, 5), torch.zeros(3))], {}, "labels must be whole numbers from 0 on, not float32"),
        ([(torch.zeros(3, 5), torch.zeros(2).long())], {}, r"train batch 1: .*\(3, 6\).*\(2,\)"),
        ([(torch.zeros(3, 5), torch.tensor([0, 1, 4]))], {}, "a label is 4, but the model has 4 outputs"),
        ([(torch.zeros(3, 5), torch.tensor([0, 1, -1]))], {}, "a label is -1"),
        ([(torch.full((3, 5), np.nan), torch.tensor([0, 1, 2]))], {}, "train batch 1: .*not finite"),
        (None, {"metrics": ["nc1_cdvn"]}, "no further column nc1_cdvn; did you mean nc1_cdnv"),
        (None, {"metrics": ["core", "nc1_cdnv"]}, "core stands alone"),
        (None, {"metrics": 3}, "metrics=3 is unknown"),
        (None, {"loss": "focal"}, "loss=focal is unknown"),
        (None, {"loss": 3}, "loss=3 is unknown"),
        (None, {"loss": lambda outputs, labels: 1 / 0}, "the loss failed with ZeroDivisionError"),
        (None, {"loss": lambda outputs, labels: outputs}, "the loss failed with"),
        (None, {"ridge": "auto"}, "ridge=auto is unknown"),
        (None, {"ridge": -1.0}, "ridge=-1.0 must be"),
        (None, {"weight_decay": float("nan")}, "weight_decay=nan must be"),
        (None, {"min_samples": 0}, "min_samples=0 must be"),
        (None, {"min_samples": 1.5}, "min_samples=1.5 must be"),
        (None, {"min_samples": "2"}, "min_samples=2 must be"),
        (None, {"min_samples": 1000}, "only 0 of 4 classes have 1000 samples"),
        (None, {"classifier": "last"}, "has no such module\nits last linear layers are 0, 4"),
        (None, {"classifier": "1"}, "must be an nn.Linear, not BatchNorm1d"),
        (None, {"classifier": nn.Linear(6, 4)}, "no part of the model"),
        (None, {"custom": ["a"]}, "custom must be a dict"),
        (None, {"custom": {"a": 1}}, "custom must be a dict"),
        (None, {"custom": {"nc1": len}}, "nc1 cannot be a custom metric's column"),
        (None, {"test": []}, "there are no test samples"),
        (None, {"shift": True}, "shift needs labels"),
        (None, {"device": "cuda:7"}, "device=cuda:7 cannot be used"),
        (None, {"device": "gpu"}, "device=gpu cannot be used"),
        (None, {"device": []}, "cannot be used"),
        (None, {"device": "meta"}, "device=meta has no numbers"),
        (None, {"layers": ["0"], "min_samples": 2}, "cannot be combined"),
    ],
)
def test_what_cannot_be_measured_is_said_in_two_lines(batches, options, message):
    model, (x, y) = mlp(), samples()
    with pytest.raises(MeasurementError, match=message) as error:
        measure(model, in_batches(x, y) if batches is None else batches, **options)
    assert len(str(error.value).splitlines()) <= 2


def test_a_layer_that_is_not_there_is_said():
    model, (x, y) = mlp(), samples()
    with pytest.raises(ConfigError, match="layers: no module of the network matches conv"):
        measure(model, in_batches(x, y), layers=["conv*"])


def test_what_is_no_module_is_said():
    with pytest.raises(MeasurementError, match="the model is an object of type OrderedDict"):
        measure(mlp().state_dict(), in_batches(*samples()))


def test_the_features_are_those_that_the_classifier_sees_whatever_becomes_of_them_in_place():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.head = mlp()[:-1], mlp()[-1]
            self.other = nn.Sequential(nn.Threshold(10.0, -3.0, inplace=True), nn.Linear(P, 2))

        def forward(self, x):
            h = self.trunk(x)
            return self.head(h), self.other(h)

    batches = in_batches(*samples())
    row, plain = measure(TwoHeads(), batches).row, measure(mlp(), batches).row
    assert_rows_equal(row, plain, without=("analysis_seconds", "train_loss_regularized"))


class Cosine(nn.Linear):
    def forward(self, h):
        return 10 * nn.functional.linear(nn.functional.normalize(h), nn.functional.normalize(self.weight))


class Adapted(nn.Linear):
    """Like loralib's layer: merged in eval mode, split again in train mode."""

    merged = False

    def train(self, mode=True):
        if mode == self.merged:
            self.weight.data += 0.5 if self.merged else -0.5
            self.merged = not mode
        return super().train(mode)

    def forward(self, h):
        return super().forward(h) if self.merged else super().forward(h) - 0.5 * h.sum(dim=1, keepdim=True)


def with_classifier(layer):
    model = mlp()
    model[-1] = layer
    return model


@pytest.mark.parametrize("named", [None, "4"])
def test_a_classifier_that_makes_something_else_of_its_weight_is_declined(named):
    hooked = mlp()
    hooked[-1].register_forward_hook(lambda module, args, output: 3 * output)
    for model, name in ((with_classifier(Cosine(P, C, bias=False)), "Cosine"), (hooked, "Linear")):
        with pytest.raises(MeasurementError, match=rf"4 \({name}\) does not make weight @ input \+ bias"):
            measure(model, in_batches(*samples()), classifier=named)


def test_weights_that_are_computed_from_others_are_those_of_the_pass():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(P, C))
    plain = nn.Linear(P, C)
    plain.load_state_dict({"weight": normed.weight.detach(), "bias": normed.bias.detach()})
    batches = in_batches(*samples())
    rows = [measure(with_classifier(layer), batches).row for layer in (normed, plain)]
    assert_rows_equal(*rows, without=("analysis_seconds", "train_loss_regularized"))


def test_a_layer_that_is_merged_for_eval_is_split_again():
    model = with_classifier(Adapted(P, C)).train()
    weight = model[-1].weight.detach().clone()
    measure(model, in_batches(*samples()))
    assert not model[-1].merged
    assert model[-1].weight.detach().allclose(weight, atol=1e-6)


def test_a_custom_metric_that_writes_into_the_weight_leaves_the_model_as_it_was():
    model = mlp()
    measure(model, in_batches(*samples()), custom={"mine": lambda stats, weight, bias: weight.zero_().sum()})
    assert model[-1].weight.abs().sum() > 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_layers_are_not_matched_with_the_labels_of_other_samples(split):
    x, y = samples()
    part = torch.where(torch.arange(len(y)) < 5, -100, y)
    splits = {"train": in_batches(x, y), "test": in_batches(x, y), split: in_batches(x, part)}
    with pytest.raises(MeasurementError, match=f"layers: there are 75 {split} labels for 80 samples"):
        measure(mlp(), splits["train"], test=splits["test"], layers="0")


def test_empty_batches_are_passed_over():
    x, y = samples()
    batches = in_batches(x, y)
    row = measure(mlp(), [(x[:0], y[:0]), batches[0], (x[:0], y[:0]), *batches[1:]]).row
    assert_rows_equal(row, measure(mlp(), batches).row)
    with pytest.raises(MeasurementError, match="makes the model's output as it is returned"):
        measure(nn.Sequential(mlp(), nn.Softmax(dim=1)), [(x[:0], y[:0]), *batches])


def test_packed_sequences_are_passed_as_they_are():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.trunk, self.head = nn.LSTM(5, P, batch_first=True), nn.Linear(P, C)

        def forward(self, x):
            return self.head(self.trunk(x)[1][0][-1])

    x, y = samples()
    x = x[:, None] * torch.ones(1, 3, 1)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 3), batch_first=True)
    rows = [measure(Recurrent(), [(form, y)]).row for form in (packed, x)]
    assert_rows_equal(*rows, rel=1e-5)


def test_parameters_of_every_dtype_count_in_the_regularised_loss():
    model = mlp()
    model.phases = nn.Parameter(torch.full((3,), 3 + 4j))
    model.codes = nn.Parameter(torch.full((2,), 2, dtype=torch.int8), requires_grad=False)
    model.forward = lambda x: nn.Sequential.forward(nn.Sequential(*list(model.children())), x)
    row = measure(model, in_batches(*samples()), weight_decay=0.1).row
    squares = sum(p.detach().double().square().sum() for p in mlp().parameters())
    added = row["train_loss_regularized"] - row["train_loss"]
    assert added == pytest.approx(float(0.05 * (squares + 3 * 25 + 2 * 4)), rel=1e-9)
