"""Many runs as one table."""

import json
import subprocess
import sys
import warnings

import pandas as pd
import pytest
from helpers.settings import settings_of
from helpers.synthetic import synthetic_row, write_run

import nc_runner
from nc_runner.columns import metric_columns
from nc_runner.errors import RunFolderError
from nc_runner.runs.measured import MeasuredFolder, Source
from nc_runner.runs.record import INTERRUPTED, RUNNING
from nc_runner.runs.tidy import FIRST, read_runs


def write(root, *overrides, number=None, **how):
    """A run of two epochs, with the settings of ``nc-run OVERRIDES`` in its record."""
    config = settings_of(*overrides)
    name = number if number is not None else len(list(root.rglob("run.json")))
    folder = write_run(
        root / f"run{name}", config.net.name, config.data.name, config.loss.name, epochs=2, **how
    )
    change_record(folder, settings=json.loads(config.model_dump_json(by_alias=True)))
    return folder


def change_record(folder, **entries):
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_sweep_is_a_row_for_each_run_and_epoch_with_the_settings_that_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for decay in ("1e-3", "1e-4"):
        for lr in ("0.1", "0.01"):
            write(tmp_path, f"weight_decay={decay}", f"lr={lr}", "threads=1" if lr == "0.1" else "threads=2")
    table = nc_runner.read_runs(tmp_path)
    assert tuple(table.columns) == (*FIRST, "run_lr", "weight_decay", *metric_columns(10))
    assert len(table) == 8
    assert set(zip(table["run_lr"], table["weight_decay"], strict=True)) == {
        (0.1, 1e-3), (0.1, 1e-4), (0.01, 1e-3), (0.01, 1e-4),
    }  # fmt: skip
    assert table["epoch"].tolist() == [1, 2] * 4
    for name, rows in table.groupby("run"):
        assert not str(name).startswith("/")
        written = pd.read_csv(tmp_path / name / "metrics.csv")
        pd.testing.assert_frame_equal(rows[list(written)].reset_index(drop=True), written)
    assert set(table["state"]) == {"complete"}
    assert (set(table["net"]), set(table["data"]), set(table["loss"])) == ({"resnet8"}, {"digits"}, {"mse"})
    assert set(table["seed"]) == {0}


def test_nested_list_null_and_custom_settings_are_plain_values_under_dotted_keys(tmp_path):
    own = ("net=custom", "net._target_=helpers.lab.TinyNetwork", "net.name=tiny")
    write(tmp_path, *own, "+net.width=9", "data.samples_per_class=6", "lr_milestones=[10,20]", number=0)
    write(tmp_path, *own, "+net.options={act: relu, widths: [3, 4]}", "analysis.ridge=0.5", number=1)
    table = read_runs(tmp_path).groupby("run").first()
    settings = list(table.columns)[5 : list(table.columns).index("epoch")]
    assert settings == [
        "lr_milestones", "net.width", "net.options.act", "net.options.widths",
        "data.samples_per_class", "analysis.ridge",
    ]  # fmt: skip
    first, second = (dict(row) for _, row in table[settings].iterrows())
    assert (first["lr_milestones"], second["lr_milestones"]) == ("[10,20]", "[1/3,2/3]")
    assert (first["net.width"], first["data.samples_per_class"]) == (9, 6)
    assert (first["analysis.ridge"], second["analysis.ridge"]) == ("objective", 0.5)
    assert (second["net.options.act"], second["net.options.widths"]) == ("relu", "[3,4]")
    assert pd.isna(second["net.width"])
    assert pd.isna(second["data.samples_per_class"])
    assert pd.isna(first["net.options.act"])


def test_true_is_not_one(tmp_path):
    own = ("net=custom", "net._target_=helpers.lab.TinyNetwork")
    write(tmp_path, *own, "+net.width=1", number=0)
    write(tmp_path, *own, "+net.width=true", number=1)
    assert read_runs(tmp_path)["net.width"].tolist() == [1, 1, True, True]


def test_what_names_say_needs_no_column_of_paths(tmp_path):
    write(tmp_path, "loss=mse", number=0)
    write(tmp_path, "loss=ce", "net=vgg6", number=1)
    table = read_runs(tmp_path)
    assert [column for column in table.columns if column.endswith("_")] == []
    assert table["net.depth"].tolist() == [8, 8, 6, 6]
    assert table["loss"].tolist() == ["mse", "mse", "ce", "ce"]


def test_a_folders_name_that_is_no_utf8_has_backslashes(tmp_path):
    folder = write(tmp_path, number=0)
    folder.rename(tmp_path / "caf\udce9")  # as a name in Latin-1 is read from the disk
    table = read_runs(tmp_path)
    assert set(table["run"]) == {str(tmp_path / "caf\\udce9")}
    table.to_csv(tmp_path / "table.csv")  # UTF-8


def test_paths_are_folders_of_runs_or_above_in_any_number(tmp_path):
    folders = [write(tmp_path, f"seed={seed}") for seed in range(3)]
    assert len(read_runs(folders[0])) == 2
    assert len(read_runs(str(tmp_path))) == 6
    assert read_runs([str(folders[0]), folders[2], folders[2]])["seed"].tolist() == [0, 0, 2, 2]
    assert set(read_runs(iter(folders))["run"]) == {str(folder) for folder in folders}


def test_older_records_have_the_neutral_value_of_what_came_later(tmp_path):
    folder = write(tmp_path, "precision=fp32", number=0)
    write(tmp_path, "precision=bf16", number=1)
    settings = json.loads((folder / "run.json").read_text())["settings"]
    del settings["precision"], settings["compile"]
    settings["net"]["_target_"] = "nc_runner.networks.resnet"
    settings["analysis"]["own"] = settings["analysis"].pop("custom")
    change_record(folder, settings=settings, deciding={"lr": 0.1})
    table = read_runs(tmp_path)
    assert table["precision"].tolist() == ["fp32", "fp32", "bf16", "bf16"]
    assert "compile" not in table
    assert "net._target_" not in table


def test_unreadable_folders_and_runs_without_rows_are_left_out_with_a_warning(tmp_path):
    write(tmp_path, number=0)
    (write(tmp_path, number=1) / "run.json").write_text("no JSON")
    (write(tmp_path, number=2) / "metrics.csv").unlink()
    write(tmp_path, number=3, rows=0, state=RUNNING)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_runs(tmp_path)
    assert len(table) == 2
    messages = [str(warning.message) for warning in caught]
    assert [warning.filename for warning in caught] == [__file__] * 3
    for message, words in zip(
        messages, ("is not JSON", "has no metrics.csv", "no row (running)"), strict=True
    ):
        assert words in message
        assert message.endswith("it is left out")


def test_what_is_wrong_with_the_lines_of_a_table_is_a_warning(tmp_path):
    path = write(tmp_path) / "metrics.csv"
    path.write_text(path.read_text()[:-9])
    with pytest.warns(UserWarning, match="cut short"):
        assert read_runs(tmp_path)["epoch"].tolist() == [1]


def test_runs_of_any_state_are_read_as_far_as_they_got(tmp_path):
    write(tmp_path, number=0)
    write(tmp_path, number=1, rows=1, state=INTERRUPTED)
    table = read_runs(tmp_path)
    assert table[["state", "epoch"]].values.tolist() == [["complete", 1], ["complete", 2], ["interrupted", 1]]


def test_runs_with_other_columns_share_one_table_in_the_registrys_order(tmp_path):
    write(tmp_path, number=0, num_classes=3, wider=("mine",), change={"mine": 7.0})
    write(tmp_path, number=1, num_classes=5, wider=("nc1_cdnv",), change={"nc1_cdnv": 0.5})
    table = read_runs(tmp_path)
    assert tuple(table.columns) == (*FIRST, *metric_columns(5, ("nc1_cdnv",)), "mine")
    assert table["snr_4"].isna().tolist() == [True, True, False, False]
    assert table["mine"].isna().tolist() == [False, False, True, True]


@pytest.mark.parametrize("odd", [None, True, "x", [1, [2]], {"a": {"b": 1}}, -1, 10**400])
def test_no_setting_of_a_wrong_type_breaks_the_table(odd, tmp_path):
    folder = write(tmp_path, number=0)
    write(tmp_path, number=1)
    settings = json.loads((folder / "run.json").read_text())["settings"]
    for key in ("lr", "seed", "analysis", "launcher", "classifier"):
        settings[key] = odd
    for group in ("net", "data", "loss"):
        settings[group] = {"name": odd, "_target_": odd, "options": odd}
    change_record(folder, settings=settings)
    assert len(read_runs(tmp_path)) == 4


def test_flows_are_left_out_and_a_place_without_runs_is_an_error(tmp_path):
    (tmp_path / "flow").mkdir()
    record = {"format": 1, "state": "complete", "kind": "flow", "settings": {}}
    (tmp_path / "flow" / "run.json").write_text(json.dumps(record))
    assert list(read_runs(tmp_path).columns) == [*FIRST, "epoch"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match=r"no run at or below .*empty"):
        read_runs(tmp_path / "empty")
    with pytest.raises(RunFolderError, match="is not a folder"):
        read_runs(tmp_path / "gone")


def test_rows_measured_outside_of_nc_run_are_in_the_table(tmp_path):
    write(tmp_path, number=0)
    source = Source(net="mine", data="theirs", loss="ce", settings={"lr": 0.3, "seed": 5})
    with MeasuredFolder(tmp_path / "measured", source) as folder:
        folder.add(1, synthetic_row(1, 2, 4, "ce", 5, 0.3))
    table = read_runs(tmp_path)
    assert table["net"].tolist() == ["mine", "resnet8", "resnet8"]
    assert table["run_lr"].tolist() == [0.3, 0.1, 0.1]
    assert table["epoch"].tolist() == [1, 1, 2]


def test_the_package_and_the_table_import_no_torch(tmp_path):
    write(tmp_path)
    code = (
        "import sys, nc_runner; assert not {'torch', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "assert {'load_run', 'read_runs'} <= set(dir(nc_runner))\n"
        f"assert len(nc_runner.read_runs({str(tmp_path)!r})) == 2\n"
        "assert 'torch' not in sys.modules and 'hydra' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_other_names_are_no_attributes_of_the_package():
    with pytest.raises(AttributeError, match="'nc_runner' has no attribute 'load_runs'"):
        nc_runner.load_runs  # noqa: B018
