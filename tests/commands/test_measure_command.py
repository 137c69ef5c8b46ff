"""nc-measure, the command: sources, output, exit codes, messages."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.process import nc_run
from torch import nn

from nc_runner.commands import measure, measure_sources
from nc_runner.measurement.features_file import read_features
from nc_runner.runs.reader import read_run

MODEL = """
import torch
from torch import nn

def make(num_classes, in_channels, image_size):
    torch.manual_seed(0)
    inputs = in_channels * image_size**2
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, num_classes))
"""


def command(*arguments):
    return measure.main([*map(str, arguments)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three epochs on digits whose weights are all kept."""
    folder = tmp_path_factory.mktemp("trained")
    result = nc_run("epochs=3", "keep_checkpoints=analysed", "progress=none", "hydra.run.dir=run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


@pytest.fixture
def features(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    content = {"features": rng.normal(size=(300, 4)) + 4 * np.eye(3, 4)[labels], "labels": labels}
    np.savez(tmp_path / "f.npz", weight=np.eye(3, 4), **content)
    return tmp_path / "f.npz"


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for module in ("model", "mine"):  # of another test's folder
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def row_of_json(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_run_is_measured_as_it_measured_itself(trained, capsys):
    assert command(trained, "--json", "--batch-size", 1500) == 0
    row, own = row_of_json(capsys), read_run(trained).rows.iloc[-1]
    assert row["epoch"] == 3
    for name, value in own.items():
        if name not in ("lr", "train_seconds", "analysis_seconds"):
            assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-9), name


def test_all_kept_epochs_become_a_run_folder_with_other_metrics_and_layers(trained, in_folder, capsys):
    assert command(trained, "--epoch", "all", "--out", "again", "--metrics", "all", "--layers", "layer*") == 0
    assert "3 rows in again: nc-plot again" in capsys.readouterr().out
    again, own = read_run(in_folder / "again"), read_run(trained)
    assert again.rows["epoch"].tolist() == [1, 2, 3]
    assert again.rows["nc1"].to_numpy() == pytest.approx(own.rows["nc1"].to_numpy(), rel=1e-4)
    assert "nc1_cdnv" in again.rows
    assert again.layers is not None
    assert len(again.layers) == 9
    assert again.cell == own.cell
    assert not again.warnings
    assert again.state == "complete"


def test_a_run_is_measured_on_other_data_with_its_own_normalisation(trained, in_folder, capsys):
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 10
    np.savez("other.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert command(trained, "data=npz", "data.options.file=other.npz", "--json") == 0
    assert row_of_json(capsys)["train_accuracy"] < 0.5
    assert command(trained, "data=npz", "data.options.file=other.npz", "--out", "out") == 0
    assert read_run(in_folder / "out").cell == ("resnet8", "other", "mse")


def test_a_model_with_weights_and_a_series_of_them(in_folder, capsys):
    torch.manual_seed(1)
    for epoch in (2, 10):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        torch.save(model.state_dict(), f"epoch-{epoch}.pt")
    weights = ("--weights", "epoch-10.pt", "epoch-2.pt")  # as a shell sorts epoch-*.pt
    assert command("--model", "model.py:make", *weights, "data=digits", "--out", "mine", "--loss", "mse") == 0
    captured = capsys.readouterr()
    assert "epoch-10.pt" in captured.out
    run = read_run(in_folder / "mine")
    assert run.rows["epoch"].tolist() == [2, 10]
    (told,) = [line for line in captured.err.splitlines() if "normalised" in line]
    assert "with data.mean=[0.3052] data.std=[0.3749]; if the model" in told
    assert told.endswith("(2 of 2 sources)")
    given = ("data.mean=[0]", "data.std=[1]")
    assert command("--model", "model.py:make", *weights, "data=digits", *given, "--csv") == 0
    assert "normalised" not in capsys.readouterr().err
    assert run.cell == ("make", "digits", "mse")


def test_json_and_csv_hold_every_column_and_no_caution(features, capsys):
    assert command(features, "--json") == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert row["test_accuracy"] is None
    assert command(features, "--csv") == 0
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {
        name: float(value) for name, value in line.items() if name not in ("source", "analysis_seconds")
    } == (
        pytest.approx(
            {n: np.nan if v is None else v for n, v in row.items() if n != "analysis_seconds"}, nan_ok=True
        )
    )


def test_the_table_of_one_source_and_of_several(features, capsys):
    assert command(features) == 0
    assert capsys.readouterr().out.startswith("3 classes, 4 features, 300 train samples\n\ncolumn ")
    assert command(features, features) == 0
    out = capsys.readouterr().out
    assert out.count("f.npz") == 2
    assert out.endswith("all columns: --csv, --json\n")


def test_custom_metrics(features, in_folder, capsys):
    (in_folder / "mine.py").write_text("def total(stats, weight, bias): return stats.total\n")
    assert command(features, "--custom", "seen=mine.py:total", "--json", "--out", "out") == 0
    assert row_of_json(capsys)["seen"] == 300
    assert read_run(in_folder / "out").rows["seen"].tolist() == [300]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to measure\ngive a features file"),
        (["absent.npz"], "there is no file or folder absent.npz"),
        (["."], "is not a run folder"),
        (["f.npz", "lr=0.1"], "lr=0.1 is no setting of the data"),
        (["f.npz", "data=digits"], "data=digits has no meaning for a features file"),
        (["f.npz", "--layers", "a"], "--layers has no meaning for a features file"),
        (["f.npz", "--weights", "w.pt"], "--weights needs --model"),
        (["f.npz", "--epoch", "3"], "--epoch needs a run folder"),
        (["f.npz", "--metrics", "nc1_cdvn"], "did you mean nc1_cdnv"),
        (["f.npz", "--metrics", "test_nc1"], "test_nc1 needs test features"),
        (["f.npz", "--ridge", "auto"], "ridge=auto is unknown"),
        (["f.npz", "--batchnorm", "recomputed"], "--batchnorm has no meaning for a features file"),
        (["f.npz", "--min-samples", "0"], "min_samples=0 must be"),
        (["f.npz", "--custom", "a"], "--custom a is not valid"),
        (["f.npz", "--device", "cuda:9"], "--device cuda:9 has no meaning for a features file"),
        (["f.npz", "--threads", "0"], "--threads must be at least 1"),
        (["f.npz", "--out", "full"], "--out full is not empty"),
        (["f.npz", "--out", "full", "--overwrite"], "full is not empty\nchoose a new folder"),
        (["f.npz", "--out", "f.npz"], "--out f.npz is not a folder"),
        (["f.npz", "--out", "f.npz/a/b"], "--out f.npz is not a folder"),
        (["f.npz", "--metrics", "core", "nc1_cdnv"], "metrics: core stands alone"),
        (["f.npz", "--batch-size", "3"], "--batch-size has no meaning for a features file"),
        (["nan.npz"], "nan.npz: features must be finite"),
        (["f.npz", "f.npz", "--metrics", "nc1_cdvn"], "did you mean nc1_cdnv"),
        (["f.npz", "--custom", "a=nowhere.f"], "--custom a=nowhere.f cannot be imported"),
        (["f.npz", "seed=3"], "seed=3 needs data=NAME"),
        (["f.npz", "--layers", "a", "--min-samples", "3"], "--layers and --min-samples cannot be combined"),
        (["--model", "model.py:make"], "--model needs data"),
        (["--model", "model.py:make", "data=digit"], "data=digit: there is no such option; did you"),
        (["--model", "model.py:make", "data=digits", "data.pda=1"], "there is no setting data.pda"),
        (["--model", "model.py:other", "data=digits"], "has no attribute other"),
        (["--model", "model.py:make", "--weights", "absent.pt", "data=digits"], "there is no file absent.pt"),
        (["--model", "model.py:make", "--weights", "f.npz", "data=digits"], "cannot be read as weights"),
        (["--model", "torchvision:resnet18", "data=digits"], "the model fails on the first batch"),
        (["--model", "model.py:make", "data=digits", "--classifier", "last"], "has no such module"),
    ],
)  # fmt: skip
def test_wrong_input_is_said_in_two_lines_with_exit_code_2_and_nothing_is_made(
    arguments, message, features, in_folder, capsys
):
    np.savez(in_folder / "nan.npz", features=np.full((4, 2), np.nan), labels=np.arange(4) % 2)
    (in_folder / "full").mkdir()
    (in_folder / "full" / "mine.txt").write_text("")
    before = sorted(path.name for path in in_folder.rglob("*") if "__pycache__" not in path.parts)
    assert command(*arguments) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "random weights" not in line]
    assert message in "\n".join(lines)
    assert len(lines) <= 2
    assert captured.out == ""
    assert sorted(p.name for p in in_folder.rglob("*") if "__pycache__" not in p.parts) == before


def test_a_series_goes_on_where_one_source_fails_and_says_which_and_why(features, in_folder, capsys):
    np.savez("nan-2.npz", features=np.full((4, 2), np.nan), labels=np.arange(4) % 2)
    features.rename("f-1.npz")
    shutil.copy("f-1.npz", "f-3.npz")
    assert command("f-1.npz", "nan-2.npz", "f-3.npz", "--out", "out") == 1
    captured = capsys.readouterr()
    (failure,) = [line for line in captured.err.splitlines() if "nan-2" in line]
    assert failure.startswith("nc-measure: nan-2.npz: features must be finite")
    assert "f-1.npz" in captured.out
    assert "f-3.npz" in captured.out
    run = read_run(in_folder / "out")
    assert run.rows["epoch"].tolist() == [1, 3]
    assert run.state == "failed"
    assert json.loads((in_folder / "out" / "run.json").read_text())["reason"] == "not measured: nan-2.npz"


def test_a_series_in_which_all_fail_makes_nothing(in_folder, capsys):
    for name in ("a.npz", "b.npz"):
        np.savez(name, features=np.full((4, 2), np.nan), labels=np.arange(4) % 2)
    assert command("a.npz", "b.npz", "--json", "--out", "out") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert not (in_folder / "out").exists()


def ends_at_the_third(monkeypatch, end):
    """Two sources are measured, then ``end`` is called."""
    calls = []

    def read(*arguments):
        calls.append(arguments)
        return end() if len(calls) == 3 else read_features(*arguments)

    monkeypatch.setattr(measure_sources, "read_features", read)


def ctrl_c():
    raise KeyboardInterrupt


def term():
    os.kill(os.getpid(), signal.SIGTERM)
    pytest.fail("the signal stops it")


@pytest.mark.parametrize(("end", "code"), [(ctrl_c, 130), (term, 143)])
@pytest.mark.parametrize("output", ["--json", "--csv"])
def test_a_stopped_series_keeps_its_rows(end, code, output, features, in_folder, capsys, monkeypatch):
    ends_at_the_third(monkeypatch, end)
    before = signal.getsignal(signal.SIGTERM)
    assert command(features, features, features, features, output, "--out", "out") == code
    assert signal.getsignal(signal.SIGTERM) is before
    captured = capsys.readouterr()
    assert captured.out.count("f.npz") == 2
    assert "nc-measure: stopped: 2 of 4 sources are measured" in captured.err
    run = read_run(in_folder / "out")
    assert run.state == "interrupted"
    assert len(run.rows) == 2
    assert not run.warnings


def test_a_stop_before_the_first_row_makes_nothing(features, in_folder, capsys, monkeypatch):
    monkeypatch.setattr(measure_sources, "read_features", lambda *_: ctrl_c())
    assert command(features, "--json", "--out", "out") == 130
    assert capsys.readouterr() == ("", "")
    assert not (in_folder / "out").exists()


def test_an_error_of_the_program_does_not_lose_the_rows_before_it(features, in_folder, capsys, monkeypatch):
    ends_at_the_third(monkeypatch, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command(features, features, features, "--out", "out")
    assert capsys.readouterr().out.count("f.npz") == 2
    assert read_run(in_folder / "out").state == "failed"


def test_a_caution_of_several_sources_is_given_once(in_folder, capsys):
    rng, labels = np.random.default_rng(0), np.arange(12) % 3
    for name, scale in (("a.npz", 1), ("b.npz", 2), ("c.npz", 100)):
        h = rng.normal(size=(12, 10)) + scale * np.eye(3, 10)[labels]
        np.savez(name, features=h, labels=labels, weight=np.eye(3, 10))
    assert command("a.npz", "b.npz", "c.npz") == 0
    lines = capsys.readouterr().err.splitlines()
    (few,) = [line for line in lines if "12 samples are too few" in line]
    assert few.endswith("may be infinite (3 of 3 sources)")
    worst, others = [line for line in lines if "NC1 is" in line]  # one is said in other words
    assert worst.endswith("(1 of 3 sources)")
    assert others.startswith("nc-measure: NC1 is about")
    assert others.endswith("(2 of 3 sources; the numbers are those of b.npz)")
    assert len(lines) == 3


def test_a_run_of_a_subset_is_measured_on_the_images_of_its_rows(in_folder, capsys):
    result = nc_run("epochs=1", "analysis.samples=100", "progress=none", "hydra.run.dir=run", cwd=in_folder)
    assert result.returncode == 0, result.stderr
    own = read_run(in_folder / "run").rows.iloc[-1]
    assert command("run", "--json", "--out", "out") == 0
    row = row_of_json(capsys)
    for name in ("nc1", "train_loss", "test_loss", "train_accuracy", "mse_total"):
        assert row[name] == pytest.approx(own[name], rel=1e-4), name
    assert read_run(in_folder / "out").settings["analysis"]["samples"] == 100
    assert command("run", "data=digits", "--json", "--out", "whole") == 0
    assert row_of_json(capsys)["nc1"] != pytest.approx(own["nc1"], rel=1e-2)
    assert "samples" not in read_run(in_folder / "whole").settings["analysis"]


def test_a_run_is_measured_with_the_statistics_that_it_chose_or_that_the_command_line_asks_for(
    in_folder, capsys
):
    settings = ("epochs=1", "data.samples_per_class=30", "progress=none")
    rows = {}
    for kind in ("recomputed", "both"):
        result = nc_run(*settings, f"analysis.batchnorm={kind}", f"hydra.run.dir={kind}", cwd=in_folder)
        assert result.returncode == 0, result.stderr
        rows[kind] = read_run(in_folder / kind).rows.iloc[-1]
    for arguments, expected in (
        (["recomputed"], rows["recomputed"]["nc1"]),
        (["both"], rows["both"]["nc1"]),
        (["both", "--batchnorm", "recomputed"], rows["both"]["nc1_recomputed"]),
        (["recomputed", "--batchnorm", "running"], rows["both"]["nc1"]),
    ):
        assert command(*arguments, "--json", "--out", "again", "--overwrite") == 0
        assert json.loads(capsys.readouterr().out)["nc1"] == pytest.approx(expected, rel=1e-4)
        recorded = read_run(in_folder / "again").settings["analysis"].get("batchnorm")
        assert recorded == ("recomputed" if arguments[-1] == "recomputed" else None)
    assert rows["both"]["nc1"] != pytest.approx(rows["both"]["nc1_recomputed"], rel=1e-2)


def test_a_folder_of_measured_rows_is_replaced_only_when_asked(features, in_folder, capsys):
    assert command(features, "--out", "out") == 0
    assert command(features, "--out", "out") == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert command(features, features, "--out", "out", "--overwrite") == 0
    assert len(read_run(in_folder / "out").rows) == 2


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(in_folder, capsys, monkeypatch):
    monkeypatch.setattr(measure, "_carry_out", lambda *_: pytest.fail("it measures"))
    (in_folder / "f.npz").write_text("")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert command("f.npz", "--out", "new/out") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_rows_of_different_columns_do_not_go_into_one_folder(features, in_folder, capsys):
    """Three columns of the test set in one, three more of the signal-to-noise spectrum in the other."""
    content = dict(np.load(features))
    np.savez("a.npz", **content, test_features=content["features"], test_labels=content["labels"])
    six = {"labels": np.arange(300) % 6, "weight": np.eye(6, 4)}
    np.savez("b.npz", **content | six)
    assert command("a.npz", "b.npz", "--metrics", "all", "--out", "out") == 2
    captured = capsys.readouterr()
    assert "the sources have different classes or columns" in captured.err
    assert "b.npz" in captured.out  # the rows are not lost
    assert not (in_folder / "out").exists()


@pytest.mark.parametrize(
    ("given", "recorded"), [([], "notebook"), pytest.param(["--ridge", "0.5"], 0.5, marks=pytest.mark.slow)]
)
def test_the_record_says_by_which_rule_the_ridge_was_chosen(given, recorded, in_folder):
    result = nc_run(
        "epochs=1", "analysis.ridge=notebook", "progress=none", "hydra.run.dir=run", cwd=in_folder
    )
    assert result.returncode == 0, result.stderr
    assert command("run", "--out", "out", *given) == 0
    settings = json.loads((in_folder / "out" / "run.json").read_text())["settings"]
    assert settings["analysis"]["ridge"] == recorded


LOADER = """
import numpy as np
from nc_runner.data.raw import RawDataset, RawSplit

def train_only():
    images = np.random.default_rng(0).integers(0, 255, (120, 8, 8, 1), np.uint8)
    return RawDataset(RawSplit(images, np.arange(120) % 3), None, 3)
"""


def test_data_without_a_test_set_are_measured_and_its_columns_are_nan(in_folder, capsys):
    (in_folder / "train_only.py").write_text(LOADER)
    data = ["data=custom", "data._target_=train_only.train_only"]
    assert command("--model", "model.py:make", *data, "--metrics", "all", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["test_accuracy"] is None
    assert row["nc1_cdnv"] > 0
    assert "test_nc1" not in row


def test_the_epochs_of_the_record_are_those_that_were_measured(trained, in_folder):
    assert command(trained, "--epoch", "1", "2", "--out", "out") == 0
    assert json.loads((in_folder / "out" / "run.json").read_text())["settings"]["epochs"] == 2


def test_help_and_errors_import_no_torch():
    code = (
        "import sys; from nc_runner.commands.measure import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    for arguments in (["--help"], ["absent.npz"], ["--version"]):
        line = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert result.stderr.splitlines()[-1] == "False", arguments
