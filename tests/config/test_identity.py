"""What identifies a run, and the name of its folder."""

import pytest
from helpers.settings import settings_of

from nc_runner.config.identity import differing, folder_name, identity
from nc_runner.config.validation import leaves


def name_of(*overrides):
    return folder_name(settings_of(*overrides))


def test_a_folder_is_named_after_its_cell_lr_seed_what_differs_and_a_hash():
    name = name_of("net=resnet18", "data=cifar10", "lr=0.0184", "epochs=20", "classifier=least_squares")
    assert name.startswith("mse-resnet18-cifar10/lr0.0184-seed0-epochs20-classifierleast_squares-")
    assert len(name.rpartition("-")[2]) == 8


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("weight_decay=1e-5", "weight_decay1e-05"),  # not 1e05, another number
        ("decay.bias=1e-6", "bias_decay1e-06"),
        ("analysis.schedule=[20,3,1]", "schedule1+3+20"),  # not 1320
        ("lr_milestones=[10,20]", "lr_milestones10+20"),
        ("lr_milestones=[1/2]", "lr_milestones1_2"),
        ("analysis.layers=[layer*,fc]", "layerslayer+fc"),
        ("+analysis.custom.a=m.f", "customam.f"),
        ("channels_last=false", "channels_lastFalse"),
        ("deterministic=true", "deterministic"),
    ],
)
def test_a_word_says_the_value_and_no_other(override, word):
    assert name_of(override).rpartition("-")[0] == f"mse-resnet8-digits/lr0.1-seed0-{word}"


@pytest.mark.parametrize(
    "override",
    ["momentum=0.8", "lr=0.2", "seed=1", "net=vgg11", "loss=ce", "data.pad=1", "analysis.metrics=all",
     "analysis.layers=[layer*]", "data.samples_per_class=5", "net.stem=small", "data.mean=[0.4]",
     "+analysis.custom.a=m.f", "channels_last=false", "lr_milestones=[10]"],
)  # fmt: skip
def test_what_can_change_the_numbers_changes_the_folder(override):
    assert name_of(override) != name_of()


@pytest.mark.parametrize(
    "override",
    ["device=cpu", "threads=1", "progress=none", "checkpoint_seconds=5", "data.root=/elsewhere",
     "overwrite=true", "data.download=false", "analysis.batch_size=64", "sweep=abc", "data.resident=false",
     "rank_timeout_seconds=5", "objective=nc1", "launcher.jobs=3"],
)  # fmt: skip
def test_where_and_how_a_run_runs_does_not_change_the_folder(override):
    assert name_of(override) == name_of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["lr=1"], ["lr=1.0"]),
        (["lr_milestones=[0.5]"], ["lr_milestones=[1/2]"]),
        (["analysis.metrics=[nc1_cdnv,nc3_cosine]"], ["analysis.metrics=[nc3_cosine,nc1_cdnv]"]),
        (["analysis.schedule=[3,1]"], ["analysis.schedule=[1,3,3]"]),
        (["net=resnet", "net.depth=8"], ["net=resnet8"]),
        (["-experiment=notebook"], []),
    ],
)
def test_settings_that_mean_the_same_have_one_folder(one, other):
    assert name_of(*(o for o in one if not o.startswith("-"))) == name_of(*other)


def test_neutral_values_are_frozen():
    """A changed default, or a later setting, must move no folder: this test is not to be changed for one."""
    assert identity(settings_of()) == {
        "lr": 0.1, "seed": 0,
        "net._target_": "resnet", "net.name": "resnet8", "net.depth": 8,
        "data._target_": "digits", "data.name": "digits", "data.pad": 0,
        "data.mean": [0.3052], "data.std": [0.3749],
        "loss._target_": "mse", "loss.name": "mse",
    }  # fmt: skip
    assert name_of() == "mse-resnet8-digits/lr0.1-seed0-76933a25"
    assert name_of("net=vgg11", "data=mnist", "loss=ce", "epochs=3") == (
        "ce-vgg11-mnist/lr0.1-seed0-epochs3-" + name_of("net=vgg11", "data=mnist", "loss=ce", "epochs=3")[-8:]
    )


def test_no_modules_path_is_part_of_the_identity_of_what_ships():
    for net in ("vgg11", "densenet40", "resnet50"):
        values = identity(settings_of(f"net={net}", "data=stl10", "loss=ce")).values()
        assert not any("nc_runner" in str(value) for value in values)


def test_a_long_name_keeps_its_hash_and_a_readable_length():
    layers = "analysis.layers=[" + ",".join(f"layer{i}.0.conv1" for i in range(1, 4)) + "]"
    overrides = (layers, "epochs=7", "momentum=0.5", "weight_decay=0.25", "batch_size=64", "lr_gamma=0.5")
    name = name_of(*overrides)
    assert len(name.rpartition("/")[2]) < 90
    assert "epochs7" in name
    assert name_of(*overrides, "precision=bf16") != name


def test_every_setting_either_identifies_a_run_or_is_marked_as_passive():
    passive = {key for key, field in leaves() if (field.json_schema_extra or {}).get("passive")}
    assert {"device", "progress", "data.root", "launcher.jobs", "sweep"} <= passive
    assert not {"lr", "epochs", "net.depth", "data.pad", "analysis.ridge", "loss.name"} & passive


def test_the_differing_keys_are_named():
    assert differing({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ["b", "c"]
