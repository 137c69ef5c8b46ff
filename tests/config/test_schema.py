"""The settings' types, ranges and meanings, and what is said of those that do not fit."""

from importlib import resources

import pytest
import yaml
from helpers.settings import settings_of
from pydantic import ValidationError

from nc_runner.commands.hydra_app.messages import explain
from nc_runner.config.validation import known_settings, leaves, unknown_setting, validate
from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError


def error_of(*overrides):
    """What nc-run says of these overrides."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  Hydra's errors and ours
        settings_of(*overrides)
    return explain(caught.value)


def test_defaults_are_the_papers_protocol():
    config = settings_of()
    assert (config.epochs, config.batch_size, config.momentum) == (350, 128, 0.9)
    assert (config.weight_decay, config.lr_gamma, config.lr_milestones) == (5e-4, 0.1, ("1/3", "2/3"))


def test_every_setting_has_a_short_meaning_that_reads_as_a_sentence():
    for key, field in leaves():
        meaning = str(field.description)
        assert meaning[0].isupper(), key
        assert meaning.endswith("."), key
        assert len(meaning) <= 140, key


def test_weights_of_an_epoch_that_never_comes_are_an_error():
    assert error_of("epochs=5", "keep_checkpoints=[1,9]") == (
        "keep_checkpoints=[1,9]: there is no epoch 9, epochs=5\nlist epochs up to 5"
    )
    assert error_of("keep_checkpoints=[0,1]") == (
        "keep_checkpoints=[0,1]: the run does not stop at epoch 0, which is not measured\n"
        "list 0 in analysis.schedule too, or leave it out"
    )
    assert settings_of("keep_checkpoints=[0]", "analysis.schedule=[0]").keep_checkpoints == (0,)
    assert settings_of("keep_checkpoints=[9,1]").keep_checkpoints == (1, 9)


def test_settings_cannot_change_after_they_are_checked():
    config = settings_of()
    with pytest.raises(ValidationError, match="frozen"):
        config.lr = 0.5
    with pytest.raises(ValidationError, match="frozen"):
        config.data.pad = 5


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("epochs=0", "epochs"), ("epochs=-3", "epochs"), ("batch_size=0", "batch_size"), ("lr=0", "lr"),
        ("lr=nan", "lr"), ("lr=inf", "lr"), ("momentum=1.5", "momentum"), ("weight_decay=-1", "weight_decay"),
        ("seed=-1", "seed"), ("threads=0", "threads"), ("precision=fp16", "precision"),
        ("device=tpu", "device"), ("device=cpu:1", "device"), ("lr_milestones=[1/0]", "lr_milestones"),
        ("lr_milestones=[-1]", "lr_milestones"), ("lr_milestones=[1.5]", "lr_milestones"),
        ("analysis.schedule=never", "analysis.schedule"), ("analysis.schedule=[-1]", "analysis.schedule"),
        ("analysis.schedule=[]", "analysis.schedule"), ("analysis.ridge=-1", "analysis.ridge"),
        ("data.samples_per_class=0", "data.samples_per_class"), ("data.pad=-1", "data.pad"),
        ("data.std=[0]", "data.std"), ("net.depth=21", "net.depth"), ("net.stem=big", "net.stem"),
        ("classifier=magic", "classifier"), ("data.name=a/b", "data.name"), ("net.name=..", "net.name"),
        ("seed=true", "seed"), ("epochs=1.5", "epochs"), ("epochs=abc", "epochs"), ("compile=1", "compile"),
        ("epochs='7'", "epochs"), ("data.resident=maybe", "data.resident"), ("threads=true", "threads"),
        ("progress=loud", "progress"), ("data.mean=[a]", "data.mean"),
        ("analysis.layers=[3]", "analysis.layers"),
        ("rank_timeout_seconds=0", "rank_timeout_seconds"),
        ("analysis.samples=1", "analysis.samples"), ("analysis.samples=2.5", "analysis.samples"),
        ("keep_checkpoints=all", "keep_checkpoints"), ("keep_checkpoints=null", "keep_checkpoints"),
        ("keep_checkpoints=[]", "keep_checkpoints"), ("keep_checkpoints=[-1]", "keep_checkpoints"),
        ("keep_checkpoints=[1.5]", "keep_checkpoints"),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_or_out_of_range_is_an_error_that_names_it(override, key):
    message = error_of(override)
    assert message.startswith(f"{key}=")
    assert f" is not valid: {key} " in message
    assert len(message.splitlines()) <= 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs=0", "epochs=0 is not valid: epochs must be at least 1"),
        ("epochs=abc", "epochs=abc is not valid: epochs must be a whole number"),
        ("seed=true", "seed=true is not valid: seed must be a whole number"),
        ("lr=nan", "lr=nan is not valid: lr must be a finite number"),
        ("precision=fp16", "precision=fp16 is not valid: precision must be one of fp32, tf32, bf16"),
        ("data.std=[0]", "data.std=[0] is not valid: data.std must be above 0 in every channel"),
    ],
)
def test_the_message_says_what_the_value_must_be(override, said):
    assert error_of(override) == said


@pytest.mark.parametrize(
    "override",
    ["analysis.schedule=[1,5,9]", "analysis.ridge=0", "lr_milestones=[]", "lr_milestones=[10,1/2]", "lr=1",
     "data.name=2024"],
)  # fmt: skip
def test_values_of_several_types_are_taken(override):
    settings_of(override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+optimizer=adam", "optimizer has a choice already, which + cannot add to\n"),
        ("++optimizer=adam", "optimizer has a choice already"),
        ("+optimiser=adam", "there is no setting optimiser; did you mean optimizer?"),
        ("+loss.label_smoothing=0.1", "loss=mse has no setting loss.label_smoothing: it is one of ce"),
        ("+data.augmentation=true", "there is no setting data.augmentation"),
        ("+data.options.size=32", "there is no setting data.options.size"),
        ("+net.width=3", "there is no setting net.width"),
        ("+analysis.metric=all", "there is no setting analysis.metric; did you mean analysis.metrics?"),
        ("+epoch=3", "there is no setting epoch; did you mean epochs?"),
        ("epoch=3", "there is no setting epoch; did you mean epochs?"),
        ("samples_per_class=5", "there is no setting samples_per_class; did you mean data.samples_per_cla"),
        ("dat=mnist", "there is no setting dat; did you mean data?"),
        ("+nesterov=true", "there is no setting nesterov\n"),
        ("nesterov=true", "there is no setting nesterov\n"),
        ("+launcher.job=3", "there is no setting launcher.job; did you mean launcher.jobs?"),
    ],
)  # fmt: skip
def test_an_unknown_setting_is_an_error_that_names_the_nearest_one(override, said):
    assert error_of(override).startswith(said)


def test_a_setting_of_another_network_is_named_as_that():
    said = "resnet8 has no setting net.head_width: it is one of vgg\nleave it out, or choose another net="
    assert error_of("+net.head_width=64") == said
    assert "it is one of vgg" in error_of("net.head_width=64")
    assert settings_of("net=vgg6", "net.head_width=64").net.head_width == 64


def test_a_suggestion_is_never_the_word_itself_nor_far_from_it():
    for word in ("net.head_width", "nesterov", "schedule", "xyz"):
        assert f"did you mean {word}?" not in unknown_setting(word)
    assert nearest("nesterov", known_settings()) == ""


def test_keys_for_custom_callables_are_kept_for_them():
    net = settings_of("net=custom", "net._target_=my.module.Net", "+net.width=7").net
    assert (net.target, net.name, net.model_extra) == ("my.module.Net", "Net", {"width": 7})
    loss = settings_of("loss=custom", "loss._target_=losses.py:focal", "+loss.gamma=2").loss
    assert (loss.target, loss.name, loss.model_extra) == ("losses.py:focal", "focal", {"gamma": 2})
    data = settings_of("data=custom", "data._target_=my.load", "+data.options.part=3").data
    assert (data.name, data.options.model_extra) == ("load", {"part": 3})
    with pytest.raises(ConfigError, match=r"there is no setting data\.part"):
        settings_of("data=custom", "data._target_=my.load", "+data.part=3")


def test_a_custom_network_needs_a_path():
    with pytest.raises(ConfigError, match=r"net\._target_ is not set"):
        settings_of("net=custom")


def test_a_custom_callable_cannot_take_the_name_of_what_ships():
    with pytest.raises(ConfigError, match=r"loss\.name=mse is the name of what ships"):
        settings_of("loss._target_=mylosses.focal")
    assert settings_of("loss._target_=mylosses.focal", "loss.name=focal").loss.name == "focal"
    unnamed = settings_of("loss=custom", "loss._target_=mylosses.focal")  # its own name is no false one
    assert unnamed.loss.name == "focal"
    assert validate(unnamed.model_dump(mode="json", by_alias=True)) == unnamed


def test_data_is_named_after_its_file_folder_or_class():
    for overrides, name in (
        (("data=folder", "data.options.folder=some/pets"), "pets"),
        (("data=npz", "data.options.file=mine.npz"), "mine"),
        (("data=torchvision", "data.options.dataset=KMNIST"), "KMNIST"),
    ):
        assert settings_of(*overrides).data.name == name


def test_validating_twice_gives_the_same():
    config = settings_of("net=vgg11", "analysis.metrics=[nc3_cosine,nc1_cdnv]", "lr_milestones=[0.5,20]")
    assert validate(config.model_dump(mode="json", by_alias=True)) == config
    assert config.analysis.metrics == ("nc1_cdnv", "nc3_cosine")
    assert config.lr_milestones == ("1/2", "20")


def test_an_experiment_file_states_only_what_differs():
    """A default repeated in conf/experiment/ would stay behind when the default changes."""
    defaults = settings_of().model_dump()
    for file in resources.files("nc_runner.conf").joinpath("experiment").iterdir():
        if not file.name.endswith(".yaml"):
            continue
        text = file.read_text()
        package, command, *_ = text.splitlines()
        sweep = "-m " if "hydra" in yaml.safe_load(text) else ""
        wanted = f"# nc-run {sweep}experiment={file.name.removesuffix('.yaml')}"
        assert package == "# @package _global_"  # Hydra wants its own line first
        assert f"{command} ".startswith(f"{wanted} "), file.name
        for key, value in yaml.safe_load(text).items():
            if key != "defaults":
                assert defaults.get(key) != value, f"{file.name}: {key}"


def test_the_notebook_experiments_are_the_notebooks_settings():
    mse, ce = settings_of("experiment=notebook"), settings_of("experiment=notebook_ce")
    for config in (mse, ce):
        assert (config.net.name, config.data.name) == ("resnet18", "mnist")
        assert (config.analysis.schedule, config.analysis.ridge) == ("paper", "notebook")
        assert config.data.samples_per_class is None
    assert (mse.loss.name, mse.lr) == ("mse", 0.0184)
    assert (ce.loss.name, ce.lr) == ("ce", 0.0679)
    assert settings_of("experiment=notebook", "lr=0.5").lr == 0.5
