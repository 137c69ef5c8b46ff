"""Many run folders, read by several processes or by one."""

import multiprocessing
import sys
import threading
from concurrent.futures.process import BrokenProcessPool

import pytest
from helpers.synthetic import write_run

from nc_runner.errors import RunFolderError
from nc_runner.runs import many
from nc_runner.runs.flows import FlowRun, FlowSettings, write_flow
from nc_runner.runs.many import read_all
from nc_runner.runs.reader import Run

FLOW = FlowSettings(3, 4, 5, [1.0, 0.5], 0, ["raw"], [1.0], 1)


@pytest.fixture
def folders(tmp_path):
    """Runs, a damaged one, and a flow without its table."""
    found = [write_run(tmp_path, seed=seed, epochs=3) for seed in range(5)]
    (found[2] / "run.json").write_text("{")
    write_flow(tmp_path / "flow", FLOW, [])
    return [*found, tmp_path / "flow"]


@pytest.fixture
def forked(monkeypatch):
    """Every read_all of two processes forks, as a command's does where there are many folders."""
    monkeypatch.setattr(many, "_MANY", 1)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    started = []
    context = multiprocessing.get_context
    monkeypatch.setattr(many, "get_context", lambda method: started.append(method) or context(method))
    return started


def described(found):
    return [
        (one.folder, one.content, one.warnings, one.rows.to_csv(), one.rows.dtypes.tolist())
        if isinstance(one, Run)
        else (type(one), str(one))
        for one in found
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_processes_find_what_one_finds_in_the_same_order(folders, forked):
    alone = read_all(folders)
    assert forked == []
    assert [type(one) for one in alone] == [Run, Run, RunFolderError, Run, Run, RunFolderError]
    assert described(read_all(folders, processes=2)) == described(alone)
    assert forked == ["fork"]


@pytest.mark.parametrize("error", [OSError("no processes"), BrokenProcessPool(), NotImplementedError()])
def test_where_processes_cannot_be_started_one_reads(error, folders, forked, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(many, "ProcessPoolExecutor", fail)
    assert described(read_all(folders, processes=2)) == described(read_all(folders))


def test_nothing_is_forked_beside_torch_or_threads_or_for_few_folders(folders, forked, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", many)
        read_all(folders, processes=2)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "active_count", lambda: 2)
        read_all(folders, processes=2)
    with monkeypatch.context() as patch:
        patch.setattr(many, "_MANY", 100)
        read_all(folders, processes=2)
    assert forked == []


def test_a_flow_is_read_as_one(tmp_path):
    write_flow(tmp_path, FLOW, [])
    (tmp_path / "flow.csv").write_text(
        (tmp_path / "flow.csv").read_text() + ",".join(["raw"] + ["1.0"] * 14) + "\n"
    )
    (flow,) = read_all([tmp_path])
    assert isinstance(flow, FlowRun)
