"""The weights of single epochs that a run keeps: which, of what, and through stops, faults and resumption."""

import shutil

import pandas as pd
import pytest
import torch
from helpers.lab import settings_of
from helpers.stops import StopAfter

from nc_runner.columns import TIME_COLUMNS
from nc_runner.errors import RunFolderError
from nc_runner.training import recorder
from nc_runner.training.run import execute, prepare
from nc_runner.training.signals import StopRequested, StopSignals
from nc_runner.training.weights import kept_epochs, load_weights, save_weights

TINY = (
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6",
    "batch_size=20", "epochs=4", "progress=none", "checkpoint_seconds=0",
)  # fmt: skip
KEPT = settings_of(*TINY, "keep_checkpoints=analysed")
PLAIN = settings_of(*TINY)


def folder_of(tmp_path, name="run"):
    (tmp_path / name).mkdir(exist_ok=True)
    return tmp_path / name


def run(folder, settings=KEPT):
    execute(settings, folder, StopSignals())
    return folder


def kept(folder):
    """Every epoch's weights, to the last bit."""
    return {
        epoch: {name: value.tolist() for name, value in load_weights(folder, epoch).items()}
        for epoch in kept_epochs(folder)
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(folder_of(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        (["keep_checkpoints=none"], []),
        (["keep_checkpoints=analysed", "analysis.schedule=[2]"], [2, 4]),
        (["keep_checkpoints=[3,1,3]", "analysis.schedule=[2]"], [1, 3]),
    ],
)
def test_the_epochs_that_are_asked_for_are_kept(overrides, epochs, tmp_path):
    folder = run(folder_of(tmp_path), settings_of(*TINY, *overrides))
    assert kept_epochs(folder) == epochs
    files = sorted(path.name for path in (folder / "weights").iterdir()) if epochs else []
    assert files == [f"epoch-{epoch:04d}.pt" for epoch in epochs]


@pytest.mark.parametrize("classifier", ["gradient", "least_squares"])
def test_the_weights_are_those_that_the_row_was_measured_with(classifier, tmp_path):
    settings = settings_of(*TINY, "keep_checkpoints=analysed", f"classifier={classifier}")
    folder = run(folder_of(tmp_path), settings)
    rows = pd.read_csv(folder / "metrics.csv").set_index("epoch")
    measurer = prepare(settings_of(*TINY)).measurer  # of the gradient's kind: it fits nothing
    for epoch in kept_epochs(folder):
        measurer.network.model.load_state_dict(load_weights(folder, epoch))
        row = measurer.measure().row
        for column in ("train_loss", "test_loss", "nc1", "mse_perp", "train_loss_regularized"):
            assert row[column] == pytest.approx(rows.loc[epoch, column], rel=1e-12, abs=1e-15), column
    assert {name for name in load_weights(folder, 1) if "running" in name}  # buffers too


def test_keeping_weights_changes_no_row(whole, tmp_path):
    other = run(folder_of(tmp_path), PLAIN)
    tables = (pd.read_csv(f / "metrics.csv").drop(columns=list(TIME_COLUMNS)) for f in (whole, other))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("looks", [0, 3, 5, 6, 9, 12, 19])
@pytest.mark.parametrize("killed", [False, True])
def test_a_run_stopped_anywhere_keeps_every_epoch_once(looks, killed, whole, tmp_path):
    folder = folder_of(tmp_path)
    with pytest.raises((StopRequested, KeyboardInterrupt)):
        execute(KEPT, folder, StopAfter(looks, killed))
    run(folder)
    assert kept(folder) == kept(whole)
    assert len(list((folder / "weights").iterdir())) == 4


def test_a_run_stopped_between_the_row_and_the_weights_writes_them_when_it_resumes(
    whole, tmp_path, monkeypatch
):
    folder = folder_of(tmp_path)

    def stop(folder, epoch, model):
        if epoch == 3:
            raise KeyboardInterrupt
        save_weights(folder, epoch, model)

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "save_weights", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert len(pd.read_csv(folder / "metrics.csv")) == 3
    assert kept_epochs(folder) == [1, 2]
    run(folder)
    assert kept(folder) == kept(whole)


def test_weights_after_the_checkpoint_are_computed_again(whole, tmp_path):
    """As the rows are: what is kept belongs to the run that is in the checkpoint."""
    folder = folder_of(tmp_path)
    with pytest.raises(StopRequested):
        execute(KEPT, folder, StopAfter(7))
    shutil.copy(whole / "weights" / "epoch-0001.pt", folder / "weights" / "epoch-0003.pt")
    (folder / "weights" / "epoch-0002.pt.tmp").write_bytes(b"cut short")
    with pytest.raises(StopRequested):
        execute(KEPT, folder, StopAfter(0))
    assert [path.name for path in (folder / "weights").iterdir()] == ["epoch-0001.pt"]
    run(folder)
    assert kept(folder) == kept(whole)


def test_weights_that_are_asked_for_too_late_are_named_in_one_line(whole, tmp_path, capsys):
    """The checkpoint has those of the last epoch that is done."""
    folder = folder_of(tmp_path)
    with pytest.raises(StopRequested):
        execute(PLAIN, folder, StopAfter(15))  # at the first step of the fourth epoch
    shutil.rmtree(folder / "weights", ignore_errors=True)
    run(folder)
    assert kept_epochs(folder) == [4]
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no weights of epochs 1, 2, 3: keep_checkpoints keeps them only while a run trains" in line
    assert line.endswith("overwrite=true trains it again")
    metrics = folder / "metrics.csv"
    metrics.write_bytes(metrics.read_bytes()[:-9])  # so that the finished run is looked at again
    (folder / "weights" / "epoch-0004.pt").unlink()
    run(folder)
    assert kept(folder)[4] == kept(whole)[4]


def test_a_missing_epoch_says_which_there_are(whole, tmp_path):
    with pytest.raises(RunFolderError, match=r"no weights of epoch 7\nit has those of 1, 2, 3, 4"):
        load_weights(whole, 7)
    with pytest.raises(RunFolderError, match=r"no weights of epoch 1\nkeep_checkpoints keeps them"):
        load_weights(tmp_path, 1)


@pytest.mark.parametrize("damage", ["cut", "bit", "renamed", "newer", "other"])
def test_damaged_weights_are_an_error(damage, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    path = folder / "weights" / "epoch-0002.pt"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-300])
    elif damage == "bit":
        place = content.find(load_weights(folder, 2)["hidden.weight"].numpy().tobytes())
        content[place] ^= 1
        path.write_bytes(content)
    elif damage == "renamed":
        shutil.copy(folder / "weights" / "epoch-0003.pt", path)
    else:
        torch.save({"format": 99} if damage == "newer" else {"weight": torch.ones(2)}, path)
    with pytest.raises(
        RunFolderError, match=r"newer" if damage == "newer" else r"0002\.pt is damaged \("
    ) as e:
        load_weights(folder, 2)
    assert len(str(e.value).splitlines()) == 2


def test_a_failed_write_leaves_no_debris(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(tmp_path, 1, {"weight": torch.ones(2)})
    assert not list((tmp_path / "weights").iterdir())


def test_names_have_four_digits_or_more(tmp_path):
    for epoch in (12, 12345):
        save_weights(tmp_path, epoch, {"weight": torch.tensor(epoch)})
    names = sorted(path.name for path in (tmp_path / "weights").iterdir())
    assert names == ["epoch-0012.pt", "epoch-12345.pt"]
    assert kept_epochs(tmp_path) == [12, 12345]
    assert load_weights(tmp_path, 12345)["weight"] == 12345
