"""Who is lost, by a store of this process: other hosts, restarts and a store that no longer answers."""

import os
import socket
import subprocess
import threading
import time

import pytest

from nc_runner.distributed import roster as module
from nc_runner.distributed.roster import Roster
from nc_runner.distributed.torchrun import Place
from nc_runner.errors import GroupError, RankLostError

HERE = socket.gethostname()


class MemoryStore:
    """torchrun's store; ``silent`` keeps every question waiting, ``gone`` refuses it."""

    def __init__(self):
        self.entries = {}
        self.lock = threading.Lock()
        self.silent = threading.Event()
        self.gone = False

    def _reached(self):
        if self.silent.is_set():
            time.sleep(60)
        if self.gone:
            raise RuntimeError("Connection was likely closed")

    def set(self, key, value):
        self._reached()
        self.entries[key] = value.encode()

    def get(self, key):
        self._reached()
        return self.entries[key]

    def add(self, key, amount):
        self._reached()
        with self.lock:
            total = int(self.entries.get(key, b"0")) + amount
            self.entries[key] = str(total).encode()
        return total

    def check(self, keys):
        self._reached()
        return all(key in self.entries for key in keys)

    def compare_set(self, key, expected_value, desired_value):
        self._reached()
        return self.entries.setdefault(key, desired_value.encode())


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(module, "SURVIVORS_SECONDS", 0.3)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(module, "START_SECONDS", 60.0)


def started(store, hosts, monkeypatch):
    """The rosters of all ranks, one on each of ``hosts``; all are started at once."""
    rosters = [Roster(store, Place(rank, len(hosts))) for rank in range(len(hosts))]
    errors = start(rosters)
    assert not errors
    for roster in rosters:
        processes = [module.Process(1000 + rank, host) for rank, host in enumerate(hosts)]
        monkeypatch.setattr(roster, "_processes", processes)
    return rosters


def start(rosters):
    """Start all at once; the errors by rank."""
    errors = {}

    def one(roster):
        try:
            roster.start()
        except GroupError as error:
            errors[roster.here.rank] = error

    threads = [threading.Thread(target=one, args=(roster,)) for roster in rosters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ((3,), "rank 3 of 4 (process 1003 on far) no longer answers: was it killed, or out of memory?"),
        (
            (2, 3),
            "ranks 2, 3 of 4 (processes 1002, 1003 on far) no longer answer: were they killed, or is far "
            "down, stopped or cut off?",
        ),
        ((0, 2, 3), "rank 0 of 4 (process 1000 on near), ranks 2, 3 of 4 (processes 1002, 1003 on far) no"),
    ],
)
def test_lost_ranks_are_named_with_their_hosts(lost, message, monkeypatch):
    rosters = started(MemoryStore(), ["near", "near", "far", "far"], monkeypatch)
    survivors = [rank for rank in range(4) if rank not in lost]
    causes = {}
    threads = [
        threading.Thread(target=lambda rank=rank: causes.update({rank: rosters[rank].cause()}))
        for rank in survivors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for cause in causes.values():
        assert isinstance(cause, RankLostError)
        assert str(cause).startswith(message)
        assert str(cause).endswith("\ngive the same command again to resume from the last checkpoint")
        assert cause.speaker == survivors[0]


def test_a_store_that_does_not_answer_is_given_up_and_its_host_named(monkeypatch):
    store = MemoryStore()
    (_, second) = started(store, ["near", HERE], monkeypatch)
    store.silent.set()
    began = time.monotonic()
    cause = second.cause()
    assert str(cause).startswith(
        "near, the host of rank 0, no longer answers: is it down, stopped or cut off?"
    )
    assert cause.speaker == 1
    assert second.leave_reason(ValueError("x")) == f"rank 1 of 2 on {HERE}: ValueError: x"  # asks no more
    assert time.monotonic() - began < 5


def test_a_store_that_is_gone_names_its_host(monkeypatch):
    store = MemoryStore()
    (_, second) = started(store, ["near", HERE], monkeypatch)
    store.gone = True
    assert "torchrun on near, the host of rank 0, is gone: its last lines there say why" in str(
        second.cause()
    )


def test_hosts_that_restarted_their_ranks_a_different_number_of_times_find_each_other(monkeypatch):
    """torchrun's own count would differ: one host restarts for a failure, the other for the first host."""
    store = MemoryStore()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    first = started(store, [HERE, HERE], monkeypatch)
    first[1].leave_reason(ValueError("of the first attempt"))
    assert "of the first attempt" in str(first[0].cause())
    again = started(store, [HERE, HERE], monkeypatch)
    assert [roster.number for roster in first + again] == [1, 1, 2, 2]
    assert "of the first attempt" not in str(again[0].cause())


def test_a_rank_that_died_before_it_was_answered_may_start_again(monkeypatch):
    store = MemoryStore()
    store.set("nc-runner/call/1", "17 near 1")
    rosters = started(store, [HERE, HERE], monkeypatch)
    assert [roster.number for roster in rosters] == [1, 1]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_rank_that_does_not_start_is_named(missing, monkeypatch):
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    errors = start([Roster(MemoryStore(), Place(1 - missing, 2))])
    assert str(errors[1 - missing]).startswith(f"rank {missing} of 2 did not start within 1 seconds")
    assert errors[1 - missing].speaker == 1 - missing


def test_a_rank_of_this_host_that_has_ended_is_known_at_once(monkeypatch):
    monkeypatch.setattr(module, "SURVIVORS_SECONDS", 30.0)
    rosters = started(MemoryStore(), [HERE, HERE], monkeypatch)
    child = subprocess.Popen(["true"])
    child.wait()
    pid = child.pid
    monkeypatch.setattr(
        rosters[0], "_processes", [module.Process(os.getpid(), HERE), module.Process(pid, HERE)]
    )
    began = time.monotonic()
    assert f"rank 1 of 2 (process {pid} on {HERE}) no longer answers" in str(rosters[0].cause())
    assert time.monotonic() - began < 5
