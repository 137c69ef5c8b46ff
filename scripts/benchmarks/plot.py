"""Figures, tables and status of a sweep: whole commands, their memory, and the steps of nc-plot."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.common import Bench, Finding
from benchmarks.start import NC_PLOT
from benchmarks.synthetic import PAPER, sweep_configs, with_seeds, write_sweep

NC_STATUS = [sys.executable, "-m", "nc_runner.commands.status"]
FEW = ("loss=mse,ce", "net=resnet8,vgg6", "data=digits,fashionmnist", "seed=0,1,2")
FEW_MORE = ("loss=mse,ce", "net=densenet10", "data=digits", "seed=0,1,2")
CELLS = ("experiment=paper_lr", "net=vgg,resnet,densenet", "data=mnist")  # for a quick look
MEMORY = 500  # MB


def run(bench: Bench) -> Iterator[Finding]:
    rows = 100 if bench.quick else 350
    with tempfile.TemporaryDirectory() as folder:
        few, sweep, many = (Path(folder, name) for name in ("few", "sweep", "many"))
        write_sweep(few / "outputs", [*sweep_configs(FEW), *sweep_configs(FEW_MORE)], rows)
        configs = sweep_configs(CELLS if bench.quick else PAPER)
        write_sweep(sweep / "outputs", configs, rows)
        write_sweep(many / "outputs", with_seeds(configs, 2 if bench.quick else 14)[:10_000], rows=5)
        yield from commands(bench, few, sweep, many)
        yield from steps(bench, sweep)


def commands(bench: Bench, few: Path, sweep: Path, many: Path) -> Iterator[Finding]:
    """Whole commands in turns, each in a new process."""
    runs = {folder: len(list(folder.rglob("run.json"))) for folder in (few, sweep, many)}
    tasks = {
        f"nc-plot, {runs[few]} runs": (NC_PLOT, few, 4.0),
        f"nc-plot --select best-test, {runs[sweep]} runs": ([*NC_PLOT, "--select", "best-test"], sweep, 6.0),
        f"nc-plot, {runs[sweep]} runs": (NC_PLOT, sweep, 15.0),
        f"nc-status, {runs[many]} runs": (NC_STATUS, many, 3.0),
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    memory: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(1 + bench.repeats):
        for name, (command, folder, _) in tasks.items():
            seconds, peak = watched(command, folder)
            if turn:
                times[name].append(seconds)
                memory[name].append(peak)
    for name, (_, _, limit) in tasks.items():
        note = f"{max(memory[name]):.0f} MB at most, all processes together"
        yield Finding(name, median(times[name]), "s", at_most=None if bench.quick else limit, note=note)
    worst = max(map(max, memory.values()))
    yield Finding("the most memory of these / 500 MB", worst / MEMORY, "x", at_most=1.0)


def steps(bench: Bench, sweep: Path) -> Iterator[Finding]:
    """The steps of nc-plot but the drawing; see plot_steps.py."""
    command = [sys.executable, str(Path(__file__).with_name("plot_steps.py")), "outputs"]
    rounds = []
    for _ in range(bench.repeats):
        done = subprocess.run(command, cwd=sweep, check=True, capture_output=True, text=True)
        rounds.append(json.loads(done.stdout))
    for name in rounds[0]:
        yield Finding(f"of the sweep: {name}", median(seconds[name] for seconds in rounds), "s")


def watched(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of a command that succeeds, and the most memory (MB) of it and its processes at one time."""
    peak = 0.0
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, sum(map(memory_of, family(process.pid))))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    seconds = time.perf_counter() - began
    watcher.join()
    if process.returncode:
        raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}: {printed[-2000:]}")
    return seconds, peak


def family(pid: int) -> list[int]:
    """A process and all that it started, as Linux lists them; the process alone elsewhere."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, text(children).split())
    return found


def memory_of(pid: int) -> float:
    """The memory of a process in MB; what several share is divided among them. 0 where Linux does not say."""
    lines = text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""
