"""Collapse of inner layers: the numbers by definition, one pass, names and globs, refusals, resumption."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import reference
from helpers.lab import Listening, few_images, settings_of, trainer_of
from helpers.stops import StopAfter
from torch import nn

from nc_runner.columns import LAYER_COLUMNS, TIME_COLUMNS
from nc_runner.errors import ConfigError
from nc_runner.measurement.layers import InnerLayers, find_layers, pooled
from nc_runner.runs.reader import read_run
from nc_runner.runs.record import read_run_file, rows_digest
from nc_runner.training import run as module
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals

RESNET = ("net=resnet8", "analysis.batch_size=20")


class Mixed(nn.Module):
    """Layers of every kind: maps, vectors changed in place, used twice, never, with other outputs."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.hidden = nn.Linear(4, 4)
        self.unused = nn.Linear(2, 2)
        self.pair = Pair()
        self.tokens = nn.Flatten(2)
        self.windows = nn.Unflatten(2, (6, 6, 1))
        self.named = Named()
        self.sign = Sign()
        self.classifier = nn.Linear(4, num_classes)

    def forward(self, images):
        maps = self.relu(self.conv(images))
        tokens = self.tokens(maps)
        self.windows(tokens)
        vectors = self.named(self.pair(tokens.mean(dim=2))[0])["vectors"]
        self.sign(vectors)
        return self.classifier(self.relu(self.hidden(vectors)))


class Pair(nn.Module):
    def forward(self, x):
        return x, None


class Named(nn.Module):
    def forward(self, x):
        return {"vectors": x}


class Sign(nn.Module):
    def forward(self, x):
        return x > 0


MIXED = ("net=custom", f"net._target_={__file__}:Mixed")


def layer_rows(trainer):
    return trainer.measurer.measure(with_layers=True).layers


def by_hand(trainer, name, split):
    """A layer's output for all images of a split in one pass, averaged over space by NumPy."""
    caught = []
    hook = trainer.network.model.get_submodule(name).register_forward_hook(
        lambda module, args, output: caught.append(first(output).double().numpy().copy())
    )
    with torch.no_grad():
        trainer.network.model.eval()(trainer.dataset.normalise(split.images, channels_last=True))
    hook.remove()
    (output,) = caught
    return output if output.ndim == 2 else output.mean(axis=(2, 3) if output.ndim == 4 else 1)


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (RESNET, ["conv1", "layer1", "layer2.0.conv2", "layer3", "flatten"]),
        (
            MIXED,
            ["conv", "tokens", "pair", "hidden"],
        ),  # conv and hidden are changed in place by the next layer
    ],
)
def test_the_rows_equal_the_definitions_on_features_caught_by_hand(overrides, names):
    data = few_images(count=47)
    trainer = trainer_of(*overrides, f"analysis.layers=[{','.join(names)}]", dataset=data)
    rows = layer_rows(trainer)
    assert [(row["layer"], row["depth"]) for row in rows] == [
        (name, depth) for depth, name in enumerate(names, start=1)
    ]
    for row in rows:
        assert ("epoch", *row) == LAYER_COLUMNS
        train, test = (by_hand(trainer, row["layer"], split) for split in (data.train, data.test))
        y, test_y = data.train.labels.numpy(), data.test.labels.numpy()
        means, centred = reference.class_means(train, y, 10), reference.centred_means(train, y, 10)
        assert row["features"] == train.shape[1]
        expected = {
            "nc1": reference.nc1(train, y, 10),
            "nc2_equinorm_means": reference.nc2_equinorm(centred),
            "nc2_equiangular_means": reference.nc2_equiangular(centred),
            "nc2_maxangle_means": reference.nc2_maxangle(centred),
            "ncc_accuracy": np.mean(reference.nearest_class_mean(train, means) == y),
            "test_ncc_accuracy": np.mean(reference.nearest_class_mean(test, means) == test_y),
        }
        for measure_name, value in expected.items():  # the two passes differ in their batches: float32
            assert row[measure_name] == pytest.approx(value, rel=2e-4), (row["layer"], measure_name)


def test_the_last_features_have_the_numbers_of_metrics_csv():
    trainer = trainer_of("net=resnet8", "analysis.layers=[avgpool,flatten]")
    measurement = trainer.measurer.measure(with_layers=True)
    for layer in measurement.layers:
        for column in ("nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_maxangle_means"):
            assert layer[column] == pytest.approx(measurement.row[column], rel=1e-12)


def test_one_forward_pass_serves_row_and_layers_and_leaves_no_hook():
    trainer = trainer_of(*RESNET, "analysis.layers=[layer*]", dataset=few_images(count=47))
    seen = []
    hook = trainer.network.model.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    rows = layer_rows(trainer)
    hook.remove()
    assert seen == [20, 20, 7, 10]
    assert len(rows) == 3
    assert not any(module._forward_hooks for module in trainer.network.model.modules())


def test_a_measurement_that_stops_leaves_no_hook_and_the_next_one_counts_each_image_once():
    trainer = trainer_of(*RESNET, "analysis.layers=[layer1]", dataset=few_images(count=47))
    whole = layer_rows(trainer)

    def stop():
        nonlocal looks
        looks -= 1
        if looks == 0:
            raise StopRequested(15)

    for batches in (2, 4):
        looks = batches
        with pytest.raises(StopRequested):
            trainer.measurer.measure(stop, with_layers=True)
        assert not any(module._forward_hooks for module in trainer.network.model.modules())
    assert layer_rows(trainer) == whole


def test_layers_do_not_change_the_rows_of_the_run():
    rows = []
    for layers in ("[]", "[layer*,conv1]"):
        trainer = trainer_of("net=resnet8", "epochs=2", f"analysis.layers={layers}")
        listener = Listening()
        trainer.run(listener)
        assert [[row["epoch"] for row in rows] for rows in listener.layers] == (
            [[], []] if layers == "[]" else [[1] * 4, [2] * 4]
        )
        rows.append([{k: v for k, v in row.items() if "seconds" not in k} for row in listener.rows])
    assert rows[0] == rows[1]


def test_only_analysed_epochs_have_layers_also_where_every_epoch_is_refitted():
    trainer = trainer_of(
        "classifier=least_squares", "epochs=4", "analysis.schedule=[2]", "analysis.layers=[norm]"
    )
    listener = Listening()
    trainer.run(listener)
    assert [rows[0]["epoch"] for rows in listener.layers] == [2, 4]


def test_pooling_is_the_mean_over_space_in_float32_and_always_a_copy():
    maps = torch.arange(24, dtype=torch.bfloat16).view(1, 2, 3, 4)
    assert pooled(maps).tolist() == [[5.5, 17.5]]
    assert pooled(maps).dtype == torch.float32
    vectors = torch.tensor([[-1.0, 2.0]])
    kept = pooled(vectors)
    assert kept.equal(vectors)
    vectors.relu_()
    assert kept.tolist() == [[-1.0, 2.0]]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("layer*", ["layer1", "layer2", "layer3"]),
        ("layer2,conv1", ["conv1", "layer2"]),  # in the order of the forward pass
        ("layer*,layer1", ["layer1", "layer2", "layer3"]),  # each once
        ("layer?.0", ["layer1.0", "layer2.0", "layer3.0"]),
        ("**.conv?", ["conv1", *(f"layer{i}.0.conv{j}" for i in (1, 2, 3) for j in (1, 2))]),
        ("layer3.0.downsample.1", ["layer3.0.downsample.1"]),
    ],
)
def test_names_and_globs(patterns, expected):
    assert (
        list(trainer_of("net=resnet8", f"analysis.layers=[{patterns}]").measurer.layers.modules) == expected
    )


@pytest.mark.parametrize(
    ("overrides", "layer", "message"),
    [
        (["net=resnet8"], "layr1", "matches layr1\ndid you mean layer1"),
        (["net=resnet8"], "LAYER1", "matches LAYER1\nit has conv1, bn1, relu, layer1, layer2"),
        (["net=resnet8"], "encoder*", "matches encoder\\*\nit has conv1"),
        (["net=resnet8"], "layer1.0.relu", "layer1.0.relu cannot be measured: it is called 2 times"),
        (MIXED, "unused", "unused cannot be measured: it is called 0 times"),
        (MIXED, "named", "named cannot be measured: it returns an object of type dict"),
        (
            MIXED,
            "windows",
            r"windows cannot be measured: its output for 2 samples is \(2, 4, 6, 6, 1\) of float32",
        ),
        (MIXED, "sign", r"sign cannot be measured: .* is \(2, 4\) of bool"),
        (["classifier=least_squares"], "classifier", "classifier holds the classifier"),
    ],
)
def test_what_cannot_be_measured_is_an_error_with_the_reason(overrides, layer, message):
    with pytest.raises(ConfigError, match=message) as refused:
        trainer_of(*overrides, f"analysis.layers=[{layer}]")
    assert len(str(refused.value).splitlines()) == 2


def test_the_check_draws_nothing_and_leaves_batch_norm_and_mode_alone():
    trainer = trainer_of("net=resnet8")
    model = trainer.network.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    images = torch.zeros(2, 1, 8, 8)
    find_layers(trainer.network.model, ["layer*"], lambda: trainer.network.model(images), 2)
    assert torch.get_rng_state().equal(random_state)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())


def test_no_layers_catch_nothing():
    layers = InnerLayers({})
    for split in ("train", "test"):
        with layers.listen(split):
            pass
    assert layers.rows(*[torch.arange(3)] * 2, num_classes=3) == []


def test_a_layer_that_is_not_finite_has_rows_of_nan_and_the_run_goes_on():
    """-inf before a ReLU, as in a mask: the last features are finite."""
    trainer = trainer_of(*MIXED, "analysis.layers=[conv,hidden]")
    with torch.no_grad():
        trainer.network.model.conv.bias[0] = -float("inf")
    measurement = trainer.measurer.measure(with_layers=True)
    conv, hidden = measurement.layers
    numbers = [value for name, value in conv.items() if name not in ("layer", "depth", "features")]
    assert len(numbers) == 6
    assert np.isnan(numbers).all()
    assert np.isfinite([hidden["ncc_accuracy"], measurement.row["train_loss"]]).all()


# ---- in a run folder

TINY = settings_of(
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
    "batch_size=20", "epochs=4",
    "progress=none", "checkpoint_seconds=0", "analysis.layers=[hidden,norm]",
)  # fmt: skip


def with_layers(*names, **settings):
    """As TINY, with other layers and settings."""
    return TINY.model_copy(
        update={"analysis": TINY.analysis.model_copy(update={"layers": names}), **settings}
    )


def files(folder):
    metrics = pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))
    return metrics.to_csv(), (folder / "layers.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    execute(TINY, folder, StopSignals())
    return folder


def test_a_run_writes_a_line_for_each_layer_and_epoch(whole):
    run = read_run(whole)
    assert run.layers is not None
    assert list(run.layers.columns) == list(LAYER_COLUMNS)
    assert run.layers["epoch"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert run.layers["layer"].tolist() == ["hidden", "norm"] * 4
    assert run.layers["depth"].tolist() == [1, 2] * 4
    assert set(run.layers["features"]) == {12}
    assert np.isfinite(run.layers.drop(columns="layer").to_numpy()).all()


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("looks", [0, 4, 5, 12])
def test_a_run_stopped_anywhere_ends_with_the_same_layers(looks, killed, whole, tmp_path):
    with pytest.raises((StopRequested, KeyboardInterrupt)):
        execute(TINY, tmp_path, StopAfter(looks, killed))
    execute(TINY, tmp_path, StopSignals())
    assert files(tmp_path) == files(whole)


@pytest.mark.parametrize("damage", ["cut", "edited", "ahead"])
def test_layers_damaged_while_a_run_rests_are_restored(damage, whole, tmp_path, capsys):
    with pytest.raises(StopRequested):
        execute(TINY, tmp_path, StopAfter(12))
    path = tmp_path / "layers.csv"
    text = path.read_text()
    assert len(text.splitlines()) == 5
    if damage == "cut":
        path.write_text(text[:-20])
    elif damage == "edited":
        path.write_text(text.replace("norm", "mine"))
    else:  # killed between the layers and the checkpoint of an epoch
        path.write_text((whole / "layers.csv").read_text())
    execute(TINY, tmp_path, StopSignals())
    assert files(tmp_path) == files(whole)
    assert (tmp_path / "layers.csv.edited-1").exists() == (damage == "edited")
    assert ("layers.csv was changed by hand" in capsys.readouterr().err) == (damage == "edited")


def test_a_finished_runs_layers_count_among_what_must_be_whole(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    assert rows_digest(tmp_path) == read_run_file(tmp_path)["rows_digest"]
    (tmp_path / "layers.csv").unlink()
    assert rows_digest(tmp_path) != read_run_file(tmp_path)["rows_digest"]
    execute(TINY, tmp_path, StopSignals())
    assert files(tmp_path) == files(whole)


def test_an_unknown_layer_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Trainer, "run", None)
    with pytest.raises(ConfigError, match="did you mean hidden"):
        execute(with_layers("hiden"), tmp_path, StopSignals())
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_layers_has_no_such_file(tmp_path):
    execute(with_layers(epochs=1), tmp_path, StopSignals())
    assert not (tmp_path / "layers.csv").exists()
    assert read_run(tmp_path).layers is None
