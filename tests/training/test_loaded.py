"""Runs that are read back: weights, settings, rows and data as the run had them."""

import json
import re
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.lab import TinyNetwork, settings_of
from helpers.process import nc_run, only_run
from helpers.stops import StopAfter

import nc_runner
from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.schema import Config
from nc_runner.errors import ConfigError, DataError, RunFolderError
from nc_runner.measurement.measurer import MeasurementPlan, Measurer
from nc_runner.networks import Network
from nc_runner.training.losses import build_loss
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals

TINY = (
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
    "batch_size=20", "epochs=4", "progress=none", "checkpoint_seconds=0",
)  # fmt: skip
UNSUITABLE = (*TIME_COLUMNS, "epoch", "lr")  # columns that a measurement alone does not give


def trained(folder, *overrides, signals=None):
    folder.mkdir(parents=True, exist_ok=True)
    execute(settings_of(*TINY, *overrides), folder, signals or StopSignals())
    return folder


def change_record(folder, **entries):
    path = folder / "run.json"
    record = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder in which one epoch on digits was trained by the command."""
    folder = tmp_path_factory.mktemp("digits")
    done = nc_run("epochs=1", "threads=1", "progress=plain", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measured(run):
    """The columns of a row that a measurement of the loaded network on the loaded data gives."""
    settings = run.settings
    plan = MeasurementPlan(
        weight_decay=settings.weight_decay,
        batch_size=settings.analysis.batch_size,
        channels_last=settings.channels_last,
    )
    return Measurer(run.network, run.data(), build_loss(settings.loss), plan).measure().row


def test_the_weights_of_a_run_measured_again_give_its_last_row(digits, one_thread):
    run = nc_runner.load_run(only_run(digits))
    row, last = measured(run), run.rows.iloc[-1].drop(list(UNSUITABLE))
    assert set(row) == set(last.index)
    assert row["train_accuracy"] == last["train_accuracy"]
    assert row["test_accuracy"] == last["test_accuracy"]
    np.testing.assert_allclose([row[key] for key in last.index], last.to_numpy(), rtol=1e-12, atol=0)


def test_measure_takes_a_loaded_network_and_its_batches(digits, one_thread):
    run = nc_runner.load_run(only_run(digits))
    row = nc_runner.measure(run.model, run.batches("train"), test=run.batches("test")).row
    for column in ("train_accuracy", "test_accuracy", "nc1", "nc3_self_duality", "snr_9"):
        assert row[column] == pytest.approx(run.rows[column].iloc[-1], rel=1e-12, abs=0)


def test_a_plain_loop_over_the_batches_gives_the_accuracies_of_the_last_row(digits):
    run = nc_runner.load_run(str(only_run(digits)))
    last = run.rows.iloc[-1]
    for split, count in (("train", 1500), ("test", 297)):
        right = [run.model(images).argmax(dim=1) == labels for images, labels in run.batches(split)]
        assert torch.cat(right).double().mean().item() == pytest.approx(last[f"{split}_accuracy"], abs=1e-12)
        assert sum(len(images) for images, _ in run.batches(split, batch_size=100)) == count
    assert [len(run.batches("train")), len(run.batches("train", 100))] == [3, 15]


def test_what_a_loaded_run_has(whole):
    run = nc_runner.load_run(whole)
    assert run.settings == settings_of(*TINY)
    assert isinstance(run.settings, Config)
    assert isinstance(run.network, Network)
    assert isinstance(run.model, TinyNetwork)
    assert not any(module.training for module in run.model.modules())
    assert run.network.classifier is run.model.classifier
    assert (run.epoch, run.step, run.device) == (4, 0, torch.device("cpu"))
    assert (run.record.state, run.record.seed) == ("complete", 0)
    assert run.record.content["num_classes"] == 10
    pd.testing.assert_frame_equal(run.rows, pd.read_csv(whole / "metrics.csv"), check_exact=True)
    weights = torch.load(whole / "checkpoint.pt", weights_only=True)["model"]
    assert all(value.equal(weights[key]) for key, value in run.model.state_dict().items())
    assert repr(run) == f"LoadedRun({str(whole)!r}, state='complete', epoch=4)"


def test_the_data_are_those_of_the_run_and_loaded_once(whole):
    run = nc_runner.load_run(whole)
    data, record = run.data(), run.record.content
    assert run.data() is data
    assert data.fingerprint == record["data_fingerprint"]
    assert (len(data.train), len(data.test)) == (60, 297)
    images, labels = next(iter(run.batches("train", 7)))
    assert images.shape == (7, 1, 8, 8)
    torch.testing.assert_close(images, (data.train.images[:7] / 255 - 0.3052) / 0.3749)
    assert labels.equal(data.train.labels[:7])


def test_computed_mean_and_std_are_the_recorded_ones(tmp_path):
    folder = trained(tmp_path / "run", "data.mean=null", "data.std=null", "data.pad=2", "epochs=1")
    change_record(folder, data_mean=[0.25], data_std=[0.5])
    data = nc_runner.load_run(folder).data()
    assert (data.mean, data.std, data.image_size) == ((0.25,), (0.5,), 12)


def test_loading_leaves_the_folder_and_the_generator_as_they_were(whole):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    state = torch.get_rng_state()
    nc_runner.load_run(whole).data()
    assert torch.get_rng_state().equal(state)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_a_classifier_that_was_refitted_is_the_refitted_one(tmp_path, one_thread):
    folder = trained(tmp_path / "run", "classifier=least_squares", "epochs=2", "threads=1")
    run = nc_runner.load_run(folder)
    assert measured(run)["perp_share"] < 1e-6
    assert measured(run)["nc1"] == pytest.approx(run.rows["nc1"].iloc[-1], rel=1e-12)


@pytest.mark.parametrize(("looks", "epoch", "step"), [(0, 0, 1), (12, 2, None)])
def test_an_interrupted_run_says_how_far_its_weights_were_trained(looks, epoch, step, tmp_path):
    with pytest.raises(StopRequested):
        trained(tmp_path / "run", signals=StopAfter(looks))
    run = nc_runner.load_run(tmp_path / "run")
    held = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert run.record.state == "interrupted"
    assert (run.epoch, run.step) == (held["epoch"], held["step"])
    assert run.epoch == epoch
    assert step in (None, run.step)
    assert len(run.rows) in (epoch, epoch + 1)


def test_a_run_without_a_checkpoint_has_no_weights_to_load(copy):
    (copy / "checkpoint.pt").unlink()
    with pytest.raises(RunFolderError, match="no checkpoint yet"):
        nc_runner.load_run(copy)


def test_a_damaged_checkpoint_is_an_error_or_the_one_before_it_is_used(copy, tmp_path):
    path, bits = copy / "checkpoint.pt", (copy / "checkpoint.pt").read_bytes()
    path.write_bytes(bits[:-500])
    with pytest.raises(RunFolderError, match="is damaged"):
        nc_runner.load_run(copy)
    (copy / "checkpoint.previous.pt").write_bytes(bits)
    with pytest.warns(UserWarning, match="the one before it is used") as caught:
        assert nc_runner.load_run(copy).epoch == 4
    assert caught[0].filename == __file__


def test_a_pickle_in_place_of_a_checkpoint_is_not_executed(copy, tmp_path):
    class Malicious:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"format": 1, "model": Malicious()}, copy / "checkpoint.pt")
    with pytest.raises(RunFolderError, match="is damaged"):
        nc_runner.load_run(copy)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_weights_of_an_epoch_that_was_not_kept_are_an_error(epoch, whole):
    with pytest.raises(RunFolderError, match=f"kept no weights of epoch {epoch}\n.*epoch 4"):
        nc_runner.load_run(whole, epoch=epoch)


def test_the_epoch_of_the_checkpoint_may_be_named(whole):
    assert nc_runner.load_run(whole, epoch=4).epoch == 4


def test_the_weights_that_were_kept_of_an_epoch_give_its_row(tmp_path, one_thread):
    folder = trained(tmp_path / "run", "keep_checkpoints=[1,3]", "threads=1")
    for epoch in (1, 3, 4):
        run = nc_runner.load_run(folder, epoch=epoch)
        row, then = measured(run), run.rows.set_index("epoch").loc[epoch].drop(["lr", *TIME_COLUMNS])
        assert (run.epoch, run.step) == (epoch, 0)
        np.testing.assert_allclose([row[key] for key in then.index], then.to_numpy(), rtol=1e-12, atol=0)
    message = r"kept no weights of epoch 2\nit kept those of \[1,3\]; its checkpoint is of epoch 4"
    with pytest.raises(RunFolderError, match=message):
        nc_runner.load_run(folder, epoch=2)
    (folder / "checkpoint.pt").unlink()
    assert nc_runner.load_run(folder, epoch=3).epoch == 3


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu0"])
def test_a_device_that_is_not_there_is_an_error(device, whole):
    with pytest.raises(ConfigError, match=f"device={device}"):
        nc_runner.load_run(whole, device=device)


def test_other_data_are_an_error(copy):
    change_record(copy, data_fingerprint="0" * 64, image_shape=[1, 8, 8])
    run = nc_runner.load_run(copy)
    with pytest.raises(DataError, match=r"trained on other data than .*data now holds\n.*root=FOLDER"):
        run.data()


def test_a_record_that_is_damaged_is_an_error_and_not_believed(copy):
    change_record(copy, data_mean=[None], data_std=[1.0])
    with pytest.raises(RunFolderError, match="data_mean is not a list of numbers"):
        nc_runner.load_run(copy).data()
    change_record(copy, data_mean=[0.5], num_classes=-1, image_shape=[0, 8, 8])  # the data tell the shape
    assert nc_runner.load_run(copy).model is not None


def test_the_network_is_built_without_the_data_where_the_record_has_their_shape(copy, monkeypatch):
    change_record(copy, image_shape=[1, 8, 8])
    monkeypatch.setattr("nc_runner.training.recorded_data.load_dataset", lambda *_: 1 / 0)
    run = nc_runner.load_run(copy)
    assert run.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_the_data_tell_the_shape_where_an_earlier_version_did_not_record_it(copy):
    change_record(copy, image_shape=None, num_classes=None)
    run = nc_runner.load_run(copy)
    assert run.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("kind", ["flow", "measured"])
def test_a_folder_without_a_network_is_an_error(kind, tmp_path):
    with pytest.raises(RunFolderError, match="is not a run folder"):
        nc_runner.load_run(tmp_path)
    record = {"format": 1, "state": "complete", "kind": kind, "settings": {}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match=f"has no network: it is a folder of kind {kind}\n"):
        nc_runner.load_run(tmp_path)


def test_an_older_record_is_completed(copy):
    settings = json.loads((copy / "run.json").read_text())["settings"]
    del settings["sync_batchnorm"], settings["launcher"]
    settings["loss"]["_target_"] = "nc_runner.training.losses.mse"
    settings["data"]["_target_"] = "nc_runner.data.standard.digits"
    settings["analysis"]["own"] = settings["analysis"].pop("custom")
    change_record(copy, settings=settings, deciding={"lr": 0.1}, identity=None)
    run = nc_runner.load_run(copy)
    assert run.settings == settings_of(*TINY)
    assert len(run.data().train) == 60


def test_settings_of_another_version_are_an_error_and_the_rows_are_still_read(copy):
    settings = json.loads((copy / "run.json").read_text())["settings"]
    change_record(copy, settings=settings | {"dropout": 0.1})
    with pytest.raises(RunFolderError, match=r"dropout.*\n.*read_runs"):
        nc_runner.load_run(copy)
    assert len(nc_runner.read_runs(copy)) == 4


def test_lines_of_the_table_that_are_cut_are_a_warning(copy):
    path = copy / "metrics.csv"
    path.write_text(path.read_text()[:-9])
    with pytest.warns(UserWarning, match="cut short") as caught:
        assert len(nc_runner.load_run(copy).rows) == 3
    assert caught[0].filename == __file__


def test_a_network_whose_code_changed_is_an_error(copy):
    settings = json.loads((copy / "run.json").read_text())["settings"]
    settings["net"]["width"] = 9
    change_record(copy, settings=settings)
    with pytest.raises(RunFolderError, match=r"the weights do not fit the network .*\nwas its code changed"):
        nc_runner.load_run(copy)


NETWORK = """
from torch import nn

def make(num_classes, width=5):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes))
"""
LOADER = """
import numpy as np
from nc_runner.data.raw import RawDataset, RawSplit

def load(root):
    with np.load(f"{root}/few.npz") as file:
        images, labels = file["images"], file["labels"]
    return RawDataset(RawSplit(images, labels), RawSplit(images[:8], labels[:8]), 4)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A user's folder with a network and a loader in it, and a run of them."""
    folder = tmp_path_factory.mktemp("project")
    for name, code in (("nets/made_for_load_run.py", NETWORK), ("loading_for_load_run.py", LOADER)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    (folder / "here").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "here" / "few.npz", images=images, labels=np.arange(40) % 4)
    done = nc_run(
        "net=custom", "net._target_=nets/made_for_load_run.py:make", "+net.width=6",
        "data=custom", "data._target_=loading_for_load_run.load", "data.root=here",
        "batch_size=10", "epochs=1", "threads=1", "progress=plain", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current folder without a user's files, and an interpreter that has imported none of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    for name in ("made_for_load_run", "loading_for_load_run"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("elsewhere")
def test_custom_code_and_data_are_found_where_the_command_was_given(project, one_thread):
    run = nc_runner.load_run(only_run(project))
    assert run.settings.net.name == "make"
    assert run.network.classifier.in_features == 6
    assert run.data().num_classes == 4
    assert measured(run)["nc1"] == pytest.approx(run.rows["nc1"].iloc[-1], rel=1e-12)


@pytest.mark.usefixtures("elsewhere")
def test_a_project_that_was_moved_is_found_with_its_code_and_data(project, tmp_path):
    moved = shutil.copytree(project, tmp_path / "moved")
    (moved / "nets" / "made_for_load_run.py").write_text(NETWORK.replace("nn.ReLU", "nn.Tanh"))
    run = nc_runner.load_run(only_run(moved))
    assert "Tanh" in repr(run.model)


@pytest.mark.usefixtures("elsewhere")
def test_a_custom_file_that_is_gone_is_named(project, tmp_path):
    copied = shutil.copytree(only_run(project), tmp_path / "run")
    moved = re.sub(re.escape(str(project)), "/gone", (copied / ".hydra" / "hydra.yaml").read_text())
    (copied / ".hydra" / "hydra.yaml").write_text(moved)
    change_record(copied, image_shape=[1, 8, 8])
    message = (
        r"cannot be built again: net._target_=nets/.*: there is no Python file nets/.*\n.*start Python in"
    )
    with pytest.raises(RunFolderError, match=message) as caught:
        nc_runner.load_run(copied)
    assert str(caught.value).count("\n") == 1


@pytest.mark.usefixtures("elsewhere")
def test_data_elsewhere_are_loaded_by_their_root(project, tmp_path):
    copied = shutil.copytree(project, tmp_path / "project")
    (copied / "here").rename(tmp_path / "there")
    change_record(only_run(copied), image_shape=[1, 8, 8])
    run = nc_runner.load_run(only_run(copied))
    with pytest.raises(DataError, match=r"few\.npz"):
        run.data()
    assert len(run.data(root="there").train) == 40
    assert len(run.batches("train", 10)) == 4
    np.savez(tmp_path / "few.npz", images=np.zeros((8, 8, 8, 1), np.uint8), labels=np.arange(8) % 4)
    with pytest.raises(DataError, match="other data"):
        run.data(root=tmp_path)
    assert len(run.data().train) == 40


def test_files_of_options_are_found_where_the_command_was_given(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    arrays = {f"{split}_images": images for split in ("train", "test")}
    np.savez(tmp_path / "few.npz", **arrays, **{f"{s}_labels": np.arange(40) % 10 for s in ("train", "test")})
    done = nc_run(
        "data=npz", "data.options.file=few.npz", "net.depth=8", "batch_size=20", "epochs=1", "threads=1",
        "progress=plain", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = nc_runner.load_run(only_run(tmp_path))
    assert run.data().mean == tuple(run.record.content["data_mean"])


def test_nothing_is_said_about_a_run_that_is_whole(whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nc_runner.load_run(whole).data()
