"""The lists of runs that sweeps are going to make."""

import json

import pytest
from helpers.synthetic import write_run

from nc_runner.commands import preflight
from nc_runner.runs import sweeps
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import RUN_FILE, SWEEPS_FOLDER
from nc_runner.runs.sweeps import SweepRecord, find_sweeps


def plan(root, *names, epochs=5, overwrite=False):
    return {root / name: {"epochs": epochs, "overwrite": overwrite} for name in names}


def begin(folder):
    folder.mkdir(parents=True)
    (folder / RUN_FILE).write_text("{}")


def lists(root):
    return sorted((root / SWEEPS_FOLDER).glob("*.json"))


def test_a_sweep_is_alive_until_it_ends_and_its_list_says_what_it_will_make(tmp_path):
    record = SweepRecord(tmp_path, plan(tmp_path, "cell/a", "cell/b", epochs=7))
    (sweep,) = find_sweeps([tmp_path])
    assert sweep.alive
    assert not sweep.anew
    assert sweep.epochs == {tmp_path / "cell/a": 7, tmp_path / "cell/b": 7}
    begin(tmp_path / "cell/a")
    record.end()
    (sweep,) = find_sweeps([tmp_path])
    assert not sweep.alive
    assert sweep.to_make() == {tmp_path / "cell/b"}


def test_a_list_of_which_every_run_was_begun_is_forgotten_at_the_end(tmp_path):
    record = SweepRecord(tmp_path, plan(tmp_path, "a"))
    begin(tmp_path / "a")
    record.end()
    assert not list((tmp_path / SWEEPS_FOLDER).iterdir())


@pytest.mark.parametrize("place", ["outputs", "outputs/cell", "outputs/cell/a", "."])
def test_lists_are_found_from_above_and_from_below(tmp_path, place):
    root = tmp_path / "outputs"
    (root / "cell" / "a").mkdir(parents=True)
    record = SweepRecord(root, plan(root, "cell/a"))
    assert [sweep.path for sweep in find_sweeps([tmp_path / place])] == [record.path]
    record.end()


def test_the_next_sweep_forgets_lists_that_tell_nothing_more(tmp_path):
    for names in (["a", "b"], ["b", "c"], ["d"]):
        SweepRecord(tmp_path, plan(tmp_path, *names)).end()
    begin(tmp_path / "d")
    alive = SweepRecord(tmp_path, plan(tmp_path, "x"))
    begin(tmp_path / "x")
    assert len(lists(tmp_path)) == 3  # the one of d is gone
    again = SweepRecord(tmp_path, plan(tmp_path, "a", "b"))
    left = {frozenset(path.name for path in sweep.epochs) for sweep in find_sweeps([tmp_path])}
    assert left == {frozenset("ab"), frozenset("bc"), frozenset("x")}  # and that of a living sweep is kept
    assert len(lists(tmp_path)) == 3
    alive.end()
    again.end()


def test_of_ended_sweeps_that_still_have_runs_only_the_latest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "_KEPT", 2)
    for name in "abcde":
        SweepRecord(tmp_path, plan(tmp_path, name)).end()
    assert [min(sweep.epochs).name for sweep in find_sweeps([tmp_path])] == ["c", "d", "e"]


def test_an_outputs_folder_may_move_and_runs_elsewhere_keep_their_place(tmp_path):
    planned = plan(tmp_path / "outputs", "a") | plan(tmp_path / "far", "b")
    SweepRecord(tmp_path / "outputs", planned).end()
    (tmp_path / "outputs").rename(tmp_path / "moved")
    (sweep,) = find_sweeps([tmp_path / "moved"])
    assert set(sweep.epochs) == {tmp_path / "moved" / "a", tmp_path / "far" / "b"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"started": "x", "anew": false, "runs": []}',
        b'{"started": 1, "anew": false, "runs": [{"folder": 3, "epochs": 1}]}',
        b'{"started": 1, "anew": false, "runs": [{"folder": "a", "epochs": 1e999}]}',
    ],
)  # fmt: skip
def test_a_damaged_list_is_passed_over_and_cleared_away(tmp_path, content):
    record = SweepRecord(tmp_path, plan(tmp_path, "a"))
    record.path.write_bytes(content)
    assert find_sweeps([tmp_path]) == []
    record.end()
    assert not list((tmp_path / SWEEPS_FOLDER).iterdir())


def test_a_list_that_cannot_be_written_does_not_hold_up_the_sweep(tmp_path):
    (tmp_path / SWEEPS_FOLDER).write_text("a file in the way")
    preflight._begin_record(tmp_path, plan(tmp_path, "a"))
    preflight._end_record()
    (tmp_path / SWEEPS_FOLDER).unlink()
    preflight._begin_record(tmp_path, plan(tmp_path, "a"))
    assert find_sweeps([tmp_path])[0].alive
    preflight._end_record()
    assert not find_sweeps([tmp_path])[0].alive


def test_lists_are_no_runs(tmp_path):
    folder = write_run(tmp_path, epochs=2)
    record = SweepRecord(tmp_path, plan(tmp_path, "a"))
    assert find_runs([tmp_path]) == [folder]
    assert json.loads(record.path.read_text())["runs"] == [{"folder": "a", "epochs": 5}]
    record.end()
