"""analysis.batchnorm: statistics computed anew for a measurement; training does not notice."""

import copy
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from helpers.lab import few_images, rows_of, settings_of, trainer_of
from helpers.stops import StopAfter
from torch import nn

from nc_runner.columns import RECOMPUTED_COLUMNS, TIME_COLUMNS
from nc_runner.config.identity import folder_name, identity
from nc_runner.data.dataset import load_dataset
from nc_runner.measurement.batchnorm import Recomputation, recomputed
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals

FAMILIES = ["resnet8", "vgg6", "densenet10"]


def trained(family, count=60):
    """A network whose running statistics lag, in eval mode, and its images."""
    trainer = trainer_of(f"net={family}", "batch_size=10", "epochs=1", dataset=few_images(count=count))
    rows_of(trainer)
    model = trainer.network.model.eval()
    return model, trainer.dataset.normalise(trainer.dataset.train.images, channels_last=True)


def statistics(model):
    """Running means and variances, by name."""
    names = ("running_mean", "running_var")
    return {name: b.clone() for name, b in model.named_buffers() if name.endswith(names)}


def buffers(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_one_batch_they_are_the_statistics_of_a_train_mode_forward_to_the_bit(family):
    model, x = trained(family)
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        reference.train()(x)
    before = buffers(model)
    model.train()  # as after an epoch
    with recomputed(model, [lambda: model(x)]):
        inside = statistics(model)
        assert not any(module.training for module in model.modules())
    assert equal(inside, statistics(reference))
    assert not equal(inside, statistics(copy.deepcopy(model)))
    assert equal(buffers(model), before)


@pytest.mark.parametrize("sizes", [[60], [30, 30], [7, 20, 33], [1, 59]])
def test_of_several_batches_the_first_layers_are_those_of_the_whole_set(sizes):
    model, x = trained("resnet8")
    with torch.no_grad():
        maps = model.conv1(x).double().transpose(0, 1).flatten(1)
    with recomputed(model, [lambda part=part: model(part) for part in x.split(sizes)]):
        assert torch.allclose(model.bn1.running_mean.double(), maps.mean(dim=1), rtol=1e-5, atol=1e-6)
        assert torch.allclose(model.bn1.running_var.double(), maps.var(dim=1), rtol=1e-5)


def test_deeper_layers_see_what_training_sees_each_batch_normalised_by_its_own_statistics():
    model, x = trained("vgg6")
    parts = x.split(20)
    deepest = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)][-1]
    seen = []
    handle = deepest.register_forward_pre_hook(lambda module, args: seen.append(args[0].double()))
    reference = copy.deepcopy(model)
    handle.remove()
    with torch.no_grad():
        for part in parts:
            reference.train()(part)
    with recomputed(model, [lambda part=part: model(part) for part in parts]):
        assert torch.allclose(
            deepest.running_mean.double(), torch.cat(seen).mean(dim=0), rtol=1e-5, atol=1e-6
        )
        assert torch.allclose(deepest.running_var.double(), torch.cat(seen).var(dim=0), rtol=1e-5)


def test_a_checkpoint_within_has_the_models_own_statistics_and_so_has_the_model_after_an_error():
    model, x = trained("resnet8")
    before = buffers(model)
    seen = []

    def pause():
        seen.append(equal(buffers(model), before))

    with recomputed(model, [lambda: model(x), lambda: model(x[:9])], pause=pause, most=3) as paused:
        inside = buffers(model)
        paused()
        assert equal(buffers(model), inside)
    assert seen == [True] * 4

    def fail():
        raise StopRequested(15)

    with pytest.raises(StopRequested), recomputed(model, [lambda: model(x)], pause=fail):
        pass
    with pytest.raises(StopRequested), recomputed(model, [lambda: model(x)]):
        fail()
    assert equal(buffers(model), before)
    for module in model.modules():
        assert not module.training
        assert getattr(module, "momentum", 0.1) == 0.1
        assert not module._forward_hooks


def test_statistics_that_are_not_finite_are_replaced_and_come_back():
    model, x = trained("resnet8")
    model.bn1.running_var.fill_(math.nan)
    with recomputed(model, [lambda: model(x)]):
        assert model.bn1.running_var.isfinite().all()
    assert model.bn1.running_var.isnan().all()


def test_batch_norm_that_joins_ranks_sees_the_whole_batches_of_its_own():
    model, x = trained("resnet8")
    joined = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)).eval()
    with recomputed(model, [lambda: model(x)]), recomputed(joined, [lambda: joined(x)]):
        assert equal(statistics(joined), statistics(model))
    assert "forward" not in vars(joined.bn1)


def test_batch_norm_without_running_statistics_and_one_that_is_never_called_are_left_alone():
    model = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.BatchNorm1d(4)).eval()
    model.idle = nn.BatchNorm1d(4).eval()
    model.forward = lambda x: model[1](model[0](x))
    x = torch.randn(8, 4)
    with recomputed(model, [lambda: model(x)]):
        assert torch.equal(model.idle.running_var, torch.ones(4))
        assert not torch.equal(model[1].running_var, torch.ones(4))


def test_the_batches_are_all_train_images_shuffled_and_of_trainings_size():
    data = few_images(count=57)
    images = data.train.images.clone()
    images[:, 0, 0, 0] = torch.arange(57)  # they can be told apart
    data = replace(data, train=replace(data.train, images=images))
    batches = list(Recomputation(data, 10, seed=0).batches())
    assert sorted(map(len, batches)) == [11, 11, 11, 12, 12]
    told = torch.cat([(255 * (0.5 * batch[:, 0, 0, 0] + 0.5)).round() for batch in batches])
    assert sorted(told.tolist()) == list(range(57))
    assert told.tolist() != list(range(57))
    again = list(Recomputation(data, 10, seed=0).batches())
    assert all(map(torch.equal, batches, again))
    assert [len(batch) for batch in Recomputation(data, 57, seed=0).batches()] == [57]


TRAININGS = [
    (),
    ("net=resnet8", "batch_size=8"),
    ("classifier=least_squares", "analysis.schedule=[2]"),
    ("analysis.samples=20", "analysis.robustness=5", "analysis.schedule=[0,1,3]"),
]


@pytest.mark.parametrize("overrides", TRAININGS)
def test_training_is_equal_to_the_bit_whatever_is_measured(overrides):
    rows, weights = {}, {}
    for kind in ("running", "recomputed", "both"):
        trainer = trainer_of(
            "epochs=3", *overrides, f"analysis.batchnorm={kind}", dataset=few_images(count=40)
        )
        rows[kind] = [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in rows_of(trainer)]
        weights[kind] = trainer.network.model.state_dict()
    for kind in ("recomputed", "both"):
        assert equal(weights[kind], weights["running"])
    assert [len(of_kind) for of_kind in rows.values()] == [len(rows["running"])] * 3
    for running, anew, both in zip(*rows.values(), strict=True):
        for column in RECOMPUTED_COLUMNS:
            assert both.pop(column) == anew[column.removesuffix("_recomputed")] != running[column[:-11]]
        assert repr(both) == repr(running)


def test_rows_describe_the_network_with_the_statistics_of_all_train_images():
    trainer = trainer_of(
        "net=resnet8", "analysis.batchnorm=recomputed", "batch_size=40", dataset=few_images(count=40)
    )
    row = trainer.measurer.measure().row
    model, data = trainer.network.model, trainer.dataset
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    order = next(iter(Recomputation(data, 40, seed=0).batches()))
    with torch.no_grad():
        model.train()(order)
    plain = trainer_of("net=resnet8", "batch_size=40", dataset=data)
    plain.network.model.load_state_dict(model.state_dict())
    assert plain.measurer.measure().row == row


def test_a_network_without_batch_norm_has_the_same_row_and_no_further_pass():
    plain = ("net=custom", "net._target_=helpers.pair.Smooth")
    seen, rows = [], []
    for kind in ("running", "recomputed", "both"):
        trainer = trainer_of(*plain, f"analysis.batchnorm={kind}", dataset=few_images(count=40))
        passes = []
        trainer.network.model.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        rows.append(trainer.measurer.measure().row)
        seen.append(len(passes))
    assert rows[0] == rows[1] == {k: v for k, v in rows[2].items() if k not in RECOMPUTED_COLUMNS}
    assert all(rows[2][name] == rows[2][name.removesuffix("_recomputed")] for name in RECOMPUTED_COLUMNS)
    assert seen == [2, 2, 3]


RUN = ("data.samples_per_class=8", "batch_size=20", "epochs=2", "progress=none", "checkpoint_seconds=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    execute(settings_of(*RUN, "analysis.batchnorm=both"), folder, StopSignals())
    return rows_in(folder)


def rows_in(folder):
    return pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))


@pytest.mark.parametrize("looks", [4, 5, 6, 7, 10, 11, 14, 17])
def test_a_stop_at_any_pause_resumes_to_the_same_rows(looks, whole, tmp_path):
    settings = settings_of(*RUN, "analysis.batchnorm=both")
    with pytest.raises(StopRequested):
        execute(settings, tmp_path, StopAfter(looks))
    execute(settings, tmp_path, StopSignals())
    pd.testing.assert_frame_equal(rows_in(tmp_path), whole, check_exact=True)


def test_streamed_data_give_the_same_rows(whole, tmp_path):
    settings = settings_of(*RUN, "analysis.batchnorm=both", "data.resident=false", "data.workers=1")
    execute(settings, tmp_path, StopSignals())
    pd.testing.assert_frame_equal(rows_in(tmp_path), whole, check_exact=True)


def test_the_choice_is_part_of_the_identity_and_the_papers_way_is_neutral():
    plain, both = settings_of(), settings_of("analysis.batchnorm=both")
    assert identity(both) == {**identity(plain), "analysis.batchnorm": "both"}
    assert folder_name(settings_of("analysis.batchnorm=running")) == folder_name(plain)
    assert load_dataset(plain.data, seed=0).num_classes == 10
