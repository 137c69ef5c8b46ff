"""tracker=mlflow: the local store, read back by MLflow's client."""

import shutil

import pandas as pd
import pytest
from helpers.lab import settings_of
from helpers.stops import StopAfter
from helpers.tracked import TINY, carry_out, crash_before_checkpoint, one_picture
from mlflow import MlflowClient

from nc_runner.commands import trackers
from nc_runner.commands.trackers import catch_up, is_told
from nc_runner.config.identity import folder_name
from nc_runner.runs.tracked import read_memory
from nc_runner.training.signals import StopRequested

TRACKED = (*TINY, "tracker=mlflow")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A database with MLflow's tables: making them takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def outputs_with_a_store(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path)


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trackers, "_draw", one_picture)


def folder_in(outputs, *overrides):
    """As nc-run names it, below the outputs folder."""
    return outputs / folder_name(settings_of(*TRACKED, *overrides))


def store(outputs):
    """The client, and all runs of all experiments, oldest first."""
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    numbers = [experiment.experiment_id for experiment in client.search_experiments()]
    return client, client.search_runs(numbers, order_by=["attributes.start_time ASC"])


def history(client, run, column):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, column)]


def assert_rows_are_there_once(client, run, folder):
    rows = pd.read_csv(folder / "metrics.csv")
    assert set(run.data.metrics) == set(rows.columns)
    for column in ("nc1", "lr", "train_loss", "epoch", "snr_9"):
        expected = list(zip(rows["epoch"], rows[column], strict=True))
        assert history(client, run, column) == expected


def test_the_store_holds_rows_settings_state_and_figures(tmp_path):
    folder = folder_in(tmp_path)
    carry_out(settings_of(*TRACKED), folder)
    client, (run,) = store(tmp_path)
    assert_rows_are_there_once(client, run, folder)
    assert run.info.run_name == folder_name(settings_of(*TRACKED))
    assert client.get_experiment(run.info.experiment_id).name == "nc-runner"
    params = run.data.params
    assert (params["lr"], params["lr_milestones"], params["decay.head"]) == ("0.1", "[1/3,2/3]", "null")
    assert "device" not in params
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
    assert run.data.tags["run_folder"] == str(folder)
    assert "| lr | 0.1 |" in run.data.tags["mlflow.note.content"]
    assert [entry.path for entry in client.list_artifacts(run.info.run_id, "figures")] == ["figures/nc1.png"]
    assert run.info.artifact_uri.startswith((tmp_path / "mlflow-artifacts").as_uri())


@pytest.mark.parametrize("number", [1, 3])
def test_a_resumed_run_is_one_run_with_each_row_once(tmp_path, monkeypatch, number):
    folder = folder_in(tmp_path)
    crash_before_checkpoint(number, settings_of(*TRACKED), folder, monkeypatch)
    _, (before,) = store(tmp_path)
    assert (before.info.status, before.data.tags["state"]) == ("FAILED", "failed")
    assert before.data.metrics["epoch"] == number
    carry_out(settings_of(*TRACKED, "threads=1"), folder)  # such settings may differ from start to start
    client, (after,) = store(tmp_path)
    assert after.info.run_id == before.info.run_id
    assert (after.info.status, after.data.tags["state"]) == ("FINISHED", "complete")
    assert "crashed" in before.data.tags["reason"]
    assert "reason" not in after.data.tags
    for column in ("nc1", "epoch", "train_seconds"):
        assert [step for step, _ in history(client, after, column)] == [1, 2, 3, 4]


def test_a_stopped_run_is_killed_there_until_it_resumes(tmp_path):
    folder = folder_in(tmp_path)
    with pytest.raises(StopRequested):
        carry_out(settings_of(*TRACKED), folder, StopAfter(12))
    _, (run,) = store(tmp_path)
    assert (run.info.status, run.data.tags["state"]) == ("KILLED", "interrupted")


def test_a_run_that_was_complete_before_is_given_to_the_tracker_once(tmp_path):
    folder, config = folder_in(tmp_path), settings_of(*TRACKED)
    carry_out(settings_of(*TINY), folder)
    assert read_memory(folder) is None
    assert not is_told(folder, config)
    catch_up(folder, config)
    client, (run,) = store(tmp_path)
    assert_rows_are_there_once(client, run, folder)
    assert run.info.status == "FINISHED"
    assert is_told(folder, config)
    catch_up(folder, config)
    assert len(store(tmp_path)[1]) == 1


def test_another_store_gets_a_run_of_its_own_and_the_first_is_known_again(tmp_path, monkeypatch):
    folder, config = folder_in(tmp_path), settings_of(*TRACKED)
    carry_out(config, folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    monkeypatch.chdir(tmp_path)
    assert not is_told(folder, config)
    catch_up(folder, config)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:////{tmp_path / 'mlflow.db'}")  # the first, otherwise
    catch_up(folder, config)
    assert len(store(tmp_path)[1]) == 1
    assert len(MlflowClient(f"sqlite:///{tmp_path / 'other.db'}").search_runs(["0", "1"])) == 1
    assert "other.db" not in (folder / "trackers.json").read_text()  # an address may hold a password


def test_the_runs_of_a_sweep_are_one_experiment_also_when_it_is_given_again(tmp_path):
    from nc_runner.runs.sweeps import SweepArchive

    def sweep(name, *seeds):
        configs = [settings_of(*TRACKED, f"seed={seed}", f"sweep={name}") for seed in seeds]
        folders = [tmp_path / folder_name(config) for config in configs]
        archive = SweepArchive(tmp_path, name)
        with archive.alive():
            archive.plan(dict.fromkeys(folders, 4), anew=False)
            for config, folder in zip(configs, folders, strict=True):
                if not folder.exists():
                    carry_out(config, folder)

    sweep("1795876053139330600-1", 0)
    sweep("1795876099000000000-2", 0, 1)
    client, runs = store(tmp_path)
    (experiment,) = {client.get_experiment(run.info.experiment_id).name for run in runs}
    assert len(runs) == 2
    assert experiment.startswith("nc-runner sweep 2026-11-2")
    assert {run.data.tags["sweep"] for run in runs} == {experiment.removeprefix("nc-runner ")}
