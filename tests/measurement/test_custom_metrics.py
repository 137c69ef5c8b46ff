"""Own metrics: a column each, of the numbers that the function gives; refused where they cannot be."""

import math

import pandas as pd
import pytest
import torch
from helpers.lab import few_images, settings_of, trainer_of

from nc_runner.collapse import ClassStatistics
from nc_runner.columns import is_own_name, own_columns
from nc_runner.config.schema import deciding_settings
from nc_runner.errors import ConfigError, NCRunnerError, TrainingError
from nc_runner.measurement.custom import find_own_metrics, own_metrics
from nc_runner.measurement.measurer import measure, respond
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


OWN = ("+analysis.own.mine=test_own_metrics.largest_norm", "+analysis.own.seven=test_own_metrics.constant")


def test_a_row_holds_the_value_of_the_function_on_the_train_sets_statistics():
    trainer = trainer_of(*OWN, dataset=few_images(count=32))
    row = measure(trainer.network, trainer.dataset, trainer.loss_function, trainer.settings, lambda: None)
    features = respond(
        trainer.network, trainer.dataset, trainer.dataset.train, trainer.settings, lambda: None
    ).features.double()
    means = torch.stack([features[trainer.dataset.train.labels == c].mean(dim=0) for c in range(10)])
    layer = trainer.network.classifier
    wanted = means.norm(dim=1).max() + layer.weight.norm() + layer.bias.norm()
    assert row["mine"] == pytest.approx(float(wanted.detach()), rel=1e-6)
    assert row["seven"] == 7.0


def test_the_columns_are_the_last_and_survive_a_resumption(tmp_path):
    settings = settings_of(
        "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6", "batch_size=20", "epochs=3",
        "progress=none", "checkpoint_seconds=0", "analysis.metrics=[nc1_cdnv]", *OWN,
    )  # fmt: skip

    class StopAfter:
        looks = 12

        @property
        def received(self):
            self.looks -= 1
            return None if self.looks >= 0 else 15

        @received.setter
        def received(self, signum):
            assert signum == 15

        def pause(self):
            raise StopRequested(15)

    with pytest.raises(StopRequested):
        execute(settings, tmp_path, StopAfter())
    execute(settings, tmp_path, StopSignals())
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert rows.columns.tolist()[-3:] == ["nc1_cdnv", "mine", "seven"]
    assert rows["epoch"].tolist() == [1, 2, 3]
    assert (rows["seven"] == 7).all()
    assert rows["mine"].nunique() == 3


@pytest.mark.parametrize("name", ["nc1", "snr_3", "nc1_cdnv", "perp_share", "a-b", "epoch"])
def test_a_name_that_is_taken_or_no_word_is_refused_with_the_settings(name):
    with pytest.raises(ConfigError, match=r"analysis\.own=.* is refused: analysis\.own cannot name a column"):
        settings_of(f"+analysis.own={{{name}: test_own_metrics.constant}}")


def test_a_columns_name_is_a_word_of_ascii_letters_digits_and_underscores():
    assert all(map(is_own_name, ("spread", "my_nc1", "snr_mean", "_x2")))
    assert not any(map(is_own_name, ("", "1a", "größe", "a b", "a,b", "snr_12", "train_seconds")))


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("nowhere.f", ConfigError, r"analysis\.own\.mine=nowhere\.f cannot be imported: there is no module"),
        (
            "test_own_metrics.failing",
            TrainingError,
            r"failed with ZeroDivisionError: a bug\nit gets \(stats,",
        ),
        ("test_own_metrics.wordy", TrainingError, r"failed with ValueError: could not convert string"),
    ],
)
def test_a_function_that_is_not_there_or_fails_is_said(path, kind, message):
    analysis = {"own": {"mine": path}}
    stats = ClassStatistics(2, 3)
    with pytest.raises(NCRunnerError, match=message) as caught:
        own_metrics(analysis, stats, torch.zeros(2, 3), None)
    assert isinstance(caught.value, kind)


def test_own_metrics_make_another_run_and_none_leave_the_folder_where_it_was():
    plain, own = settings_of(), settings_of(OWN[0])
    assert deciding_settings(own)["analysis.own.mine"] == "test_own_metrics.largest_norm"
    assert set(deciding_settings(own)) - set(deciding_settings(plain)) == {"analysis.own.mine"}
    assert find_own_metrics(plain["analysis"]) == {}
    assert own_columns({"metrics": "core"}) == ()  # a record made before there were any


def test_a_value_that_is_nan_is_a_row_like_others():
    stats = ClassStatistics(2, 3)
    row = own_metrics(
        {"own": {"mine": "test_own_metrics.largest_norm"}}, stats, torch.zeros(2, 3), torch.zeros(2)
    )
    assert math.isnan(row["mine"])
