"""The callback of Transformers' Trainer: right rows, in the log, and a training that does not notice it."""

import json
import math
import os
import re
import string
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.launched import TORCHRUN
from torch.utils.data import DataLoader, Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

import nc_runner
from nc_runner.errors import ConfigError, MeasurementError, RunFolderError
from nc_runner.integrations.transformers import NeuralCollapseCallback
from nc_runner.runs.reader import read_run

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")
MODULES = (re, string, textwrap, subprocess)  # the class of a text is whose lines it is from


class Lines(Dataset):
    """Real text: lines of the standard library's source, as bytes, of the module that each is from."""

    def __init__(self, part):
        self.items = []
        for label, module in enumerate(MODULES):
            lines = [line.strip() for line in Path(module.__file__).read_text().splitlines()]
            lines = [line for line in lines if len(line) > 20][:60]
            self.items += [(line, label) for line in lines[part]]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        line, label = self.items[index]
        tokens = list(line.encode("ascii", "replace"))[:24]
        padding = 24 - len(tokens)
        return {
            "input_ids": tokens + [0] * padding,
            "attention_mask": [1] * len(tokens) + [0] * padding,
            "label": label,  # the collator calls it labels
        }


TRAIN, TEST = Lines(slice(0, 40)), Lines(slice(40, 60))


def bert():
    return BertForSequenceClassification(
        BertConfig(vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=64, max_position_embeddings=32, num_labels=4)
    )  # fmt: skip


def trainer_of(folder, **options):
    set_seed(3)
    given = {"num_train_epochs": 2, "save_strategy": "no", "report_to": "none", **options}
    arguments = TrainingArguments(
        str(folder / "trainer"), use_cpu=True, per_device_train_batch_size=16, disable_tqdm=True, seed=3,
        learning_rate=1e-3, **given,
    )  # fmt: skip
    return Trainer(bert(), arguments, train_dataset=TRAIN, eval_dataset=TEST)


def trained(folder, options=None, **given):
    """The trainer after training, and its callback where ``options`` are given."""
    trainer, callback = trainer_of(folder, **given), None
    if options is not None:
        callback = NeuralCollapseCallback(trainer, **options)
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


def batches_of(dataset):
    loader = DataLoader(dataset, batch_size=512, collate_fn=trainer_collator)
    return list(loader)


def trainer_collator(items):
    names = {"input_ids": "input_ids", "attention_mask": "attention_mask", "label": "labels"}
    return {new: torch.tensor([item[old] for item in items]) for old, new in names.items()}


@pytest.mark.parametrize(
    "given",
    [{}, pytest.param({"eval_strategy": "epoch", "dataloader_num_workers": 1}, marks=pytest.mark.slow)],
)
def test_the_weights_are_those_of_a_training_without_it(tmp_path, given):
    plain, _ = trained(tmp_path, **given)
    measured, callback = trained(tmp_path, {"at_start": True, "metrics": "all"}, **given)
    for name, tensor in plain.model.state_dict().items():
        assert tensor.equal(measured.model.state_dict()[name]), name
    assert [row["epoch"] for row in callback.rows] == [0, 1, 2]


def test_rows_are_those_of_measure_and_are_in_the_log(tmp_path):
    logged = []

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logged.append(dict(logs))

    trainer = trainer_of(tmp_path, weight_decay=0.0)
    callback = NeuralCollapseCallback(trainer, metrics="all")
    trainer.add_callback(callback)
    trainer.add_callback(Reporter())
    trainer.train()
    expected = nc_runner.measure(trainer.model, batches_of(TRAIN), test=batches_of(TEST), metrics="all").row
    row = callback.rows[-1]
    for name, value in expected.items():
        if name not in ("epoch", "lr", "train_seconds", "analysis_seconds"):
            assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-5, nan_ok=True), name
    assert row["lr"] == pytest.approx(1e-3 / 20)  # of the last of twenty steps that decay linearly
    history = [entry for entry in trainer.state.log_history if "nc/nc1" in entry]
    assert [entry["step"] for entry in history] == [10, 20]
    assert [entry["nc/nc1"] for entry in history] == [row["nc1"] for row in callback.rows]
    assert not any(isinstance(value, float) and math.isnan(value) for value in history[0].values())
    assert [entry["nc/nc1"] for entry in logged if "nc/nc1" in entry] == [r["nc1"] for r in callback.rows]


def test_rows_may_come_at_evaluations_by_step(tmp_path):
    trainer, callback = trained(
        tmp_path,
        {"at": "evaluation", "every": 2, "out": tmp_path / "run"},
        eval_strategy="steps",
        eval_steps=4,
    )
    assert [row["epoch"] for row in callback.rows] == [8, 16]
    trainer.evaluate()  # after training: not measured
    run = read_run(tmp_path / "run")
    assert list(run.rows["epoch"]) == [8, 16]
    assert (run.state, run.epochs) == ("complete", 20)


def test_the_run_folder_and_its_resumption(tmp_path):
    out = tmp_path / "run"
    _, first = trained(tmp_path, {"out": out, "at_start": True}, save_strategy="epoch")
    run = read_run(out)
    assert list(run.rows["epoch"]) == [0, 1, 2]
    assert (run.state, run.lr, run.cell) == (
        "complete", 1e-3, ("BertForSequenceClassification", "Lines", "ce"),
    )  # fmt: skip
    again = trainer_of(tmp_path, save_strategy="no")
    callback = NeuralCollapseCallback(again, out=out)
    again.add_callback(callback)
    again.train(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-10"))
    rows = read_run(out).rows
    assert list(rows["epoch"]) == [0, 1, 2]
    assert rows["nc1"].tolist() == pytest.approx([row["nc1"] for row in first.rows], rel=1e-6)
    another = trainer_of(tmp_path)
    another.add_callback(NeuralCollapseCallback(another, out=out))
    with pytest.raises(RunFolderError, match="holds measured rows already"):
        another.train()


def test_data_sets_and_batches_of_ones_own(tmp_path):
    options = {"train": batches_of(TEST), "test": TRAIN, "ood": batches_of(TRAIN), "metrics": "all"}
    trainer, callback = trained(tmp_path, options, num_train_epochs=1)
    expected = nc_runner.measure(
        trainer.model, batches_of(TEST), test=batches_of(TRAIN), ood=batches_of(TRAIN), metrics="all"
    ).row
    for name in ("nc1", "test_loss", "nc5_ood_orthogonality"):
        assert callback.rows[-1][name] == pytest.approx(expected[name], rel=1e-4)


def test_a_training_that_ends_within_an_epoch_is_measured_there(tmp_path):
    _, callback = trained(tmp_path, {"test": None}, max_steps=14)
    assert [row["epoch"] for row in callback.rows] == [1, 2]
    assert np.isnan(callback.rows[-1]["test_loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "all"}, "there is no option metric; did you mean metrics"),
        ({"every": -1}, "every=-1 must be a whole number from 1 on"),
        ({"at": "step"}, "give epoch or evaluation"),
        ({"test": "val"}, "give eval, a data set, batches, or None"),
    ],
)
def test_wrong_options_are_errors_before_training(tmp_path, options, message):
    with pytest.raises((ConfigError, MeasurementError), match=message):
        NeuralCollapseCallback(trainer_of(tmp_path), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "roberta"}, "has no such module\nits parts are: bert, dropout, classifier"),
        ({"test": {"a": TEST, "b": TEST}}, "2 test data sets\ngive one as test="),
        ({"train": iter(batches_of(TRAIN))}, "can be read only once"),
    ],
)
def test_what_does_not_fit_the_trainer_is_an_error_when_training_starts(tmp_path, options, message):
    with pytest.raises(MeasurementError, match=message):
        trained(tmp_path, options)


@pytest.mark.slow
def test_two_processes_log_the_row_of_the_whole_sets(tmp_path):
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", "-m", "helpers.transformers_on_ranks", tmp_path],
        cwd=TESTS, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = json.loads((tmp_path / "ends.json").read_text())
    assert ends["rows"][0] == ends["rows"][1]
    assert [row["epoch"] for row in ends["rows"][0]] == [1]
    for name in ("nc1", "train_accuracy", "test_loss", "nc4_ncc_mismatch"):
        assert ends["rows"][0][0][name] == pytest.approx(ends["alone"][name], rel=1e-4), name
    assert ends["equal weights"] == [True, True]
    assert ends["logged"] == [ends["rows"][0][0]["nc1"]] * 2
    assert len(read_run(tmp_path / "run").rows) == 1
