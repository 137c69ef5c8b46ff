"""The lists of runs that sweeps are going to make, and the attempts at them."""

import json
from contextlib import ExitStack
from dataclasses import replace

import pytest
from helpers.synthetic import write_run

from nc_runner.errors import RunFolderError
from nc_runner.runs import sweeps
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import COMPLETE, RUN_FILE, RUNNING, SWEEPS_FOLDER
from nc_runner.runs.sweeps import Attempt, SweepArchive, find_sweeps, new_name


class Begun:
    """A sweep of this process, alive until it is ended."""

    def __init__(self, root, planned, anew=False):
        self.archive = SweepArchive(root, new_name())
        self.stack = ExitStack()
        self.stack.enter_context(self.archive.alive())
        self.archive.plan(planned, anew)
        self.path = self.archive.path

    def end(self):
        self.stack.close()


def plan(root, *names, epochs=5):
    return {root / name: epochs for name in names}


def begin(folder):
    folder.mkdir(parents=True)
    (folder / RUN_FILE).write_text("{}")


def lists(root):
    return sorted((root / SWEEPS_FOLDER).glob("*.json"))


def test_a_sweep_is_alive_until_it_ends_and_its_list_says_what_it_will_make(tmp_path):
    record = Begun(tmp_path, plan(tmp_path, "cell/a", "cell/b", epochs=7))
    (sweep,) = find_sweeps([tmp_path])
    assert sweep.alive
    assert not sweep.anew
    assert sweep.epochs == {tmp_path / "cell/a": 7, tmp_path / "cell/b": 7}
    begin(tmp_path / "cell/a")
    record.end()
    (sweep,) = find_sweeps([tmp_path])
    assert not sweep.alive
    assert sweep.to_make() == {tmp_path / "cell/b"}


def test_a_list_has_the_settings_of_each_run_and_what_they_share_once(tmp_path):
    shared = {"lr": 0.1, "net": {"name": "vgg6", "depth": 6}, "bias": 1}
    settings = {tmp_path / "a": shared | {"seed": 0}, tmp_path / "b": shared | {"seed": 1, "bias": True}}
    archive = SweepArchive(tmp_path, new_name())
    with archive.alive():
        archive.plan(plan(tmp_path, "a", "b", "c"), False, settings)
        (sweep,) = find_sweeps([tmp_path])
        assert archive.path.read_text().count("vgg6") == 1
    assert sweep.settings == settings
    assert sweep.settings[tmp_path / "b"]["bias"] is True  # not 1, which is equal


def test_a_list_of_which_every_run_was_begun_is_forgotten_at_the_end(tmp_path):
    record = Begun(tmp_path, plan(tmp_path, "a"))
    begin(tmp_path / "a")
    record.end()
    assert not list((tmp_path / SWEEPS_FOLDER).iterdir())


@pytest.mark.parametrize("place", ["outputs", "outputs/cell", "outputs/cell/a", "."])
def test_lists_are_found_from_above_and_from_below(tmp_path, place):
    root = tmp_path / "outputs"
    (root / "cell" / "a").mkdir(parents=True)
    record = Begun(root, plan(root, "cell/a"))
    assert [sweep.path for sweep in find_sweeps([tmp_path / place])] == [record.path]
    record.end()


def test_the_next_sweep_forgets_lists_that_tell_nothing_more(tmp_path):
    for names in (["a", "b"], ["b", "c"], ["d"]):
        Begun(tmp_path, plan(tmp_path, *names)).end()
    begin(tmp_path / "d")
    alive = Begun(tmp_path, plan(tmp_path, "x"))
    begin(tmp_path / "x")
    assert len(lists(tmp_path)) == 3  # the one of d is gone
    again = Begun(tmp_path, plan(tmp_path, "a", "b"))
    left = {frozenset(path.name for path in sweep.epochs) for sweep in find_sweeps([tmp_path])}
    assert left == {frozenset("ab"), frozenset("bc"), frozenset("x")}  # and that of a living sweep is kept
    assert len(lists(tmp_path)) == 3
    alive.end()
    again.end()


def test_of_ended_sweeps_that_still_have_runs_only_the_latest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "_KEPT", 2)
    for name in "abcde":
        Begun(tmp_path, plan(tmp_path, name)).end()
    assert [min(sweep.epochs).name for sweep in find_sweeps([tmp_path])] == ["c", "d", "e"]


def test_an_outputs_folder_may_move_and_runs_elsewhere_keep_their_place(tmp_path):
    planned = plan(tmp_path / "outputs", "a") | plan(tmp_path / "far", "b")
    Begun(tmp_path / "outputs", planned).end()
    (tmp_path / "outputs").rename(tmp_path / "moved")
    (sweep,) = find_sweeps([tmp_path / "moved"])
    assert set(sweep.epochs) == {tmp_path / "moved" / "a", tmp_path / "far" / "b"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"started": "x", "anew": false, "runs": []}',
        b'{"started": 1, "anew": false, "runs": [{"folder": 3, "epochs": 1}]}',
        b'{"started": 1, "anew": false, "runs": [{"folder": "a", "epochs": 1, "settings": 3}]}',
        b'{"started": 1, "anew": false, "settings": [1], "runs": [{"folder": "a", "epochs": 1}]}',
        b'{"started": 1, "anew": false, "runs": [{"folder": "a", "epochs": 1e999}]}',
    ],
)  # fmt: skip
def test_a_damaged_list_is_passed_over_and_cleared_away(tmp_path, content):
    record = Begun(tmp_path, plan(tmp_path, "a"))
    record.path.write_bytes(content)
    assert find_sweeps([tmp_path]) == []
    record.end()
    assert not list((tmp_path / SWEEPS_FOLDER).iterdir())


def test_an_outputs_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / SWEEPS_FOLDER).write_text("a file in the way")
    with pytest.raises(RunFolderError, match="cannot write to"):
        Begun(tmp_path, plan(tmp_path, "a"))


def test_attempts_are_read_in_the_order_in_which_they_began_and_a_later_one_replaces_an_earlier(tmp_path):
    sweep = Begun(tmp_path, plan(tmp_path, "a", "b"))
    member = SweepArchive(tmp_path, sweep.archive.name)  # as another process has it
    first, second = (Attempt.begin(tmp_path / name) for name in "ba")
    for attempt in (second, first):
        member.record(attempt)
    assert sweep.archive.attempts() == [first, second]
    assert {attempt.state for attempt in sweep.archive.attempts()} == {RUNNING}
    member.record(replace(first, state=COMPLETE))
    assert [attempt.state for attempt in sweep.archive.attempts()] == [COMPLETE, RUNNING]
    assert member.planned() == [tmp_path / "a", tmp_path / "b"]
    sweep.end()


def test_a_stop_is_seen_by_every_process_of_the_sweep_and_by_no_other_sweep(tmp_path):
    sweep, other = Begun(tmp_path, plan(tmp_path, "a")), Begun(tmp_path, plan(tmp_path, "b"))
    member = SweepArchive(tmp_path, sweep.archive.name)
    assert not member.stop_was_asked()
    sweep.archive.ask_to_stop()
    assert member.stop_was_asked()
    assert not other.archive.stop_was_asked()
    sweep.end(), other.end()


def test_attempts_end_with_the_command_and_a_process_that_outlives_it_writes_none(tmp_path):
    sweep = Begun(tmp_path, plan(tmp_path, "a"))
    attempt = Attempt.begin(tmp_path / "a")
    sweep.archive.record(attempt)
    sweep.end()
    assert sweep.archive.attempts() == []
    sweep.archive.record(replace(attempt, state=COMPLETE))
    assert not sweep.archive.folder.exists()


def test_attempts_of_runs_that_go_on_elsewhere_are_kept(tmp_path):
    sweep = Begun(tmp_path, plan(tmp_path, "a"))
    sweep.archive.record(replace(Attempt.begin(tmp_path / "a"), host="another"))
    sweep.end()
    assert len(sweep.archive.attempts()) == 1


def test_lists_are_no_runs(tmp_path):
    folder = write_run(tmp_path, epochs=2)
    record = Begun(tmp_path, plan(tmp_path, "a"))
    assert find_runs([tmp_path]) == [folder]
    assert json.loads(record.path.read_text())["runs"] == [{"folder": "a", "epochs": 5}]
    record.end()
