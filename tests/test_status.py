"""What nc-status says of runs: states and time left, against runs made by hand."""

import json
import os
import socket
import time
from contextlib import contextmanager

import pytest
from filelock import FileLock
from helpers.synthetic import add_initial_row, settings_of, sweep, synthetic_row, write_run

from nc_runner import status
from nc_runner.config.schedules import PAPER_EPOCHS
from nc_runner.runs.locks import is_held
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOCK_FILE,
    METRICS_FILE,
    RUN_FILE,
    RUNNING,
    STATES,
    RunWriter,
)
from nc_runner.status import KILLED, NOT_STARTED, PERHAPS_KILLED, WAITING, overview

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def _still(monkeypatch):
    monkeypatch.setattr(status.time, "time", lambda: NOW)


@contextmanager
def running(folder):
    """Holds the run's lock, as its process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK_FILE):
        yield folder


def record(folder, **entries):
    content = json.loads((folder / RUN_FILE).read_text()) | entries
    (folder / RUN_FILE).write_text(json.dumps(content))


def the_run(root):
    (run,) = overview([root]).runs
    return run


def measured(folder, epochs, schedule, rows_at, train, analysis, **settings):
    """A run that was measured after the epochs ``rows_at``; an epoch trains in ``train`` seconds."""
    folder.mkdir(parents=True)
    writer = RunWriter(folder, 3)
    writer.rows.start()
    made = settings_of("resnet8", "digits", "mse", epochs=epochs)
    made["analysis"]["schedule"] = schedule
    writer.update(state=RUNNING, settings=made | settings)
    before = 0
    for epoch in rows_at:
        spent = {"train_seconds": train * (epoch - before), "analysis_seconds": analysis}
        writer.append(synthetic_row(epoch, epochs, 3, "mse", 0, 0.1) | spent)
        before = epoch
    os.utime(folder / METRICS_FILE, (NOW, NOW))
    return folder


@pytest.mark.parametrize("state", STATES)
def test_a_run_that_nobody_holds_is_as_its_record_says_or_was_killed(tmp_path, state):
    write_run(tmp_path, epochs=4, rows=3, state=state)
    run = the_run(tmp_path)
    assert run.state == (KILLED if state == RUNNING else state)
    assert (run.epoch, run.epochs, run.seconds_left) == (3, 4, None)
    row = synthetic_row(3, 4, 10, "mse", 0, 0.05)
    assert (run.nc1, run.test_accuracy) == (row["nc1"], row["test_accuracy"])


@pytest.mark.parametrize("state", STATES)
def test_a_run_whose_lock_is_held_runs_unless_it_has_ended(tmp_path, state):
    with running(write_run(tmp_path, epochs=4, rows=3, state=state)):
        expected = state if state in (COMPLETE, DIVERGED) else RUNNING
        assert the_run(tmp_path).state == expected


def test_a_run_of_another_host_whose_lock_is_not_seen_is_not_declared_dead(tmp_path):
    folder = write_run(tmp_path, epochs=4, rows=3, state=RUNNING)
    record(folder, host="elsewhere")
    assert (the_run(tmp_path).state, the_run(tmp_path).host) == (PERHAPS_KILLED, "elsewhere")
    record(folder, host=socket.gethostname())
    assert the_run(tmp_path).state == KILLED


def test_where_locks_cannot_be_seen_the_record_is_believed(tmp_path, monkeypatch):
    write_run(tmp_path, epochs=4, rows=3, state=RUNNING)
    monkeypatch.setattr(status, "is_held", lambda _: None)
    assert the_run(tmp_path).state == RUNNING


def test_a_run_that_ends_between_two_looks_was_not_killed(tmp_path, monkeypatch):
    folder = write_run(tmp_path, epochs=4, rows=3, state=RUNNING)

    def ends_now(path):
        record(folder, state=COMPLETE)
        return is_held(path)

    monkeypatch.setattr(status, "is_held", ends_now)
    assert the_run(tmp_path).state == COMPLETE


def test_a_run_without_a_record_yet_is_seen_by_its_lock(tmp_path):
    with running(tmp_path / "cell" / "a") as folder:
        assert (the_run(tmp_path).folder, the_run(tmp_path).state) == (folder, RUNNING)
    assert overview([tmp_path]).runs == []  # given up before it began


@pytest.mark.parametrize(("schedule", "rows_at"), [
    ("every", range(1, 8)), ("every", range(1, 40)), ([1, 5, 9, 20, 30, 64], [1, 5, 9, 20]),
    ([1, 5, 9, 20, 30, 64], [1]), ("paper", [e for e in PAPER_EPOCHS if e <= 100]),
])  # fmt: skip
def test_time_left_is_that_of_the_epochs_and_measurements_to_come(tmp_path, schedule, rows_at):
    train, analysis, epochs = 2.5, 0.75, 110
    folder = measured(tmp_path / "a", epochs, schedule, rows_at, train, analysis)
    wanted = {"every": range(1, epochs + 1), "paper": PAPER_EPOCHS}.get(str(schedule), schedule)
    expected = 0.0
    for epoch in range(rows_at[-1] + 1, epochs + 1):
        expected += train + (analysis if epoch in wanted or epoch == epochs else 0.0)
    with running(folder):
        assert the_run(tmp_path).seconds_left == pytest.approx(expected, rel=1e-12)
        assert overview([tmp_path]).seconds_left == pytest.approx(expected, rel=1e-12)


def test_the_row_of_epoch_0_says_nothing_of_the_pace(tmp_path):
    plain, begun = (write_run(tmp_path, epochs=100, rows=3, seed=seed, state=RUNNING) for seed in (0, 1))
    add_initial_row(begun, analysis_seconds=500.0)
    only = add_initial_row(write_run(tmp_path, epochs=100, rows=1, seed=2, state=RUNNING))
    rows = (only / METRICS_FILE).read_text().splitlines()
    (only / METRICS_FILE).write_text("\n".join(rows[:2]) + "\n")
    with running(plain), running(begun), running(only):
        first, second, third = overview([tmp_path]).runs
    assert (second.epoch, second.epoch_seconds) == (first.epoch, first.epoch_seconds) == (3, 2.0)
    assert (third.epoch, third.epoch_seconds, third.state) == (0, None, RUNNING)


def test_a_refitted_classifier_costs_a_measurement_after_every_epoch(tmp_path):
    with running(measured(tmp_path / "a", 30, [10, 20], [10], 2.0, 0.5, classifier="least_squares")):
        assert the_run(tmp_path).seconds_left == pytest.approx(20 * 2.5)


def test_time_left_goes_down_while_a_row_is_awaited_and_not_beyond_it(tmp_path):
    with running(measured(tmp_path / "a", 30, [10, 20], [10], 2.0, 0.5)) as folder:  # 41 s are left
        for waited, left in ((0, 41.0), (7, 34.0), (19, 22.0), (1000, 20.5), (-50, 41.0)):
            os.utime(folder / METRICS_FILE, (NOW - waited, NOW - waited))
            assert the_run(tmp_path).seconds_left == pytest.approx(left)


def test_only_the_recent_rows_tell_the_pace(tmp_path):
    slow_then_fast = {"train_seconds": lambda epoch: 60.0 if epoch <= 20 else 1.0, "analysis_seconds": 1.0}
    folder = write_run(tmp_path, epochs=100, rows=40, state=RUNNING, change=slow_then_fast)
    os.utime(folder / METRICS_FILE, (NOW, NOW))
    with running(folder):
        assert the_run(tmp_path).seconds_left == pytest.approx(60 * 2.0)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -5.0])
def test_seconds_that_tell_nothing_give_no_time(tmp_path, seconds):
    with running(write_run(tmp_path, epochs=9, rows=4, state="running", change={"train_seconds": seconds})):
        assert the_run(tmp_path).seconds_left is None
        assert overview([tmp_path]).seconds_left is None


def test_runs_that_a_sweep_has_not_begun_wait_while_it_lives(tmp_path):
    done = write_run(tmp_path, epochs=20)  # 2 s an epoch
    current = write_run(tmp_path, seed=1, epochs=20, rows=5, state=RUNNING)
    os.utime(current / METRICS_FILE, (NOW, NOW))
    same_cell, other_cell = done.parent / "next", tmp_path / "mse-vgg6-digits" / "later"
    with sweep(tmp_path, done, current, same_cell, other_cell), running(current):
        seen = overview([tmp_path])
        assert {run.folder: run.state for run in seen.runs} == {
            done: COMPLETE, current: RUNNING, same_cell: WAITING, other_cell: WAITING
        }  # fmt: skip
        left = {run.folder: run.seconds_left for run in seen.runs}
        assert left.pop(done) is None
        assert left == pytest.approx({current: 30, same_cell: 40, other_cell: 40})
        assert seen.seconds_left == pytest.approx(110)
        assert seen.moving
        below = overview([done.parent])
        assert [run.folder for run in below.runs] == [done, current, same_cell]
    seen = overview([tmp_path])
    assert {run.folder: run.state for run in seen.runs} == {
        done: COMPLETE, current: KILLED, same_cell: NOT_STARTED, other_cell: NOT_STARTED
    }  # fmt: skip
    assert seen.counts == {"complete": 1, "killed": 1, "not started": 2}
    assert (seen.seconds_left, seen.moving) == (None, False)


def test_a_sweep_that_runs_two_at_a_time_needs_half_the_time(tmp_path):
    folders = [write_run(tmp_path, seed=s, epochs=20, rows=10, state="running") for s in (0, 1)]
    for folder in folders:
        os.utime(folder / METRICS_FILE, (NOW, NOW))
    waiting = [folders[0].parent / f"w{n}" for n in range(4)]
    with sweep(tmp_path, *folders, *waiting), running(folders[0]), running(folders[1]):
        assert overview([tmp_path]).seconds_left == pytest.approx((20 + 20 + 4 * 40) / 2)


def test_single_runs_beside_each_other_are_done_when_the_longest_is(tmp_path):
    one = write_run(tmp_path, seed=0, epochs=20, rows=10, state="running")
    two = write_run(tmp_path, seed=1, epochs=20, rows=3, state="running")
    for folder in (one, two):
        os.utime(folder / METRICS_FILE, (NOW, NOW))
    with running(one), running(two):
        assert overview([tmp_path]).seconds_left == pytest.approx(34)


@pytest.mark.parametrize(("state", "expected", "anew"), [
    (INTERRUPTED, WAITING, WAITING), (FAILED, WAITING, WAITING), (RUNNING, WAITING, WAITING),
    (COMPLETE, COMPLETE, WAITING), (DIVERGED, DIVERGED, WAITING),
])  # fmt: skip
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_living_sweep_will_resume_what_was_begun_before_it(tmp_path, state, expected, anew, overwrite):
    folder = write_run(tmp_path, epochs=20, rows=8, state=state)
    record(folder, started="2001-02-03T04:05:06+00:00")
    with sweep(tmp_path, folder, anew=overwrite):
        assert the_run(tmp_path).state == (anew if overwrite else expected)
        begun_by_the_sweep = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(NOW + 1))
        record(folder, started=begun_by_the_sweep)
        assert the_run(tmp_path).state == (KILLED if state == RUNNING else state)


def test_runs_are_in_the_order_of_their_numbers(tmp_path):
    for seed, lr in ((10, 0.1), (2, 0.1), (0, 0.0184), (0, 1e-5)):
        write_run(tmp_path, epochs=1, seed=seed, lr=lr)
    names = [run.folder.name.rpartition("-")[0] for run in overview([tmp_path]).runs]
    assert names == ["lr1e-05-seed0", "lr0.0184-seed0", "lr0.1-seed2", "lr0.1-seed10"]


def test_flows_are_left_out_and_damaged_records_are_named(tmp_path):
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / RUN_FILE).write_text('{"format": 1, "kind": "flow", "state": "complete"}')
    bad = write_run(tmp_path, epochs=1)
    (bad / RUN_FILE).write_text("{")
    seen = overview([tmp_path])
    assert seen.runs == []
    assert len(seen.problems) == 1
    assert str(bad) in seen.problems[0]


@pytest.mark.parametrize("settings", [
    {}, {"epochs": "x"}, {"epochs": -1}, {"epochs": 9, "analysis": 3},
    {"epochs": 9, "analysis": {"schedule": ["a"]}},
])  # fmt: skip
def test_settings_damaged_by_hand_give_no_traceback(tmp_path, settings):
    folder = write_run(tmp_path, epochs=9, rows=3, state=RUNNING)
    record(folder, settings=settings, started=5, host=7, reason=["x"])
    with running(folder):
        assert the_run(tmp_path).epoch == 3
