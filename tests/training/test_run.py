"""One run in its folder: resumption, faults of disk, files, memory and data. Few digits, one process."""

import contextlib
import errno
import json
import shutil

import pandas as pd
import pytest
import torch
from helpers.lab import settings_of
from helpers.stops import StopAfter

from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.identity import identity
from nc_runner.config.learning_rates import LearningRate
from nc_runner.errors import DivergedError, RunFolderError, TrainingError
from nc_runner.runs import record as record_module
from nc_runner.runs.record import RunWriter, read_run_file
from nc_runner.training import recorder
from nc_runner.training import run as module
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals
from nc_runner.training.weights import kept_epochs, load_weights

TINY = (
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
    "batch_size=20", "epochs=4",
    "progress=none", "checkpoint_seconds=0",
)  # fmt: skip
SETTINGS = settings_of(*TINY)


def folder_of(tmp_path, name="run"):
    (tmp_path / name).mkdir(exist_ok=True)
    return tmp_path / name


def run(folder, settings=SETTINGS):
    return execute(settings, folder, StopSignals())


def result(folder):
    """What must be equal to the last bit: rows without times, and weights."""
    rows = pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))
    weights = torch.load(folder / "checkpoint.pt", weights_only=True)["model"]
    return rows.to_csv(), {name: value.tolist() for name, value in weights.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("whole"))
    run(folder)
    return folder


@pytest.fixture
def begun(tmp_path):
    """A run stopped in its third epoch, with rows and two checkpoints."""
    folder = folder_of(tmp_path)
    with pytest.raises(StopRequested):
        execute(SETTINGS, folder, StopAfter(12))
    return folder


@pytest.mark.parametrize("looks", [0, 1, 3, 4, 5, 6, 9, 14, 19])
def test_a_run_stopped_anywhere_ends_equal_to_the_last_bit(looks, whole, tmp_path):
    folder = folder_of(tmp_path)
    with pytest.raises(StopRequested):
        execute(SETTINGS, folder, StopAfter(looks))
    assert read_run_file(folder)["state"] == "interrupted"
    run(folder)
    assert read_run_file(folder)["state"] == "complete"
    assert result(folder) == result(whole)
    assert not (folder / "checkpoint.previous.pt").exists()


INITIAL = settings_of(*TINY, "analysis.schedule=[0,1,3]", "keep_checkpoints=analysed", "epochs=3")


@pytest.fixture(scope="module")
def from_initialisation(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("initial"))
    run(folder, INITIAL)
    return folder


@pytest.mark.parametrize("seconds", ["0", "1e-9"])
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("looks", [0, 1, 2, 3, 5])
def test_a_run_stopped_at_epoch_0_ends_equal_to_the_last_bit(
    looks, killed, seconds, from_initialisation, tmp_path
):
    """Before, within and after its measurement, which is of two batches."""
    folder = folder_of(tmp_path)
    settings = INITIAL.model_copy(update={"checkpoint_seconds": float(seconds)})
    with pytest.raises((StopRequested, KeyboardInterrupt)):
        execute(settings, folder, StopAfter(looks, killed))
    begun = kept_epochs(folder)
    run(folder, settings)
    assert result(folder) == result(from_initialisation)
    assert pd.read_csv(folder / "metrics.csv")["epoch"].tolist() == [0, 1, 3]
    assert kept_epochs(folder) == [0, 1, 3]
    assert begun in ([], [0])
    first, second = load_weights(folder, 0), load_weights(from_initialisation, 0)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_weights_of_epoch_0_are_the_initial_ones(from_initialisation):
    initial = module.prepare(INITIAL).network.model.state_dict()
    held = load_weights(from_initialisation, 0)
    assert held.keys() == initial.keys()
    assert all(torch.equal(held[name], initial[name]) for name in held)


def test_a_truncated_checkpoint_falls_back_to_the_previous_one(begun, whole, capsys):
    path = begun / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-500])
    run(begun)
    assert "is damaged" in capsys.readouterr().err
    assert result(begun) == result(whole)


def test_two_damaged_checkpoints_are_refused_and_nothing_is_lost(begun):
    rows = (begun / "metrics.csv").read_bytes()
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (begun / name).write_bytes(b"garbage")
    with pytest.raises(RunFolderError, match="no checkpoint of this run is whole: start it anew"):
        run(begun)
    assert (begun / "metrics.csv").read_bytes() == rows


@pytest.mark.parametrize("damage", ["cut", "edited", "deleted", "doubled"])
def test_rows_damaged_by_hand_are_restored_with_none_lost_or_doubled(damage, begun, whole, capsys):
    path = begun / "metrics.csv"
    text = path.read_text()
    if damage == "cut":
        path.write_text(text[:-40])
    elif damage == "edited":
        path.write_text(text.replace("1,", "7,", 1))
    elif damage == "doubled":
        path.write_text(text + text.splitlines()[-1] + "\n")
    else:
        path.unlink()
    run(begun)
    assert result(begun) == result(whole)
    assert (begun / "metrics.csv.edited-1").exists() == (damage == "edited")
    assert ("changed by hand" in capsys.readouterr().err) == (damage == "edited")


@pytest.mark.parametrize("when", ["row", "checkpoint", "record"])
def test_a_full_disk_ends_with_advice_and_goes_on_when_there_is_space(when, whole, tmp_path, monkeypatch):
    folder = folder_of(tmp_path)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "row":
            original, count = RunWriter.append, iter(range(99))
            patch.setattr(
                RunWriter,
                "append",
                lambda self, row: full() if next(count) == 2 else original(self, row),
            )
        elif when == "checkpoint":
            patch.setattr(recorder, "save_checkpoint", full)
        else:
            patch.setattr(record_module, "write_atomically", full)
        with pytest.raises(
            RunFolderError, match="the disk is full: free some space, then give the same command"
        ):
            run(folder)
    run(folder)
    assert result(folder) == result(whole)


def test_a_folder_deleted_in_mid_run_is_said(tmp_path):
    folder = folder_of(tmp_path)

    class Deleting(StopAfter):
        def look(self):
            self.looks -= 1
            if self.looks == 0:
                shutil.rmtree(folder)
            return

    with pytest.raises(RunFolderError, match=r"gone: was (it|the folder) moved or deleted"):
        execute(SETTINGS, folder, Deleting(8))
    assert not folder.exists()


def test_other_data_than_the_run_was_begun_on_is_an_error_and_the_record_stays(begun, monkeypatch):
    record = (begun / "run.json").read_bytes()
    other = settings_of(*TINY, "data.mean=[0.3]")
    original = module.load_dataset

    def altered(data, seed, **_):
        return original(data.model_copy(update={"samples_per_class": 7}), seed)

    monkeypatch.setattr(module, "load_dataset", altered)
    with pytest.raises(RunFolderError, match="was begun on other data"):
        run(begun, other)
    assert (begun / "run.json").read_bytes() == record


def test_a_network_whose_code_changed_is_an_error(begun):
    with pytest.raises(RunFolderError, match=r"does not fit this network .*\n.*overwrite=true"):
        run(begun, settings_of(*TINY, "+net.width=9"))


def test_the_record_says_where_how_and_on_what_a_run_ran(whole):
    record = json.loads((whole / "run.json").read_text())
    assert record["state"] == "complete"
    assert record["settings"] == json.loads(SETTINGS.model_dump_json(by_alias=True))
    assert record["identity"] == identity(SETTINGS)
    assert (record["num_classes"], record["train_images"], record["test_images"]) == (10, 60, 297)
    assert record["features"] == 12
    assert len(record["data_fingerprint"]) == 64
    assert set(record["versions"]) == {"nc_runner", "python", "torch", "torchvision"}
    assert record["device"] == "cpu" or record["device"].startswith(("cuda", "mps"))


def test_a_diverged_run_keeps_its_rows(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    monkeypatch.setattr(LearningRate, "__call__", lambda self, epoch, step: 0.1 if epoch < 3 else 1e30)
    with pytest.raises(DivergedError, match="epoch 3"):
        run(folder)
    record = read_run_file(folder)
    assert record["state"] == "diverged"
    assert "epoch 3" in record["reason"]
    assert len(pd.read_csv(folder / "metrics.csv")) == 2


def test_a_divergence_at_the_last_step_is_recorded_as_one(tmp_path):
    with pytest.raises(DivergedError, match="epoch 1"):
        run(folder_of(tmp_path), settings_of(*TINY, "batch_size=60", "epochs=1", "lr=1e30"))
    assert read_run_file(tmp_path / "run")["state"] == "diverged"


class Notes:
    """A tracker that keeps what it is given."""

    def __init__(self, folder):
        self.folder, self.rows, self.closed = folder, [], 0

    def add(self, row):
        assert len(pd.read_csv(self.folder / "metrics.csv")) > len(self.rows)  # the row is in the table
        self.rows.append(row)

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("looks", [12, 999])
def test_trackers_get_every_row_and_are_closed_however_the_run_ends(looks, tmp_path):
    opened = []

    def note(folder):
        opened.append(Notes(folder))
        return opened[-1]

    folder = folder_of(tmp_path)
    with contextlib.suppress(StopRequested):
        execute(SETTINGS, folder, StopAfter(looks), trackers=[note, note])
    rows = pd.read_csv(folder / "metrics.csv")
    assert len(opened) == 2
    for tracker in opened:
        assert [row["epoch"] for row in tracker.rows] == rows["epoch"].tolist()
        assert tracker.rows[-1].keys() == set(rows.columns)
        assert tracker.closed == 1


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_progress_names_the_run_and_shows_the_central_path_for_mse_alone(loss, tmp_path, capsys):
    settings = settings_of(*TINY, f"loss={loss}", "progress=plain", "epochs=2")
    execute(settings, folder_of(tmp_path), StopSignals(), label="[2/4]")
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(f"[2/4] epoch {n}/2  loss") for n, line in enumerate(lines, 1)] == [True, True]
    log = (tmp_path / "run" / "nc-run.log").read_text()
    assert all(("L_perp/L_LS" in text) == (loss == "mse") for text in (*lines, log))


@pytest.mark.parametrize(("seconds", "saved"), [(0, 4), (1e-9, 4 * 3 + 4 * 2 + 1), (1e9, 1)])
def test_checkpoints_are_taken_when_due_and_at_the_end(seconds, saved, tmp_path, monkeypatch):
    """After every epoch, or at each of 3 steps and 2 batches of a measurement, or at the end alone."""
    count = []
    monkeypatch.setattr(recorder, "save_checkpoint", lambda folder, state: count.append(state["epoch"]))
    run(folder_of(tmp_path), settings_of(*TINY, f"checkpoint_seconds={seconds}"))
    assert len(count) == saved
    assert count[-1] == 4


def test_out_of_gpu_memory_says_which_batch_size_to_try(tmp_path, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module.Trainer, "run", no_memory)
    with pytest.raises(
        TrainingError, match=r"batch_size=20 and .*=512\ntry batch_size=10 or .*batch_size=128"
    ):
        run(folder_of(tmp_path))
    assert read_run_file(tmp_path / "run")["state"] == "failed"


def test_an_unforeseen_error_is_recorded_with_its_traceback_in_the_log(tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module.Trainer, "run", broken)
    with pytest.raises(ZeroDivisionError):
        run(folder_of(tmp_path))
    assert read_run_file(tmp_path / "run")["reason"] == "ZeroDivisionError: a bug"
    assert "Traceback" in (tmp_path / "run" / "nc-run.log").read_text()


def test_nothing_is_logged_into_an_earlier_runs_folder(whole, tmp_path):
    before = (whole / "nc-run.log").read_bytes()
    run(folder_of(tmp_path))
    assert (whole / "nc-run.log").read_bytes() == before
