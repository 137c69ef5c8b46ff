"""How long epochs and measurements take, by the last rows of a run; and that only these are read."""

import pytest
from helpers.synthetic import write_run

from nc_runner.runs import record
from nc_runner.runs.pace import RECENT, Pace, pace_of, typical
from nc_runner.runs.record import METRICS_FILE, last_rows


def rows(epochs, train, analysis):
    return [{"epoch": epoch, "train_seconds": train, "analysis_seconds": analysis} for epoch in epochs]


def test_training_is_counted_by_epochs_and_measuring_by_rows():
    assert pace_of(rows([10, 20], train=30.0, analysis=4.0)) == Pace(3.0, 4.0, 3.4)
    assert pace_of(rows([10, 20], train=30.0, analysis=4.0)).seconds(100, 5) == 320.0


def test_only_the_recent_rows_count_and_not_the_one_at_initialisation():
    early = rows([0], 0.0, 1e6) + rows([1, 2], 1e6, 1e6)
    late = rows(range(3, 3 + RECENT), 2.0, 1.0)
    assert pace_of(early + late) == Pace(2.0, 1.0, 3.0)
    assert pace_of(rows([0], 0.0, 1.0)) is None
    assert pace_of([]) is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_seconds_that_tell_nothing_give_no_pace(seconds):
    assert pace_of(rows([1, 2], seconds, 0.0)) is None
    assert pace_of([{"epoch": 3.0}]) is None


def test_the_typical_pace_is_the_median():
    assert typical([Pace(1, 2, 3), Pace(3, 4, 7), Pace(100, 3, 103)]) == Pace(3, 3, 7)


@pytest.mark.parametrize("length", [1, 40, 1000])
@pytest.mark.parametrize("count", [1, 3, 11, 10**9])
def test_the_end_of_a_table_is_read_as_the_whole_is(tmp_path, monkeypatch, length, count):
    monkeypatch.setattr(record, "_LINE", length)
    folder = write_run(tmp_path, epochs=30)
    path = folder / METRICS_FILE
    header, *lines = path.read_text().splitlines()
    lines[25] = "a line that is no row"
    path.write_text("\n".join([header, *lines]) + "\n" + lines[-1][:20])  # the last line is cut
    epochs = [row["epoch"] for row in last_rows(folder, count)]
    assert epochs == [epoch for epoch in range(max(1, 31 - count), 31) if epoch != 26]
    few = last_rows(folder, count, ("nc1", "epoch", "none"))
    assert [set(row) for row in few] == [{"epoch", "nc1"}] * len(epochs)
    assert few == [{key: row[key] for key in ("nc1", "epoch")} for row in last_rows(folder, count)]


def test_a_table_without_rows_has_none(tmp_path):
    (tmp_path / METRICS_FILE).write_text("epoch,nc1\n")
    assert last_rows(tmp_path, 5) == []
    (tmp_path / METRICS_FILE).write_text("")
    assert last_rows(tmp_path, 5) == []
