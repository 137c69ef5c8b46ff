"""tensorboard=true: the events read back as TensorBoard reads them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.lab import settings_of
from helpers.stops import StopAfter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nc_runner.config import values
from nc_runner.config.identity import folder_name
from nc_runner.trackers.tensorboard import TensorBoard
from nc_runner.training import recorder
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

TINY = settings_of(
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
    "batch_size=20", "epochs=4", "progress=none", "checkpoint_seconds=0",
)  # fmt: skip


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


def logged(folder):
    execute(TINY, folder, StopSignals(), trackers=[TensorBoard])


def test_the_row_of_epoch_0_is_step_0_once_also_when_it_is_measured_again(tmp_path):
    settings = TINY.model_copy(update={"analysis": TINY.analysis.model_copy(update={"schedule": (0, 2)})})
    with pytest.raises(KeyboardInterrupt):
        execute(settings, tmp_path, StopAfter(3, killed=True), trackers=[TensorBoard])
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 1
    execute(settings, tmp_path, StopSignals(), trackers=[TensorBoard])
    found = read(tmp_path)
    assert [step for step, _ in found["nc1"]] == [0, 2, 4]
    assert np.isnan(found["lr"][0][1])


def crash_before_checkpoint(number, folder, trackers, monkeypatch):
    """Run until the checkpoint of epoch ``number`` would be written: its row is there, its checkpoint not."""
    original, count = recorder.save_checkpoint, iter(range(1, 99))

    def save(*arguments):
        if next(count) == number:
            raise RuntimeError("crashed")
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "save_checkpoint", save)
        with pytest.raises(RuntimeError, match="crashed"):
            execute(TINY, folder, StopSignals(), trackers=trackers)
    assert len(pd.read_csv(folder / "metrics.csv")) == number


def test_events_hold_the_rows_under_the_columns_names(tmp_path):
    logged(tmp_path)
    assert_events_are_the_rows(tmp_path)


@pytest.mark.parametrize("number", [1, 3])
def test_a_resumed_run_has_no_step_twice_and_none_missing(tmp_path, monkeypatch, number):
    crash_before_checkpoint(number, tmp_path, [TensorBoard], monkeypatch)
    assert [step for step, _ in read(tmp_path)["nc1"]] == list(range(1, number + 1))
    logged(tmp_path)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
    assert_events_are_the_rows(tmp_path)


def test_a_run_begun_without_tensorboard_gets_the_rows_it_has(tmp_path, monkeypatch):
    crash_before_checkpoint(3, tmp_path, [], monkeypatch)
    assert not list(tmp_path.glob("events*"))
    logged(tmp_path)
    assert_events_are_the_rows(tmp_path)


def test_values_that_are_no_numbers_are_logged_as_they_are(tmp_path):
    log = TensorBoard(tmp_path)
    log.add({"epoch": 1, "nc1": 0.5, "snr_1": 2.0})
    log.add({"epoch": 2, "nc1": float("nan"), "snr_1": float("inf")})
    found = read(tmp_path)  # in the file at once: a killed run keeps what its checkpoint counts on
    log.close()
    assert np.isnan(found["nc1"][1][1])
    assert found["snr_1"] == [(1, 2.0), (2, float("inf"))]


def test_logging_does_not_make_another_run():
    assert folder_name(settings_of("tensorboard=true")) == folder_name(settings_of())


def test_a_folder_called_tensorboard_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorboard")
    with pytest.raises(ValueError, match="needs a package that is not installed"):
        values.tensorboard.func(True)
    assert values.tensorboard.func(False) is False


def test_a_missing_package_is_said_in_two_lines_before_a_folder_is_made_and_without_torch(tmp_path):
    code = (
        "import sys, importlib.util as util; real = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'tensorboard' else real(name, *rest)\n"
        "from nc_runner.commands.run import main\n"
        "sys.argv[1:] = ['-m', 'seed=0,1', 'tensorboard=true']\n"
        "code = main(); assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "nc-run: tensorboard=true is not valid: tensorboard needs a package that is not installed",
        "install it: pip install tensorboard",
    ]
    assert not list(tmp_path.iterdir())
