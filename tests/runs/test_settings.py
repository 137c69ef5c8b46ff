"""The settings of a record, older ones too, as today's nc-runner sees them."""

import json

import pytest
from helpers.settings import settings_of

from nc_runner.errors import ConfigError
from nc_runner.runs.settings import completed, config_of, passive_settings

CONFIG = settings_of("net=vgg6", "data=cifar10", "analysis.layers=[features.*]", "weight_decay=1e-3")


@pytest.fixture
def recorded():
    return json.loads(CONFIG.model_dump_json(by_alias=True))


def test_recorded_settings_are_those_of_the_run(recorded):
    before = json.dumps(recorded)
    assert config_of(recorded) == CONFIG
    assert json.dumps(recorded) == before


@pytest.mark.parametrize(
    "keys",
    [
        ("precision",), ("net", "head_width"), ("analysis", "custom"), ("rank_timeout_seconds",),
        ("launcher",), ("launcher", "hours"), ("sweep",), ("data", "workers"),
        ("optimizer",), ("decay",), ("decay", "head"), ("lr_schedule",), ("lr_warmup_epochs",),
    ],
    ids=".".join,
)  # fmt: skip
def test_settings_that_came_later_have_their_neutral_value_or_default(keys, recorded):
    group = recorded
    for key in keys[:-1]:
        group = group[key]
    del group[keys[-1]]
    assert config_of(recorded) == CONFIG
    assert keys[-1] not in group


def test_several_missing_settings_are_completed_together(recorded):
    for key in ("compile", "classifier", "launcher", "tensorboard"):
        del recorded[key]
    del recorded["analysis"]["layers"], recorded["net"]["head_width"]
    config = config_of(recorded)
    assert (config.compile, config.classifier, config.analysis.layers) == (False, "gradient", ())
    assert config.launcher == CONFIG.launcher


def test_the_names_of_earlier_versions_are_read(recorded):
    recorded["net"]["_target_"] = "nc_runner.networks.vgg"
    recorded["data"]["_target_"] = "nc_runner.data.standard.cifar10"
    recorded["loss"] = {"_target_": "nc_runner.training.losses.cross_entropy", "name": "ce"}
    del recorded["analysis"]["custom"]
    recorded["analysis"]["own"] = {"spread": "metrics.spread"}
    config = config_of(recorded)
    assert (config.net.target, config.data.target, config.loss.target) == ("vgg", "cifar10", "ce")
    assert config.analysis.custom == {"spread": "metrics.spread"}


@pytest.mark.parametrize("key", ["lr", "seed"])
def test_a_setting_that_always_identifies_a_run_is_not_invented(key, recorded):
    del recorded[key]
    assert key not in completed(recorded)
    with pytest.raises(ConfigError, match=f"{key} is not set"):
        config_of(recorded)


def test_settings_that_no_longer_exist_are_an_error(recorded):
    with pytest.raises(ConfigError, match="dropout"):
        config_of(recorded | {"dropout": 0.1})


def test_passive_settings_are_those_that_change_no_number():
    passive = passive_settings()
    assert {"device", "threads", "data.root", "launcher.jobs", "sweep"} < passive
    assert not passive & {"lr", "seed", "weight_decay", "net.depth", "analysis.ridge"}
