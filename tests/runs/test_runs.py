import json
import math

import pytest
from helpers.synthetic import add_initial_row, layer_rows, settings_of, synthetic_row
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_runner.columns import COLUMNS, metric_columns
from nc_runner.errors import RunFolderError
from nc_runner.runs.reader import Record, find_runs, read_run
from nc_runner.runs.record import COMPLETE, FAILED, FORMAT, STATES, RunWriter, last_row
from nc_runner.runs.rows import read_rows


def new_run(folder, epochs=5, num_classes=4):
    folder.mkdir(parents=True)
    writer = RunWriter(folder, num_classes)
    writer.rows.start()
    writer.update(state=COMPLETE, settings=settings_of("resnet8", "digits", "mse"))
    for epoch in range(1, epochs + 1):
        writer.append(synthetic_row(epoch, epochs, num_classes, "mse", 0, 0.05))
    return writer


def test_what_is_written_is_read_back_exactly(tmp_path):
    new_run(tmp_path / "a")
    run = read_run(tmp_path / "a")
    assert run.cell == ("resnet8", "digits", "mse")
    assert run.num_classes == 4
    assert run.warnings == []
    assert list(run.rows.columns) == list(metric_columns(4))
    for epoch, row in enumerate(run.rows.to_dict("records"), start=1):
        assert row == synthetic_row(epoch, 5, 4, "mse", 0, 0.05)
    assert last_row(tmp_path / "a") == row


def test_values_that_are_no_numbers_survive(tmp_path):
    writer = new_run(tmp_path / "a", epochs=1)
    writer.append({**synthetic_row(2, 5, 4, "mse", 0, 0.05), "nc1": float("nan"), "snr_1": float("inf")})
    last = read_run(tmp_path / "a").rows.iloc[-1]
    assert last["nc1"] != last["nc1"]
    assert last["snr_1"] == float("inf")


def test_a_row_with_other_keys_is_a_bug_and_not_written(tmp_path):
    writer = new_run(tmp_path / "a")
    with pytest.raises(ValueError, match="extra"):
        writer.append({**synthetic_row(6, 5, 4, "mse", 0, 0.05), "extra": 1.0})
    assert len(read_run(tmp_path / "a").rows) == 5


def test_a_cut_last_line_is_left_out_with_a_warning(tmp_path):
    new_run(tmp_path / "a")
    path = tmp_path / "a" / "metrics.csv"
    path.write_text(path.read_text()[:-30])
    run = read_run(tmp_path / "a")
    assert run.rows["epoch"].tolist() == [1, 2, 3, 4]
    assert run.warnings == ["its last line was cut short and is left out"]


def test_broken_doubled_and_unordered_lines_are_put_right(tmp_path):
    new_run(tmp_path / "a")
    path = tmp_path / "a" / "metrics.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, lines[4], "not,a,row", lines[0], lines[0]]) + "\n")
    run = read_run(tmp_path / "a")
    assert run.rows["epoch"].tolist() == [1, 5]
    assert run.warnings == ["1 of its lines could not be read and is left out"]


def test_a_missing_column_is_nan_with_a_warning(tmp_path):
    new_run(tmp_path / "a")
    path = tmp_path / "a" / "metrics.csv"
    path.write_text(path.read_text().replace(",nc1,", ",renamed,", 1))
    run = read_run(tmp_path / "a")
    assert run.rows["nc1"].isna().all()
    assert run.warnings == ["it lacks the column nc1"]


def test_layers_are_read_back_exactly_and_sorted(tmp_path):
    writer = new_run(tmp_path / "a")
    writer.layers.start()
    names = ["stem", 'odd, "name"', "layer1.0"]
    for epoch in (2, 1):
        writer.layers.append(*layer_rows(epoch, names))
    run = read_run(tmp_path / "a")
    assert run.layer_warnings == []
    assert run.layers.to_dict("records") == layer_rows(1, names) + layer_rows(2, names)


def test_damaged_lines_of_layers_are_left_out_with_a_warning(tmp_path):
    writer = new_run(tmp_path / "a")
    writer.layers.start()
    writer.layers.append(*layer_rows(1, ["a", "b"]))
    whole = writer.layers.text()
    writer.layers.append(*layer_rows(1, ["b"]))  # the later line of a layer and epoch is used
    last = whole.splitlines()[-1]
    broken = ["no,row", '"open', last.replace("1,", "x,", 1), last.replace("1,", "-1,", 1), last + ",5", ""]
    with writer.layers.path.open("a") as file:
        file.write("\n".join(broken) + "\n" + last[:30])
    run = read_run(tmp_path / "a")
    assert run.layer_warnings == [
        "its last line was cut short and is left out",
        "6 of its lines could not be read and are left out",
    ]
    assert sorted(run.layers["layer"]) == ["a", "b"]
    assert run.layers["depth"].tolist() == [1, 1]
    assert run.warnings == []


@pytest.mark.parametrize("content", [b"", b"epoch,layer\n1,a\n", b"\xff\xfe"])
def test_a_file_that_is_no_table_of_layers_gives_a_warning_and_the_run_is_read(content, tmp_path):
    new_run(tmp_path / "a")
    (tmp_path / "a" / "layers.csv").write_bytes(content)
    run = read_run(tmp_path / "a")
    assert run.layers is None
    assert run.layer_warnings == ["it does not start with the header of a table of layers"]
    assert len(run.rows) == 5


def test_runs_are_found_at_and_below_folders_and_replaced_ones_are_not(tmp_path):
    for name in ("x/a", "x/b", "x/b.replaced-1", "y/z/c"):
        new_run(tmp_path / name)
    found = [path.relative_to(tmp_path.resolve()).as_posix() for path in find_runs([tmp_path])]
    assert found == ["x/a", "x/b", "y/z/c"]
    assert find_runs([tmp_path / "x", tmp_path / "x" / "a"]) == find_runs([tmp_path / "x"])
    assert len(find_runs([tmp_path / "x" / "b.replaced-1"])) == 1
    with pytest.raises(RunFolderError, match="not a folder"):
        find_runs([tmp_path / "nowhere"])


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    writer = new_run(tmp_path / "a")
    before = (tmp_path / "a" / "run.json").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        writer.update(state=FAILED)
    assert (tmp_path / "a" / "run.json").read_bytes() == before
    assert not list((tmp_path / "a").glob("*.tmp"))


def test_a_run_of_a_newer_version_is_an_error(tmp_path):
    writer = new_run(tmp_path / "a")
    writer.update(format=FORMAT + 1)
    with pytest.raises(RunFolderError, match="newer nc-runner"):
        read_run(tmp_path / "a")


CSV_LIKE = st.lists(
    st.lists(st.sampled_from(["epoch", "1", "-1", "1e400", "nan", "", "nc1", "a\x00", '"', "2.5"])).map(
        ",".join
    )
).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(st.binary(max_size=300), CSV_LIKE.map(str.encode), st.text().map(str.encode)))
def test_no_metrics_file_breaks_the_reader(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    (folder / "metrics.csv").write_bytes(content)
    last_row(folder)
    try:
        rows, _ = read_rows(folder / "metrics.csv")
    except RunFolderError:
        return  # any other error fails the test
    assert set(COLUMNS) <= set(rows.columns)
    assert rows["epoch"].is_unique


KEYS = ["state", "format", "settings", "identity", "deciding", "net", "name", "lr"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(st.binary(max_size=300), JSON.map(lambda value: json.dumps(value).encode())))
def test_no_record_breaks_the_reader(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    (folder / "metrics.csv").write_text("epoch\n1\n")
    (folder / "run.json").write_bytes(content)
    try:
        run = read_run(folder)
    except RunFolderError:
        return  # any other error fails the test
    assert run.state in STATES


def test_a_run_on_the_central_path_has_a_loss_of_its_own_in_figures(tmp_path):
    writer = new_run(tmp_path / "a")
    writer.update(settings=settings_of("resnet8", "digits", "mse") | {"classifier": "least_squares"})
    assert read_run(tmp_path / "a").cell == ("resnet8", "digits", "mse_path")


@pytest.mark.parametrize(("identity", "custom"), [("identity", "custom"), ("deciding", "own")])
def test_newer_and_older_names_in_a_record_are_read(tmp_path, identity, custom):
    writer = new_run(tmp_path / "a")
    settings = settings_of("resnet8", "digits", "mse")
    settings["analysis"] |= {custom: {"spread": "metrics.spread"}}
    writer.update(settings=settings, **{identity: {"lr": 0.3, "seed": 4}})
    run = read_run(tmp_path / "a")
    assert run.custom_columns == ["spread"]
    assert json.loads(run.variant) == {"lr": 0.3}


def test_a_record_gives_its_entries_typed(tmp_path):
    writer = new_run(tmp_path / "a")
    writer.update(started="2026-03-01T23:00:00+00:00", ended="2026-03-02T01:00:00", reason="x", host="h")
    run = read_run(tmp_path / "a")
    assert (run.lr, run.seed, run.epochs, run.state) == (0.05, 0, 350, COMPLETE)
    assert (run.schedule, run.ridge_rule, run.custom_columns) == ("every", "objective", [])
    assert (run.trained_with_mse, run.refits, run.reason, run.host) == (True, False, "x", "h")
    assert (run.ended - run.started).total_seconds() == 7200


@pytest.mark.parametrize("odd", [None, True, "x", [1], {"a": 1}, math.nan, -1, 10**400])
def test_entries_of_a_wrong_type_are_none_or_the_default(odd):
    settings = dict.fromkeys(("lr", "seed", "epochs", "analysis", "loss", "classifier"), odd)
    found = Record({"settings": settings, "started": odd, "identity": {}})
    assert found.lr in (None, -1.0)
    assert found.seed in (None, odd)
    assert found.epochs is None
    assert (found.schedule, found.custom_columns, found.started) == ("every", [], None)
    assert not found.trained_with_mse
    found.variant  # noqa: B018 - must not raise
    assert Record({"settings": odd}).settings == (odd if isinstance(odd, dict) else {})


def test_the_row_of_epoch_0_is_read_with_its_layers(tmp_path):
    folder = add_initial_row(new_run(tmp_path / "a").folder, nc1=7.5)
    writer = RunWriter(folder, 10)
    writer.layers.start()
    writer.layers.append({**layer_rows(1, ["a"])[0], "epoch": 0}, *layer_rows(1, ["a"]))
    run = read_run(folder)
    assert run.rows["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (run.rows["nc1"][0], run.rows["lr"].isna().sum()) == (7.5, 1)
    assert run.layers["epoch"].tolist() == [0, 1]
    assert run.warnings == run.layer_warnings == []
