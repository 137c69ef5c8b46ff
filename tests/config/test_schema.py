import pytest
import yaml
from helpers.lab import settings_of
from omegaconf import OmegaConf

from nc_runner.config import schema
from nc_runner.errors import ConfigError
from nc_runner.runs.record import folder_name


def name_of(*overrides):
    settings = settings_of(*overrides)
    return folder_name(settings, schema.deciding_settings(settings))


def test_defaults_are_the_papers_protocol():
    settings = settings_of()
    assert (settings["epochs"], settings["batch_size"], settings["momentum"]) == (350, 128, 0.9)
    assert (settings["weight_decay"], settings["lr_gamma"]) == (5e-4, 0.1)
    assert schema.milestone_epochs(settings["lr_milestones"], 350) == [116, 233]


def test_the_papers_schedule_is_the_notebooks_list():
    epochs = schema.analysed_epochs("paper", 350)
    assert len(epochs) == 50
    assert epochs[:15] == [*range(1, 15), 16]
    assert epochs[-3:] == [293, 320, 350]
    assert schema.analysed_epochs("paper", 30)[-3:] == [27, 29, 30]


def test_every_key_has_a_meaning_a_type_and_a_default():
    settings = OmegaConf.create(settings_of())
    for key, entry in schema.leaves():
        assert entry.metadata["meaning"], key
        assert not OmegaConf.is_missing(settings, key), key


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("epochs=0", "epochs"), ("epochs=-3", "epochs"), ("batch_size=0", "batch_size"), ("lr=0", "lr"),
        ("lr=nan", "lr"), ("lr=inf", "lr"), ("momentum=1.5", "momentum"), ("weight_decay=-1", "weight_decay"),
        ("seed=-1", "seed"), ("threads=0", "threads"), ("precision=fp16", "precision"),
        ("device=tpu", "device"), ("device=cpu:1", "device"), ("lr_milestones=[1/0]", "lr_milestones"),
        ("lr_milestones=[-1]", "lr_milestones"), ("lr_milestones=[1.5]", "lr_milestones"),
        ("analysis.schedule=never", "analysis.schedule"), ("analysis.schedule=[0]", "analysis.schedule"),
        ("analysis.schedule=[]", "analysis.schedule"), ("analysis.ridge=-1", "analysis.ridge"),
        ("data.samples_per_class=0", "data.samples_per_class"), ("data.pad=-1", "data.pad"),
        ("data.std=[0]", "data.std"), ("net.depth=21", "net.depth"), ("net.stem=big", "net.stem"),
        ("classifier=magic", "classifier"), ("data.name=a/b", "data.name"), ("net.name=..", "net.name"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(override, key):
    with pytest.raises(ConfigError, match=f"^{key.replace('.', '[.]')}=.*is refused: {key}"):
        settings_of(override)


@pytest.mark.parametrize(
    "override",
    ["analysis.schedule=[1,5,9]", "analysis.ridge=0", "lr_milestones=[]", "lr_milestones=[10,1/2]"],
)
def test_values_of_several_types_are_taken(override):
    settings_of(override)


def test_an_own_network_needs_a_path_and_may_have_keys_of_its_own():
    with pytest.raises(ConfigError, match=r"net\._target_ is not set"):
        settings_of("net=custom")
    settings = settings_of("net=custom", "net._target_=my.module.Net", "+net.width=7")
    assert settings["net"] == {"_target_": "my.module.Net", "name": "Net", "width": 7}


def test_the_folder_is_named_after_what_decides_the_numbers():
    name = name_of("net=resnet18", "data=cifar10", "lr=0.0184")
    assert name.startswith("mse-resnet18-cifar10/lr0.0184-seed0-")
    assert name_of("lr=0.1") != name_of("lr=0.2")
    assert name_of("momentum=0.8") != name_of()
    assert name_of("net=vgg11") != name_of("net=vgg11", "net.head_width=512")


@pytest.mark.parametrize(
    "override",
    ["device=cpu", "threads=1", "progress=none", "checkpoint_seconds=5", "data.root=/elsewhere",
     "overwrite=true", "data.download=false", "analysis.batch_size=64"],
)  # fmt: skip
def test_what_does_not_decide_the_numbers_is_not_in_the_name(override):
    assert name_of(override) == name_of()


def test_an_experiment_file_states_only_what_differs():
    """A default repeated in conf/experiment/ would stay behind when the default changes."""
    from importlib import resources

    defaults = settings_of()
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
    for settings in (mse, ce):
        assert (settings["net"]["name"], settings["data"]["name"]) == ("resnet18", "mnist")
        assert (settings["analysis"]["schedule"], settings["analysis"]["ridge"]) == ("paper", "notebook")
        assert settings["data"]["samples_per_class"] is None
    assert (mse["loss"]["name"], mse["lr"]) == ("mse", 0.0184)
    assert (ce["loss"]["name"], ce["lr"]) == ("ce", 0.0679)
    assert settings_of("experiment=notebook", "lr=0.5")["lr"] == 0.5
