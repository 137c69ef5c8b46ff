"""analysis.samples: the rows describe a subset; training, resumption and streaming do not notice."""

import pandas as pd
import pytest
import torch
from helpers.lab import few_images, rows_of, settings_of, trainer_of
from helpers.stops import StopAfter

from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.identity import folder_name, identity
from nc_runner.data.dataset import analysed_part
from nc_runner.errors import ConfigError
from nc_runner.measurement.measurer import MeasurementPlan, Measurer
from nc_runner.training.losses import build_loss
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals

TINY = (
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
    "batch_size=20", "epochs=4", "progress=none", "checkpoint_seconds=0",
)  # fmt: skip
SOME = (*TINY, "analysis.samples=33", "analysis.schedule=[0,1,2,4]")


def without_times(rows):
    return [{key: value for key, value in row.items() if key not in TIME_COLUMNS} for row in rows]


def rows_in(folder):
    return pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    execute(settings_of(*SOME), folder, StopSignals())
    return folder


def test_training_takes_all_images_and_ends_with_the_same_weights():
    ends = []
    for overrides in ([], ["analysis.samples=21"]):
        trainer = trainer_of("epochs=3", *overrides, dataset=few_images(count=32))
        ends.append((rows_of(trainer), trainer.network.model.state_dict()))
        assert trainer.steps == 6  # 32 images in batches of 5
    (all_rows, all_weights), (rows, weights) = ends
    assert all(torch.equal(weights[name], all_weights[name]) for name in weights)
    assert all(row["nc1"] != other["nc1"] for row, other in zip(rows, all_rows, strict=True))


def test_as_many_samples_as_there_are_images_give_the_rows_of_all():
    data = few_images(count=30)
    rows = rows_of(trainer_of("epochs=2", "analysis.samples=30", dataset=data))
    assert without_times(rows) == without_times(rows_of(trainer_of("epochs=2", dataset=data)))


def test_a_row_is_the_measurement_of_the_subset():
    data = few_images(count=40)
    trainer = trainer_of("epochs=2", "seed=3", "analysis.samples=27", dataset=data)
    last = rows_of(trainer)[-1]
    plan = MeasurementPlan(weight_decay=5e-4)
    part = analysed_part(data, 27, seed=3)
    row = Measurer(trainer.network, part, build_loss(settings_of().loss), plan).measure().row
    assert {key: last[key] for key in row} == row


@pytest.mark.parametrize("looks", [0, 1, 5, 6, 9, 12])
def test_a_stopped_run_measures_the_same_subset_when_it_resumes(looks, whole, tmp_path):
    settings = settings_of(*SOME)
    with pytest.raises(StopRequested):
        execute(settings, tmp_path, StopAfter(looks))
    execute(settings, tmp_path, StopSignals())
    pd.testing.assert_frame_equal(rows_in(tmp_path), rows_in(whole), check_exact=True)


def test_streamed_data_give_the_same_rows(whole, tmp_path):
    execute(settings_of(*SOME, "data.resident=false", "data.workers=1"), tmp_path, StopSignals())
    pd.testing.assert_frame_equal(rows_in(tmp_path), rows_in(whole), check_exact=True)


def test_the_subset_is_part_of_the_runs_identity():
    plain, some = settings_of(*TINY), settings_of(*TINY, "analysis.samples=33")
    assert identity(some) == {**identity(plain), "analysis.samples": 33}
    assert "-samples33-" in folder_name(some)


def test_a_refit_of_a_subset_is_an_error_that_says_why():
    with pytest.raises(ConfigError) as error:
        settings_of("classifier=least_squares", "analysis.samples=100")
    assert str(error.value) == (
        "analysis.samples=100 does not go with classifier=least_squares, which is refitted to the features "
        "of all train images\nleave analysis.samples out, or give classifier=gradient"
    )


def test_more_samples_than_the_run_has_are_an_error_before_a_row_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"the train set has 60 images\ngive analysis.samples=60 or less"):
        execute(settings_of(*TINY, "analysis.samples=61"), tmp_path, StopSignals())
    assert not list(tmp_path.iterdir())
