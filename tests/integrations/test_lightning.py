"""The Lightning callback: right rows, in the right places, and a training that does not notice it."""

import copy
import json
import os
import subprocess
import warnings
from pathlib import Path

import lightning.pytorch as lightning
import numpy as np
import pytest
import pytorch_lightning
import torch
from helpers.lab import TinyNetwork, settings_of
from helpers.lab import trainer_of as trainer_of_nc_run
from helpers.launched import TORCHRUN
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import nc_runner
from nc_runner.data.batches import Batches
from nc_runner.data.dataset import load_dataset
from nc_runner.errors import ConfigError, MeasurementError, MeasurementWarning, RunFolderError
from nc_runner.integrations.lightning import NeuralCollapse, Source
from nc_runner.measurement.losses import mse
from nc_runner.runs.reader import read_run

TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning"),
    pytest.mark.filterwarnings("ignore:.*(does not have many workers|log_every_n_steps|dynamo):UserWarning"),
]


def digits(part):
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images.astype(np.float32)).view(-1, 1, 8, 8) / 16
    return TensorDataset(images[part], torch.from_numpy(labels)[part])


TRAIN, TEST = digits(slice(0, 300)), digits(slice(1500, 1600))


class Module(lightning.LightningModule):
    """Dropout and batch norm: a training that draws random numbers and keeps running statistics."""

    def __init__(self, lr=0.1):
        super().__init__()
        torch.manual_seed(1)
        self.net = TinyNetwork(10, 1, 8)
        self.lr = lr

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, index):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images + 0.01 * torch.randn_like(images)), labels)

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def trainer_of(folder, *callbacks, epochs=2, module=lightning, **options):
    given = {"logger": False, "enable_checkpointing": False, **options}
    return module.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, callbacks=list(callbacks), default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, **given,
    )  # fmt: skip


def fit(folder, *callbacks, model=None, train=None, val=True, **options):
    """Train on shuffled digits; the model. Each call draws the same random numbers."""
    torch.manual_seed(0)
    model = model or Module()
    train = train or DataLoader(TRAIN, batch_size=32, shuffle=True, drop_last=True)
    val = DataLoader(TEST, batch_size=50) if val is True else val
    trainer_of(folder, *callbacks, **options).fit(model, train, val)
    return model


def assert_same_weights(model, other):
    for name, tensor in model.state_dict().items():
        assert tensor.equal(other.state_dict()[name]), name


def loader_with_its_own_generator():
    return DataLoader(TRAIN, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(5))


def loader_of_a_subset():
    return DataLoader(TRAIN, batch_size=32, sampler=SubsetRandomSampler(range(100, 300)))


def loader_with_workers_that_persist():
    return DataLoader(TRAIN, batch_size=32, shuffle=True, num_workers=1, persistent_workers=True)


@pytest.mark.parametrize(
    "loader", [None, loader_with_its_own_generator, loader_of_a_subset, loader_with_workers_that_persist]
)
def test_the_weights_are_those_of_a_training_without_it(tmp_path, loader):
    plain = fit(tmp_path, train=loader and loader())
    callback = NeuralCollapse(at_start=True, metrics="all")
    measured = fit(tmp_path, callback, train=loader and loader())
    assert_same_weights(plain, measured)
    assert [row["epoch"] for row in callback.rows] == [0, 1, 2]


def test_random_transforms_of_numpy_and_python_do_not_disturb_either(tmp_path):
    import random

    class Jittered(torch.utils.data.Dataset):
        def __len__(self):
            return len(TRAIN)

        def __getitem__(self, index):
            image, label = TRAIN[index]
            return image * np.float32(np.random.rand()) + random.random(), label  # noqa: NPY002

    def weights(*callbacks):
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        return fit(tmp_path, *callbacks, train=DataLoader(Jittered(), batch_size=32, shuffle=True))

    assert_same_weights(weights(), weights(NeuralCollapse()))


def test_rows_are_those_of_measure_of_the_whole_sets(tmp_path):
    callback = NeuralCollapse(model="net", metrics="all", weight_decay=1e-3, layers=["hidden"])
    model = fit(tmp_path, callback)
    expected = nc_runner.measure(
        model.net, DataLoader(TRAIN, batch_size=512), test=DataLoader(TEST, batch_size=512), metrics="all",
        weight_decay=1e-3, layers=["hidden"],
    )  # fmt: skip
    row = callback.rows[-1]
    for name, value in expected.row.items():
        if name not in ("epoch", "lr", "train_seconds", "analysis_seconds"):
            assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name
    assert (row["epoch"], row["lr"]) == (2, 0.05)  # the rate of its steps, not the next epoch's
    assert callback.rows[0]["lr"] == 0.1
    assert callback.recording.layers[-1]["nc1"] == pytest.approx(expected.layers[-1]["nc1"], rel=1e-4)


def test_a_subset_that_a_sampler_chooses_is_what_is_measured(tmp_path):
    callback = NeuralCollapse()
    model = fit(tmp_path, callback, train=loader_of_a_subset())
    subset = torch.utils.data.Subset(TRAIN, range(100, 300))
    row = nc_runner.measure(model, DataLoader(subset, batch_size=512)).row
    assert callback.rows[-1]["nc1"] == pytest.approx(row["nc1"], rel=1e-4)


def test_columns_are_logged_for_loggers_and_monitors_without_nan(tmp_path):
    keep = ModelCheckpoint(tmp_path / "best", monitor="nc/nc1", filename="{epoch}")
    callback = NeuralCollapse(at_start=True)
    logger = CSVLogger(tmp_path, name="logs", version="one")
    fit(tmp_path, callback, keep, val=None, logger=logger, enable_checkpointing=True)
    lines = (tmp_path / "logs" / "one" / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [int(row["step"]) for row in rows] == [0, 8, 17]  # nine steps an epoch; Lightning counts from 0
    for logged, row in zip(rows, callback.rows, strict=True):
        assert float(logged["nc/nc1"]) == pytest.approx(row["nc1"], rel=1e-6)
        assert "nc/test_loss" not in logged
        assert "nc/epoch" not in logged
    assert rows[0]["nc/lr"] == ""
    assert float(keep.best_model_score) == pytest.approx(min(row["nc1"] for row in callback.rows[1:]))


def test_only_the_chosen_epochs_are_measured(tmp_path):
    callback = NeuralCollapse(every=[0, 2], test=None)
    every = NeuralCollapse(every=2, prefix="b/")
    fit(tmp_path, callback, every, epochs=4)
    assert [row["epoch"] for row in callback.rows] == [0, 2]
    assert [row["epoch"] for row in every.rows] == [2, 4]
    assert np.isnan(callback.rows[-1]["test_loss"])
    assert every.rows[-1]["test_loss"] > 0


def test_batches_of_ones_own_are_measured_as_they_are(tmp_path):
    batches = [tuple(TRAIN[:100]), tuple(TRAIN[100:200])]
    callback = NeuralCollapse(train=batches, test=[tuple(TEST[:50])], ood=[TEST[50:][0]], metrics="all")
    model = fit(tmp_path, callback)
    row = nc_runner.measure(model, batches, test=[tuple(TEST[:50])], ood=[TEST[50:][0]], metrics="all").row
    for name in ("nc1", "test_loss", "nc5_ood_orthogonality"):
        assert callback.rows[-1][name] == row[name]


def test_the_run_folder_is_read_by_plots_and_tables(tmp_path):
    out = tmp_path / "runs" / "one"
    callback = NeuralCollapse(out=out, metrics=["nc1_cdnv"], layers=["net.hidden"], at_start=True)
    fit(tmp_path, callback)
    run = read_run(out)
    assert (run.state, run.epochs, run.lr, run.cell) == (
        "complete",
        2,
        0.1,
        ("Module", "TensorDataset", "ce"),
    )
    assert not run.warnings
    assert list(run.rows["epoch"]) == [0, 1, 2]
    assert run.rows["nc1_cdnv"].iloc[-1] == callback.rows[-1]["nc1_cdnv"]
    assert len(run.layers) == 3
    table = nc_runner.read_runs(tmp_path / "runs")
    assert table["nc1"].tolist() == [row["nc1"] for row in callback.rows]
    with pytest.raises(RunFolderError, match="holds measured rows already"):
        fit(tmp_path, NeuralCollapse(out=out))
    named = Source(net="tiny", data="digits")
    fit(tmp_path, NeuralCollapse(out=out, overwrite=True, source=named), epochs=1)
    assert read_run(out).cell == ("tiny", "digits", "ce")
    assert len(read_run(out).rows) == 1


def test_a_training_that_fails_or_is_stopped_leaves_its_rows(tmp_path):
    class Stops(lightning.Callback):
        def __init__(self, error):
            self.error = error

        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                raise self.error

    with pytest.raises(ValueError, match="no disk"):
        fit(tmp_path, NeuralCollapse(out=tmp_path / "failed"), Stops(ValueError("no disk")))
    failed = read_run(tmp_path / "failed")
    assert (failed.state, failed.reason, len(failed.rows)) == ("failed", "ValueError: no disk", 1)
    with pytest.raises(SystemExit):  # Lightning's answer to Ctrl-C
        fit(tmp_path, NeuralCollapse(out=tmp_path / "stopped"), Stops(KeyboardInterrupt()))
    assert read_run(tmp_path / "stopped").state == "interrupted"


def test_a_resumed_training_goes_on_with_the_folder(tmp_path):
    out, checkpoints = tmp_path / "run", tmp_path / "checkpoints"
    keep = ModelCheckpoint(checkpoints, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    first = NeuralCollapse(out=out, layers=["net.hidden"])
    fit(tmp_path, first, keep, epochs=3, enable_checkpointing=True)
    again = NeuralCollapse(out=out, layers=["net.hidden"])
    trainer = trainer_of(tmp_path, again, epochs=4)
    trainer.fit(Module(), DataLoader(TRAIN, batch_size=32, shuffle=True, drop_last=True),
                DataLoader(TEST, batch_size=50), ckpt_path=checkpoints / "epoch=1.ckpt")  # fmt: skip
    run = read_run(out)
    assert list(run.rows["epoch"]) == [1, 2, 3, 4]
    assert list(run.layers["epoch"]) == [1, 2, 3, 4]
    assert run.rows["nc1"].tolist()[:2] == [row["nc1"] for row in first.rows[:2]]
    assert [row["epoch"] for row in again.rows] == [1, 2, 3, 4]
    assert run.state == "complete"


def test_hooks_that_transfer_a_batch_are_used_as_in_training(tmp_path):
    class Scaled(Module):
        def on_after_batch_transfer(self, batch, index):
            return 2 * batch[0], batch[1]

    callback = NeuralCollapse()
    model = fit(tmp_path, callback, model=Scaled())
    doubled = [(2 * TRAIN[:][0], TRAIN[:][1])]
    assert callback.rows[-1]["nc1"] == pytest.approx(nc_runner.measure(model, doubled).row["nc1"], rel=1e-4)


def test_a_data_module_and_its_hooks(tmp_path):
    class Data(lightning.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(TRAIN, batch_size=32, shuffle=True)

        def on_before_batch_transfer(self, batch, index):
            return 3 * batch[0], batch[1]

    callback = NeuralCollapse(out=tmp_path / "run")
    model = Module()
    trainer_of(tmp_path, callback, epochs=1).fit(model, datamodule=Data())
    tripled = [(3 * TRAIN[:][0], TRAIN[:][1])]
    assert callback.rows[-1]["nc1"] == pytest.approx(nc_runner.measure(model, tripled).row["nc1"], rel=1e-4)
    assert read_run(tmp_path / "run").cell[1] == "Data"


def test_a_module_that_computes_in_half_precision_is_measured_so(tmp_path):
    callback = NeuralCollapse()
    with pytest.warns(MeasurementWarning, match="computes in bfloat16"):
        fit(tmp_path, callback, precision="bf16-true")
    assert callback.rows[-1]["nc1"] > 0


def test_under_autocast_the_measurement_is_in_full_precision(tmp_path):
    callback = NeuralCollapse()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the model computes in")
        model = fit(tmp_path, callback, precision="bf16-mixed")
    row = nc_runner.measure(model, DataLoader(TRAIN, batch_size=512)).row
    assert callback.rows[-1]["nc1"] == pytest.approx(row["nc1"], rel=1e-4)


def test_a_trial_run_measures_its_one_batch_and_writes_no_folder(tmp_path):
    callback = NeuralCollapse(out=tmp_path / "run", min_samples=1)
    fit(tmp_path, callback, fast_dev_run=True)
    assert len(callback.rows) == 1
    assert not (tmp_path / "run").exists()


def test_a_module_and_trainer_of_pytorch_lightning_are_measured_too(tmp_path):
    class Older(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = TinyNetwork(10, 1, 8)

        forward = Module.forward
        training_step = Module.training_step

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = NeuralCollapse()
    trainer = trainer_of(tmp_path, callback, module=pytorch_lightning)
    trainer.fit(Older(), DataLoader(TRAIN, batch_size=32, shuffle=True))
    assert [row["epoch"] for row in callback.rows] == [1, 2]
    assert callback.rows[0]["lr"] == 0.1
    assert float(trainer.callback_metrics["nc/nc1"]) == pytest.approx(callback.rows[-1]["nc1"], rel=1e-6)


def test_a_compiled_module_is_measured(tmp_path):
    callback = NeuralCollapse()
    module = Module().eval()
    compiled = torch.compile(module, backend="eager")
    with torch.no_grad():
        compiled(TRAIN[:50][0])  # code that knows of no hooks
    trainer_of(tmp_path, callback, epochs=1).fit(compiled, DataLoader(TRAIN, batch_size=50, shuffle=True))
    row = nc_runner.measure(module.net, DataLoader(TRAIN, batch_size=512)).row
    assert callback.rows[-1]["nc1"] == pytest.approx(row["nc1"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "all"}, "there is no option metric; did you mean metrics"),
        ({"every": 0}, "every=0 must be a whole number from 1 on"),
        ({"every": [1, -2]}, "or a list of epochs"),
        ({"ridge": "none"}, "ridge=none is unknown"),
        ({"loss": "hinge"}, "loss=hinge is unknown"),
        ({"test": "eval"}, "give val, batches, or None"),
    ],
)
def test_wrong_options_are_errors_before_training(options, message):
    with pytest.raises((ConfigError, MeasurementError), match=message):
        NeuralCollapse(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "body"}, "Module has no such module\nits parts are: net"),
        ({"train": iter([])}, "can be read only once"),
        ({"metrics": ["nc1_cdnw"]}, "did you mean nc1_cdnv"),
    ],
)
def test_what_does_not_fit_the_trainer_is_an_error_when_training_starts(tmp_path, options, message):
    with pytest.raises(MeasurementError, match=message):
        fit(tmp_path, NeuralCollapse(**options))


def test_several_loaders_ask_for_one(tmp_path):
    class TwoSets(Module):
        def validation_step(self, batch, index, dataloader_idx=0):
            self(batch[0])

    two = [DataLoader(TEST, batch_size=50)] * 2
    with pytest.raises(MeasurementError, match=r"2 test dataloaders, not one\ngive test=batches"):
        fit(tmp_path, NeuralCollapse(), model=TwoSets(), val=two)
    given = NeuralCollapse(test=two[0])
    fit(tmp_path, given, model=TwoSets(), val=two)
    assert given.rows[-1]["test_loss"] > 0


def test_rows_are_those_of_nc_run_for_the_same_weights(tmp_path):
    """A ResNet8 on the real digits, in the batches that nc-run measures on: all columns, to 1e-9."""
    dataset = load_dataset(settings_of().data, seed=0, ood=None, device=torch.device("cpu"))
    lab = trainer_of_nc_run("net=resnet8", "analysis.metrics=all", "weight_decay=1e-3", dataset=dataset)
    plan = lab.measurer.plan
    batches = {
        name: Batches(dataset, name, plan.batch_size, plan.channels_last) for name in ("train", "test")
    }

    class Wrapped(Module):
        def __init__(self):
            super().__init__(lr=0.05)
            self.net = copy.deepcopy(lab.measurer.network.model)

    callback = NeuralCollapse(model="net", metrics="all", weight_decay=1e-3, loss=mse, **batches)
    model = Wrapped()
    training = DataLoader(list(Batches(dataset, "train", 100)), batch_size=None, shuffle=True)
    trainer_of(tmp_path, callback, epochs=1).fit(model, training)
    lab.measurer.network.model.load_state_dict(model.net.state_dict())
    expected, row = lab.measurer.measure().row, callback.rows[-1]
    assert set(row) - set(expected) == {"epoch", "lr", "train_seconds", "analysis_seconds"}
    assert 0.5 < row["train_accuracy"] < 1
    for name, value in expected.items():
        near = {"rel": 1e-6} if "loss" in name else {"rel": 1e-9, "abs": 1e-12}
        assert row[name] == pytest.approx(value, **near), name


def test_two_processes_log_the_row_of_the_whole_sets(tmp_path):
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", "-m", "helpers.lightning_on_ranks", tmp_path],
        cwd=TESTS, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = json.loads((tmp_path / "ends.json").read_text())
    first, second = ends["rows"]
    assert first == second
    assert [row["epoch"] for row in first] == [0, 1, 2]
    assert ends["logged"] == [pytest.approx(first[-1]["nc1"], rel=1e-6)] * 2
    for name, value in ends["alone"].items():
        if name.startswith(("nc", "snr", "mse", "train_loss", "test_")):
            assert first[-1][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert ends["equal weights"] == [True, True]
    assert ends["errors"] == ["model=body: Module has no such module"] * 2
    assert len(read_run(tmp_path / "run").rows) == 3
