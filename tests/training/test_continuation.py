"""A finished run is continued, not repeated, when epochs is raised and the rates do not depend on it."""

import json
import shutil

import pandas as pd
import pytest
import torch
from helpers.lab import settings_of
from helpers.stops import StopAfter

from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.identity import folder_name
from nc_runner.runs.record import read_run_file
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals
from nc_runner.training.weights import kept_epochs, load_weights

TINY = (
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6", "batch_size=20",
    "progress=none", "keep_checkpoints=analysed",
)  # fmt: skip
CONTINUED = {
    "constant": ("lr_schedule=constant", "lr_warmup_epochs=1", "optimizer=adamw"),
    "absolute milestones": ("lr_milestones=[2,4]", "lr_gamma=0.5"),
    "few rows, layers": ("lr_schedule=constant", "analysis.schedule=[0,2,5]", "analysis.layers=[hidden]"),
    "least squares": ("lr_milestones=[2,4]", "classifier=least_squares", "analysis.schedule=[5]"),
}


def carry_out(outputs, *overrides, signals=None):
    settings = settings_of(*TINY, *overrides)
    folder = outputs / folder_name(settings)
    folder.mkdir(parents=True, exist_ok=True)
    execute(settings, folder, signals or StopSignals())
    return folder


def result(folder):
    """What must be equal to the last bit."""
    tables = {}
    for name in ("metrics.csv", "layers.csv"):
        if (folder / name).exists():
            tables[name] = (
                pd.read_csv(folder / name).drop(columns=list(TIME_COLUMNS), errors="ignore").to_csv()
            )
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    weights = {key: value.tolist() for key, value in checkpoint["model"].items()}
    kept = {
        epoch: {key: value.tolist() for key, value in load_weights(folder, epoch).items()}
        for epoch in kept_epochs(folder)
    }
    return tables, weights, kept, checkpoint["random"]["torch"].tolist()


def epochs_trained(folder):
    record = read_run_file(folder)
    return record["settings"]["epochs"] - (record["resumed_from_epoch"] or 0)


@pytest.mark.parametrize("overrides", CONTINUED.values(), ids=CONTINUED)
def test_a_continued_run_is_one_trained_in_one_go_to_the_last_bit(overrides, tmp_path, capsys):
    whole = carry_out(tmp_path / "whole", "epochs=6", *overrides)
    shorter = carry_out(tmp_path, "epochs=3", *overrides)
    before = {path: path.read_bytes() for path in shorter.rglob("*") if path.is_file()}
    capsys.readouterr()
    longer = carry_out(tmp_path, "epochs=6", *overrides)
    assert capsys.readouterr().out.splitlines() == [
        f"continues {shorter.name}, which is finished, from epoch 3"
    ]
    assert epochs_trained(longer) == 3
    assert read_run_file(longer)["continued_from"] == shorter.name
    assert result(longer) == result(whole)
    assert {path: path.read_bytes() for path in shorter.rglob("*") if path.is_file()} == before


def test_the_longest_finished_run_is_continued(tmp_path):
    constant = "lr_schedule=constant"
    for epochs in (1, 3, 2):
        carry_out(tmp_path, constant, f"epochs={epochs}")
    assert epochs_trained(carry_out(tmp_path, constant, "epochs=5")) == 2


def test_a_run_that_is_killed_after_it_took_over_resumes_to_the_same_bits(tmp_path):
    overrides = ("lr_schedule=constant", "epochs=5", "checkpoint_seconds=0")
    whole = carry_out(tmp_path / "whole", *overrides)
    carry_out(tmp_path, *overrides[::2], "epochs=2")
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, *overrides, signals=StopAfter(1, killed=True))
    assert result(carry_out(tmp_path, *overrides)) == result(whole)


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ((), ()),  # fractions of the epochs
        (("lr_schedule=cosine",), ("lr_schedule=cosine",)),
        (("lr_schedule=constant",), ("lr_schedule=constant", "lr=0.2")),
        (("lr_schedule=constant",), ("lr_schedule=constant", "seed=1")),
        (("lr_schedule=constant",), ("lr_schedule=constant", "overwrite=true")),
    ],
)
def test_another_run_is_not_continued(shorter, longer, tmp_path):
    carry_out(tmp_path, "epochs=2", *shorter)
    folder = carry_out(tmp_path, "epochs=3", *longer)
    assert epochs_trained(folder) == 3
    assert "continued_from" not in read_run_file(folder)


@pytest.mark.parametrize("damage", ["state", "data", "checkpoint", "no checkpoint", "record"])
def test_a_run_that_is_not_finished_or_not_whole_is_not_continued(damage, tmp_path):
    constant = "lr_schedule=constant"
    shorter = carry_out(tmp_path, constant, "epochs=2")
    record = json.loads((shorter / "run.json").read_text())
    if damage == "state":
        (shorter / "run.json").write_text(json.dumps(record | {"state": "interrupted"}))
    elif damage == "data":
        (shorter / "run.json").write_text(json.dumps(record | {"data_fingerprint": "another"}))
    elif damage == "record":
        (shorter / "run.json").write_text("{")
    elif damage == "checkpoint":
        (shorter / "checkpoint.pt").write_bytes((shorter / "checkpoint.pt").read_bytes()[:-40])
    else:
        (shorter / "checkpoint.pt").unlink()
    shutil.copytree(tmp_path / shorter.parent.name, tmp_path / "copy")
    assert epochs_trained(carry_out(tmp_path, constant, "epochs=3")) == 3
