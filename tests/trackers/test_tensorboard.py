"""tracker=tensorboard: the events read back as TensorBoard reads them."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.lab import settings_of
from helpers.stops import StopAfter
from helpers.tracked import TINY, carry_out, crash_before_checkpoint, next_second, one_picture
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nc_runner.commands import trackers
from nc_runner.config.identity import folder_name
from nc_runner.config.trackers import check_trackers
from nc_runner.errors import ConfigError
from nc_runner.runs.tracked import TrackedRun
from nc_runner.trackers.tensorboard import TensorBoard
from nc_runner.training.signals import StopRequested

TRACKED = settings_of(*TINY, "tensorboard=true")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    monkeypatch.setattr(trackers, "_draw", one_picture)


def read(folder):
    """Every tag with its steps and values, after TensorBoard's own treatment of restarts."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def assert_events_are_the_rows(folder):
    rows = pd.read_csv(folder / "metrics.csv")
    found = read(folder)
    assert set(found) == set(rows.columns) - {"epoch"}
    for column, events in found.items():
        expected = rows[column].to_numpy(dtype=np.float32)  # events hold 32 bits
        assert [step for step, _ in events] == rows["epoch"].tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(np.array([value for _, value in events], np.float32), expected)


def texts(folder, tag):
    """What the text has at each step."""
    events = EventAccumulator(str(folder)).Reload()
    found = events.Tensors(f"{tag}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found]


def test_the_row_of_epoch_0_is_step_0_once_also_when_it_is_measured_again(tmp_path):
    settings = TRACKED.model_copy(
        update={"analysis": TRACKED.analysis.model_copy(update={"schedule": (0, 2)})}
    )
    with pytest.raises(KeyboardInterrupt):
        carry_out(settings, tmp_path, StopAfter(3, killed=True))
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 1
    carry_out(settings, tmp_path)
    found = read(tmp_path)
    assert [step for step, _ in found["nc1"]] == [0, 2, 4]
    assert np.isnan(found["lr"][0][1])


def test_events_hold_the_rows_under_the_columns_names(tmp_path):
    carry_out(TRACKED, tmp_path)
    assert_events_are_the_rows(tmp_path)


@pytest.mark.parametrize("number", [1, 3])
def test_a_resumed_run_has_no_step_twice_and_none_missing(tmp_path, monkeypatch, number):
    crash_before_checkpoint(number, TRACKED, tmp_path, monkeypatch)
    assert [step for step, _ in read(tmp_path)["nc1"]] == list(range(1, number + 1))
    carry_out(TRACKED, tmp_path)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
    assert_events_are_the_rows(tmp_path)


def test_a_run_begun_without_tensorboard_gets_the_rows_it_has(tmp_path, monkeypatch):
    crash_before_checkpoint(3, settings_of(*TINY), tmp_path, monkeypatch)
    assert not list(tmp_path.glob("events*"))
    carry_out(TRACKED, tmp_path)
    assert_events_are_the_rows(tmp_path)


@pytest.mark.parametrize("stopped_again", [False, True])
def test_rows_of_a_time_without_tensorboard_are_made_up_for(tmp_path, stopped_again):
    with pytest.raises(StopRequested):
        carry_out(TRACKED, tmp_path, StopAfter(12))
    assert [step for step, _ in read(tmp_path)["nc1"]] == [1, 2]
    if stopped_again:
        with pytest.raises(StopRequested):
            carry_out(settings_of(*TINY), tmp_path, StopAfter(6))
        assert len(pd.read_csv(tmp_path / "metrics.csv")) == 3
    else:
        carry_out(settings_of(*TINY), tmp_path)
    next_second()
    if stopped_again:
        carry_out(TRACKED, tmp_path)
    else:
        trackers.catch_up(tmp_path, TRACKED)
    assert_events_are_the_rows(tmp_path)


def test_values_that_are_no_numbers_are_logged_as_they_are(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "state": "running"}))
    log = TensorBoard(TrackedRun(tmp_path))
    log.add({"epoch": 1, "nc1": 0.5, "snr_1": 2.0})
    log.add({"epoch": 2, "nc1": float("nan"), "snr_1": float("inf")})
    found = read(tmp_path)  # in the file at once: a killed run keeps what its checkpoint counts on
    log.end("failed", "no more", [])
    assert np.isnan(found["nc1"][1][1])
    assert found["snr_1"] == [(1, 2.0), (2, float("inf"))]


def test_settings_state_and_figures_are_there_too_and_the_states_of_a_resumed_run_in_turn(tmp_path):
    with pytest.raises(StopRequested):
        carry_out(TRACKED, tmp_path, StopAfter(12))
    next_second()
    carry_out(TRACKED, tmp_path)
    ((step, table),) = texts(tmp_path, "settings")
    assert step == 0
    assert "| lr | 0.1 |" in table
    states = [text.partition(":")[0] for _, text in texts(tmp_path, "state")]
    assert states == ["running", "interrupted", "running", "complete"]
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["images"] == ["figures/nc1"]


def test_both_forms_of_the_setting_mean_one_tracker_and_make_no_other_run():
    older, newer = settings_of("tensorboard=true"), settings_of("tracker=tensorboard")
    both = settings_of("tracker=[tensorboard,mlflow]", "tensorboard=true")
    assert older.trackers == newer.trackers == ("tensorboard",)
    assert both.trackers == ("tensorboard", "mlflow")
    assert folder_name(both) == folder_name(newer) == folder_name(older) == folder_name(settings_of())


@pytest.mark.parametrize("value", ["comet", "[tensorboard,1]", "true", "{a: b}"])
def test_an_unknown_tracker_is_an_error_that_names_those_there_are(value):
    with pytest.raises(ConfigError, match="tracker must be null, tensorboard, wandb, mlflow, or a list"):
        settings_of(f"tracker={value}")


def test_a_folder_called_tensorboard_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorboard")
    with pytest.raises(ConfigError, match="tracker=tensorboard needs a package that is not installed"):
        check_trackers(["tensorboard"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_said_in_two_lines_before_a_folder_is_made_and_without_torch(tmp_path, name):
    code = (
        "import sys, importlib.util as util; real = util.find_spec\n"
        f"util.find_spec = lambda name, *rest: None if name == '{name}' else real(name, *rest)\n"
        "from nc_runner.commands.run import main\n"
        f"sys.argv[1:] = ['-m', 'seed=0,1', 'tracker={name}']\n"
        "code = main(); assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"nc-run: tracker={name} needs a package that is not installed",
        f"install it: pip install {name}",
    ]
    assert not list(tmp_path.iterdir())
