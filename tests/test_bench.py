"""scripts/bench.py: the ways that are timed give equal numbers and take turns; tables show the targets."""

import functools
import importlib
import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from helpers.lab import few_images
from rich.console import Console

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def part(name):
    return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def bench(monkeypatch):
    """One that runs each task once."""
    common = part("common")

    class Once(common.Bench):
        def alternate(self, tasks, repeats=None):
            for task in tasks.values():
                task()
            return {name: [1.0] for name in tasks}

    return Once(torch.device("cpu"), quick=True)


def test_the_notebooks_loops_give_nc_runners_metrics():
    metrics, rivals = part("metrics"), part("rivals")
    features, labels, weight, outputs = metrics.samples(300, torch.device("cpu"))
    ours = metrics.collapse_of(features, labels, weight, outputs)
    batches = list(zip(features.split(128), outputs.split(128), labels.split(128), strict=True))
    found = rivals.notebook_statistics(lambda: batches, metrics.C, metrics.P, torch.device("cpu"))
    theirs = rivals.notebook_metrics(*found, weight)
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_the_notebooks_analysis_gives_nc_runners_row(bench):
    common, rivals = part("common"), part("rivals")
    data = common.random_images(60, 3, 16)
    trainer = common.trainer_of(bench, data, "net=resnet8")
    row = trainer.measurer.measure().row
    loader = rivals.picture_loader(data.train, data, 20, range(60))
    network = trainer.network
    theirs = rivals.notebook_analysis(network.model, network.classifier, loader, 10, torch.device("cpu"))
    assert {name: row[name] for name in theirs} == pytest.approx(theirs, rel=2e-3)


@pytest.mark.slow
def test_all_ways_to_train_start_and_end_with_the_same_weights(bench):
    contest = part("train").Contest(bench, few_images(count=64), "net=resnet8", "batch_size=16")
    assert len(contest.times("", ("fp32", "bf16"))) == 6
    train = part("train")
    faster = contest.nc_runner("fp32")
    contest.nc_runner = lambda precision: faster  # is an epoch ahead: other weights
    faster()
    with pytest.raises(SystemExit, match="nothing is timed"):
        contest.times("", ("fp32",))
    assert train.has_bf16(torch.device("cuda"))


def test_the_notebooks_way_runs_in_another_process_that_keeps_running():
    apart = part("apart").Apart(functools.partial, os.getpid)
    assert apart() == apart() != os.getpid()
    with pytest.raises(SystemExit, match="its error is printed above"):
        part("apart").Apart(functools.partial, int, "no number")()


def test_tasks_take_turns_and_the_first_round_does_not_count():
    calls = []
    tasks = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    common = part("common")
    times = common.Bench(torch.device("cpu")).alternate(tasks, repeats=2)
    assert calls == ["a", "b"] * 3
    assert [len(values) for values in times.values()] == [2, 2]
    assert common.ratio({"a": [2, 6, 3], "b": [1, 2, 3]}, "a", "b") == 2


def test_a_finding_is_met_on_the_right_side_of_its_target():
    finding = part("common").Finding
    assert finding("", 2.0, "x", at_least=2).met
    assert not finding("", 1.9, "x", at_least=2).met
    assert finding("", 1.02, "x", at_most=1.03).met
    assert not finding("", float("nan"), "x", at_most=1.03).met
    assert finding("", 1.0, "x").met is None
    assert finding("", 0.2, "%", at_most=0.25).target == "<= 25.0 %"


def test_growth_beyond_its_order_is_flagged():
    scale = part("scale")
    first, second = (1000, 128, 10), (4000, 128, 10)
    steady = {"statistics": 1.0, "nearest means": 1.0, "metrics": 1.0}
    good = {"statistics": 4.0, "nearest means": 4.0, "metrics": 1.0}
    measured = {first: (steady, 1e6), second: (good, 1e6)}
    assert "DEPARTS" not in scale.compare("N", second, first, measured).note
    measured[second] = (good | {"statistics": 8.0}, 1e6)
    finding = scale.compare("N", second, first, measured)
    assert finding.value == pytest.approx(2.0)
    assert "DEPARTS: statistics" in finding.note
    measured[second] = (good, 1e8)
    assert "DEPARTS: memory" in scale.compare("N", second, first, measured).note


@pytest.mark.slow
def test_the_peak_of_memory_is_that_of_each_size_alone():
    scale, bench = part("scale"), part("common").Bench(torch.device("cpu"), quick=True)
    large, small = (60_000, 128, 10), (20_000, 128, 10)
    peaks = [scale.in_own_process(bench, size)[1] for size in (large, small)]
    assert all(peak > 4 * N * P for peak, (N, P, _) in zip(peaks, (large, small), strict=True))
    assert peaks[0] > peaks[1] + 4 * 20_000 * 128  # of 40,000 more rows; the processes differ by some MB


def test_the_sweep_that_is_skipped_has_the_papers_750_runs():
    compose, start = importlib.import_module("nc_runner.commands.hydra_app.compose"), part("start")
    with compose.session() as app:
        sweep = compose.compose(app, [*start.SWEEP, "hydra.mode=MULTIRUN"], sweep=True)
        rates = sweep.hydra.sweeper.params.lr.split(",")
        sweep = compose.compose(app, [*start.SWEEP, f"lr={rates[0]}", "hydra.mode=MULTIRUN"], sweep=True)
        folders = {job.folder for job in compose.sweep_jobs(app, sweep)}
    assert len(folders) * len(rates) == 750


def test_the_runs_that_a_sweep_skips_count_as_finished(tmp_path):
    common, start = part("common"), part("start")
    from nc_runner.commands.attempt import check_owner, is_finished

    config = common.settings_of("epochs=3")
    start.write_run(tmp_path / "run", config, rows=3)
    assert is_finished(tmp_path / "run")
    check_owner(tmp_path / "run", config)


def test_a_command_that_ends_or_prints_otherwise_is_not_timed(tmp_path):
    start = part("start")
    assert start.seconds([sys.executable, "-c", "print('done')"], tmp_path, printed="done") > 0
    for code, printed in ((0, "3 complete"), (1, "done")):
        with pytest.raises(SystemExit, match="ended with 0"):
            start.seconds([sys.executable, "-c", "print('done')"], tmp_path, code, printed)


def test_tables_and_json_hold_values_targets_and_verdicts(monkeypatch):
    bench, finding = importlib.import_module("bench"), part("common").Finding
    findings = [
        finding("fast", 3.0, "x", at_least=2, seconds={"a": 1.0}),
        finding("slow", 1.5, "x", at_most=1.03, note="why"),
        finding("left out", float("nan"), "x"),
    ]
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(bench.table("part", findings, 2.0))
    lines = console.export_text().splitlines()
    (fast,) = (line for line in lines if "fast" in line)
    (slow,) = (line for line in lines if "slow" in line)
    assert all(word in fast for word in ("3.000", ">= 2.000", "yes"))
    assert all(word in slow for word in ("1.500", "<= 1.030", "no", "why"))
    written = json.loads(
        json.dumps(
            bench.report({"torch": "2"}, {"part": findings}), allow_nan=False
        )  # as any reader wants it
    )
    assert [entry["met"] for entry in written["parts"]["part"]] == [True, False, None]
    assert written["parts"]["part"][0]["seconds"] == {"a": 1.0}
    assert written["parts"]["part"][2]["value"] is None


def test_an_unknown_part_is_an_error_that_lists_the_parts(monkeypatch, capsys):
    bench = importlib.import_module("bench")
    monkeypatch.setattr(sys, "argv", ["bench.py", "metric"])
    with pytest.raises(SystemExit) as ended:
        bench.parsed()
    assert ended.value.code == 2
    assert "'metric' (choose from" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    assert bench.parsed().parts == []
