"""All trackers of a run as one: failures, figures, complete runs, and whole commands that are killed."""

import json
import signal
import sys
import time

import pandas as pd
import pytest
from helpers.lab import settings_of
from helpers.process import WHOLE, nc_run, only_run, start
from helpers.stops import StopAfter
from helpers.tracked import TINY, carry_out, one_picture, wandb_runs

from nc_runner.commands import attempt, trackers
from nc_runner.commands.run import main
from nc_runner.commands.trackers import catch_up, is_told
from nc_runner.runs.record import read_run_file
from nc_runner.runs.tracked import read_memory
from nc_runner.trackers.base import Trackers
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals

EVERY = "tracker=[tensorboard,wandb,mlflow]"


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch):
    """WANDB_SERVICE: this process's own, from another test, which what it starts would share."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_SERVICE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


class Notes:
    """A tracker that keeps what it is told, and fails when it is asked to."""

    where = "Notes: here"

    def __init__(self, run, fails=""):
        self.run, self.fails, self.epochs, self.ended = run, fails, [], None
        self._may("open")
        self.epochs += [row["epoch"] for row in run.rows()]

    def add(self, row):
        self._may("add")
        self.epochs.append(row["epoch"])

    def end(self, state, reason, figures):
        self._may("end")
        self.ended = (state, reason, [path.name for path in figures if path.exists()])

    def _may(self, what):
        if self.fails == what:
            raise ConnectionError(f"no server\nwhen asked to {what}")


def track(folder, draw=one_picture, signals=None, **fails):
    """Carry out a run with notes as its trackers, each with what fails in it; the notes."""
    opened = {}

    def opener(place):
        def make(run):
            opened[place] = Notes(run, fails[place])
            return opened[place]

        return make

    said = []
    openers = {place: opener(place) for place in fails}
    folder.mkdir(exist_ok=True)
    try:
        execute(
            settings_of(*TINY), folder, signals or StopSignals(),
            trackers=[lambda path: Trackers(path, openers, draw, said.append)],
        )  # fmt: skip
    finally:
        opened["said"] = said
    return opened


@pytest.mark.parametrize("what", ["open", "add", "end"])
def test_a_tracker_that_fails_is_left_out_with_one_warning_and_the_run_goes_on(what, tmp_path, capsys):
    opened = track(tmp_path / "run", bad=what, good="")
    assert read_run_file(tmp_path / "run")["state"] == "complete"
    assert opened["good"].epochs == [1, 2, 3, 4]
    assert opened["good"].ended == ("complete", None, ["nc1.png"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "nc-run: bad does not get this run any further: ConnectionError: no server"
    assert lines[1].startswith("the run goes on")
    assert len(lines) == 2
    told = read_memory(tmp_path / "run").told
    assert told["good"] == "complete"
    assert told.get("bad") == (None if what == "open" else "running")


def test_figures_are_drawn_once_for_all_trackers_and_failing_to_is_a_warning(tmp_path, capsys):
    drawn = []

    def draw(folder, pictures):
        drawn.append(folder)
        raise OSError("no space")

    opened = track(tmp_path / "run", draw, one="", other="")
    assert drawn == [tmp_path / "run"]
    assert opened["one"].ended == opened["other"].ended == ("complete", None, [])
    assert capsys.readouterr().err.splitlines() == ["nc-run: trackers get no figures: OSError: no space"]
    assert opened["said"] == ["Notes: here"] * 2


def test_an_interrupted_run_is_told_as_such_without_figures_and_resumes(tmp_path):
    opened = {}

    def keep(folder, pictures):
        raise AssertionError("drawn")

    with pytest.raises(StopRequested):
        opened = track(tmp_path / "run", keep, StopAfter(12), notes="")
    assert read_memory(tmp_path / "run").told == {"notes": "interrupted"}
    key = read_memory(tmp_path / "run").key
    opened = track(tmp_path / "run", notes="")
    assert opened["notes"].epochs == [1, 2, 3, 4]
    assert opened["notes"].run.memory.key == key


def test_a_damaged_memory_is_begun_anew(tmp_path):
    track(tmp_path / "run", notes="")
    for text in ("", "[]", '{"key": 1}', '{"key": "a", "group": null, "mlflow": 3, "told": {}}'):
        (tmp_path / "run" / "trackers.json").write_text(text)
        assert read_memory(tmp_path / "run") is None
    track(tmp_path / "run", notes="")
    assert read_memory(tmp_path / "run").told == {"notes": "complete"}


def test_a_complete_run_is_given_to_the_trackers_that_lack_it(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "_draw", one_picture)
    config = settings_of(*TINY, "tracker=[tensorboard,wandb]")
    carry_out(settings_of(*TINY, "tracker=wandb"), tmp_path)
    (before,) = wandb_runs(tmp_path)
    assert not is_told(tmp_path, config)
    catch_up(tmp_path, config)
    assert [found.folder for found in wandb_runs(tmp_path)] == [before.folder]  # it was complete there
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert is_told(tmp_path, config)


def test_a_signal_that_comes_while_a_complete_run_is_given_to_a_tracker_ends_the_sweep(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nc-run", "-m", "seed=0,1", *TINY])
    assert main() == 0
    given = []

    def catch_up(folder, *_):
        given.append(folder)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(attempt, "catch_up", catch_up)
    sys.argv += ["tracker=tensorboard"]
    assert main() == 143
    assert len(given) == 1
    assert capsys.readouterr().err == "nc-run: give the same command again to resume\n"


def assert_each_has_the_run_once(folder, outputs):
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = pd.read_csv(folder / "metrics.csv")
    epochs = rows["epoch"].tolist()
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(run.info.run_id, "nc1")
    assert [point.step for point in points] == epochs
    assert [point.value for point in points] == rows["nc1"].tolist()
    (offline,) = wandb_runs(folder)
    assert [row["epoch"] for row in offline.rows] == epochs
    assert [row["nc1"] for row in offline.rows] == rows["nc1"].tolist()
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("nc1")] == epochs
    return run, offline, events


@pytest.mark.timeout(900)  # three libraries start three times
def test_a_killed_run_that_resumes_is_one_complete_run_in_each_tracker(tmp_path):
    arguments = [*WHOLE, "data.samples_per_class=20", EVERY]
    process = start(*arguments, cwd=tmp_path)
    end = time.monotonic() + 200
    while time.monotonic() < end and process.poll() is None:
        written = list(tmp_path.rglob("metrics.csv"))
        if written and len(written[0].read_text().splitlines()) > 4:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder, outputs = only_run(tmp_path), tmp_path / "outputs"
    assert read_run_file(folder)["state"] == "running"
    run = assert_each_has_the_run_up_to_the_kill(folder, outputs)
    key = json.loads((folder / "trackers.json").read_text())["key"]  # W&B's id, from before the kill
    done = nc_run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    resumed, again, events = assert_each_has_the_run_once(folder, outputs)
    assert resumed.info.run_id == run.info.run_id
    assert (resumed.info.status, resumed.data.tags["state"]) == ("FINISHED", "complete")
    assert key in again.run.run_id
    assert (again.summary["state"], again.exit_code) == ("complete", 0)
    assert {"figures/overview", "figures/nc1"} <= set(events.Tags()["images"]) == set(again.figures)
    before = (folder / "trackers.json").read_bytes()
    assert "already complete" in nc_run(*arguments, cwd=tmp_path).stdout
    assert (folder / "trackers.json").read_bytes() == before


def assert_each_has_the_run_up_to_the_kill(folder, outputs):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["state"]) == ("RUNNING", "running")
    assert run.data.metrics["epoch"] >= 3
    (offline,) = wandb_runs(folder)
    told = offline.summary.get("state", "running")  # W&B writes in a process of its own, perhaps later
    assert (told, offline.exit_code) == ("running", None)
    return run


@pytest.mark.timeout(900)
def test_the_parallel_runs_of_a_sweep_share_one_store_and_a_finished_sweep_can_be_tracked_later(tmp_path):
    from mlflow import MlflowClient

    sweep = ["-m", "seed=0,1", "launcher=joblib", "launcher.jobs=2", "epochs=2", "data.samples_per_class=20"]
    assert nc_run(*sweep, "tracker=mlflow", cwd=tmp_path).returncode == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert {run.data.metrics["epoch"] for run in runs} == {2.0}
    done = nc_run(*sweep, "tracker=[mlflow,tensorboard]", "progress=plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/2" not in done.stdout  # nothing is trained
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 2
    told = [json.loads(path.read_text())["told"] for path in tmp_path.rglob("trackers.json")]
    assert told == [{"mlflow local": "complete", "tensorboard": "complete"}] * 2
