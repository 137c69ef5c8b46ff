"""Custom metrics: a column each, with the numbers that the function gives; errors where they cannot be."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.lab import few_images, settings_of, trainer_of
from helpers.stops import StopAfter

from nc_runner.collapse import ClassStatistics
from nc_runner.config.identity import identity
from nc_runner.errors import ConfigError, TrainingError
from nc_runner.measurement.custom import custom_metrics, find_custom_metrics
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals


def largest_norm(stats, weight, bias):
    return stats.means.norm(dim=1).max() + weight.norm() + bias.norm()


def constant(stats, weight, bias):
    return 7


def failing(stats, weight, bias):
    raise ZeroDivisionError("a bug")


def wordy(stats, weight, bias):
    return "seven"


def two(stats, weight):
    return 2


HERE = str(Path(__file__).resolve())
MINE = f"+analysis.custom.mine='{HERE}:largest_norm'"
CUSTOM = (MINE, f"+analysis.custom.seven='{HERE}:constant'")


def test_a_row_holds_the_value_of_the_function_on_the_train_sets_statistics():
    trainer = trainer_of(*CUSTOM, dataset=few_images(count=32))
    row = trainer.measurer.measure().row
    features = trainer.measurer.forward.respond(trainer.dataset.train).features.double()
    means = torch.stack([features[trainer.dataset.train.labels == c].mean(dim=0) for c in range(10)])
    layer = trainer.network.classifier
    wanted = means.norm(dim=1).max() + layer.weight.norm() + layer.bias.norm()
    assert row["mine"] == pytest.approx(float(wanted.detach()), rel=1e-6)
    assert row["seven"] == 7.0


def test_the_columns_are_the_last_and_survive_a_resumption(tmp_path):
    settings = settings_of(
        "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
        "batch_size=20", "epochs=3",
        "progress=none", "checkpoint_seconds=0", "analysis.metrics=[nc1_cdnv]", *CUSTOM,
    )  # fmt: skip

    with pytest.raises(StopRequested):
        execute(settings, tmp_path, StopAfter(12))
    execute(settings, tmp_path, StopSignals())
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert rows.columns.tolist()[-3:] == ["nc1_cdnv", "mine", "seven"]
    assert rows["epoch"].tolist() == [1, 2, 3]
    assert (rows["seven"] == 7).all()
    assert rows["mine"].nunique() == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.f", r"analysis\.custom\.mine=nowhere\.f cannot be imported: there is no module"),
        (f"{HERE}:two", r"does not take three arguments\na custom metric gets \(stats, weight, bias\)"),
    ],
)
def test_a_function_that_is_not_there_or_takes_something_else_is_an_error_at_the_door(path, message):
    with pytest.raises(ConfigError, match=message):
        find_custom_metrics({"mine": path})


def test_the_message_names_where_the_path_was_given():
    with pytest.raises(ConfigError, match=r"^--custom mine=nowhere\.f cannot be imported"):
        find_custom_metrics({"mine": "nowhere.f"}, "--custom ")
    with pytest.raises(ConfigError, match=rf"^--custom mine={HERE}:two does not take three"):
        find_custom_metrics({"mine": f"{HERE}:two"}, "--custom ")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            failing,
            r"the custom metric mine \(failing\) failed with ZeroDivisionError: a bug\nit gets \(stats,",
        ),
        (wordy, r"the custom metric mine \(wordy\) failed with ValueError: could not convert string"),
    ],
)
def test_a_function_that_fails_is_named_with_its_reason(metric, message):
    with pytest.raises(TrainingError, match=message):
        custom_metrics({"mine": metric}, ClassStatistics(2, 3), torch.zeros(2, 3), None)


def test_functions_are_found_once_and_objects_that_can_be_called_are_functions_too():
    found = find_custom_metrics({"mine": f"{HERE}:largest_norm", "seven": f"{HERE}:constant"})
    assert [metric.__name__ for metric in found.values()] == ["largest_norm", "constant"]
    assert find_custom_metrics({}) == {}


def test_custom_metrics_make_another_run_and_none_leave_the_identity_as_it_was():
    plain, custom = identity(settings_of()), identity(settings_of(MINE))
    assert set(custom) - set(plain) == {"analysis.custom"}


def test_a_value_that_is_nan_is_a_row_like_others():
    row = custom_metrics({"mine": largest_norm}, ClassStatistics(2, 3), torch.zeros(2, 3), torch.zeros(2))
    assert math.isnan(row["mine"])
