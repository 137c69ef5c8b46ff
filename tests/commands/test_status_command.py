"""nc-status, the command: what it prints, for people and machines; and what a real sweep looks like."""

import json
import os
import re
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
import rich.console
from filelock import FileLock
from helpers.process import start
from helpers.synthetic import sweep as planned
from helpers.synthetic import write_run

from nc_runner.commands import status
from nc_runner.commands.status_table import render
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import DIVERGED, INTERRUPTED, LOCK_FILE, RUN_FILE, RUNNING, last_row
from nc_runner.status import overview


def command(*arguments, **environment):
    """Run nc-status in a fresh Python; the last line of stderr says which heavy modules it loaded."""
    code = (
        "import sys; from nc_runner.commands.status import main\n"
        "try: code = main()\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "heavy = ('torch', 'matplotlib', 'pandas', 'numpy', 'hydra', 'filelock', 'rich')\n"
        "print('heavy:', *(name for name in heavy if name in sys.modules), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


@pytest.fixture
def sweep(tmp_path):
    """A dozen runs: eight complete, one running, interrupted, diverged, and one that waits."""
    for net in ("resnet18", "vgg11"):
        for loss in ("mse", "ce"):
            for seed in range(3):
                if (net, loss) != ("vgg11", "ce"):
                    last = write_run(tmp_path, net, "cifar10", loss, seed=seed, lr=0.0184, epochs=20)
    cell = {"root": tmp_path, "net": "vgg11", "data": "cifar10", "loss": "ce", "lr": 0.0184, "epochs": 20}
    current = write_run(**cell, rows=5, state=RUNNING)
    write_run(**cell, seed=1, rows=2, state=INTERRUPTED)
    diverged = write_run(**cell, seed=2, rows=3, state=DIVERGED)
    content = json.loads((diverged / RUN_FILE).read_text())
    content["reason"] = "the loss is no longer finite in epoch 4, at lr=0.0184\ntry a smaller learning rate"
    (diverged / RUN_FILE).write_text(json.dumps(content))
    waiting = last.parent / "lr0.0184-seed3-00000000"
    with planned(tmp_path, waiting), FileLock(current / LOCK_FILE):
        yield tmp_path


def lines_of(overview, **size):
    console = rich.console.Console(file=(out := StringIO()), width=size.get("width") or 10_000)
    console.print(render(overview, **size))
    return out.getvalue().splitlines()


def test_a_pipe_gets_plain_whole_names_and_nothing_heavy_is_loaded(sweep):
    done = command(sweep)
    assert done.returncode == 0
    assert done.stderr == "heavy: rich\n"
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["run", "state", "epoch", "NC1", "test", "left"]
    assert "\x1b" not in done.stdout
    assert not any(line.endswith(" ") for line in lines)
    rows = {match[1]: match[2] for line in lines if (match := re.match(r"(/\S+) +(.*)", line))}
    assert set(rows) == {str(run.folder) for run in overview([sweep]).runs}
    (current,) = (row for row in rows.values() if row.startswith("running"))
    assert re.fullmatch(r"running +5/20 +\d\.\de[+-]\d\d +\d\d\.\d\d% +\d+ s", current)
    assert "13 runs: 9 complete, 1 running, 1 waiting, 1 interrupted, 1 diverged; about " in done.stdout
    assert lines[-2].endswith("seed2-" + lines[-2].split("seed2-")[1])
    assert "no longer finite in epoch 4, at lr=0.0184" in lines[-2]
    assert lines[-1] == "interrupted: resumes with the same command"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_terminal_of_any_width_gets_a_line_for_each_run(sweep, width):
    seen = overview([sweep])
    lines = lines_of(seen, width=width)
    assert max(map(len, lines)) <= width
    for run in seen.runs:
        found = [line for line in lines if re.search(rf"{run.folder.name[-8:]} +{run.state} ", line)]
        assert len(found) == 1
    assert len(lines) == 1 + 13 + 4 + 3  # a heading for each cell, and the foot


def test_a_low_window_shows_what_moves_and_says_what_it_leaves_out(sweep):
    seen = overview([sweep])
    for height in range(6, 25):
        lines = lines_of(seen, width=80, height=height, footer="again every 2 s")
        assert len(lines) <= height
        assert sum("running" in line for line in lines[:-4]) >= (height >= 8)
        assert any(line.startswith("13 runs: ") for line in lines)
        left_out = 13 - sum(bool(re.match("  lr", line)) for line in lines)
        assert any(line.startswith(f"{left_out} more are not shown") for line in lines) == (left_out > 0)


def test_names_from_disk_cannot_move_the_cursor_or_style_the_table(tmp_path):
    folder = write_run(tmp_path, epochs=2)
    folder.rename(tmp_path / "evil\x1b[2J[red]\n\udcff")
    text = "\n".join(lines_of(overview([tmp_path]), width=80))
    assert "evil?[2J[red]??" in text
    assert "\x1b" not in text


def test_machines_get_json_in_which_every_number_is_one(sweep):
    done = command(sweep, "--json")
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["counts"] == {"complete": 9, "running": 1, "waiting": 1, "interrupted": 1, "diverged": 1}
    assert found["problems"] == []
    (current,) = (run for run in found["runs"] if run["state"] == "running")
    row = last_row(Path(current["folder"]))
    assert (current["epoch"], current["epochs"]) == (5, 20)
    assert (current["nc1"], current["test_accuracy"]) == (row["nc1"], row["test_accuracy"])
    assert 0 < current["seconds_left"] <= 30 < found["seconds_left"] <= 70


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{here}/none"], "is not a folder"),
        (["{here}"], "no runs in"),
        (["{here}", "--watch"], "no runs in"),
        (["{here}", "--watch", "0"], "at least 0.1 seconds"),
        (["{here}", "--watch=nan"], "at least 0.1 seconds"),
        (["{here}", "--watch=soon"], "soon"),
    ],
)
def test_bad_arguments_are_named(tmp_path, capsys, arguments, message):
    try:
        code = status.main([argument.format(here=tmp_path) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "nc-status: " in error
    assert len(error.splitlines()) <= 3


def test_a_damaged_run_is_named_and_alone_it_is_a_failure(tmp_path, capsys):
    bad = write_run(tmp_path, epochs=1)
    (bad / RUN_FILE).write_text("{")
    assert status.main([str(tmp_path)]) == 1
    assert f"nc-status: left out: {bad}" in capsys.readouterr().err
    write_run(tmp_path, epochs=1, seed=1)
    assert status.main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "1 run: 1 complete" in captured.out
    assert len(captured.err.splitlines()) == 1


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal of 80 x 24 is sent."""
    out, real = StringIO(), rich.console.Console
    monkeypatch.setattr(
        rich.console,
        "Console",
        lambda **options: real(file=out, force_terminal=True, width=80, height=24, **options),
    )
    return out


def test_watching_ends_when_the_last_run_does(tmp_path, monkeypatch, terminal):
    folder = write_run(tmp_path, epochs=4, rows=3, state=RUNNING)
    lock = FileLock(folder / LOCK_FILE)
    lock.acquire()
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            content = json.loads((folder / RUN_FILE).read_text()) | {"state": "complete"}
            (folder / RUN_FILE).write_text(json.dumps(content))
            lock.release()

    monkeypatch.setattr(status.time, "sleep", nap)
    assert status.main(["--watch", str(tmp_path)]) == 0  # the folder is not taken for the seconds
    assert naps == [2.0] * 3
    text = terminal.getvalue()
    assert text.count("1 running") == 3
    assert "Ctrl-C quits" in text
    assert "1 complete" in text.rpartition("1 running")[2]
    assert text.endswith("\x1b[?25h")  # the cursor is back


def test_ctrl_c_ends_watching_as_expected_and_the_table_stays(sweep, monkeypatch, terminal):
    def interrupted(seconds):
        assert seconds == 0.5
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", interrupted)
    assert status.main([str(sweep), "--watch", "0.5"]) == 0
    assert "13 runs: " in terminal.getvalue()
    monkeypatch.setattr(status, "_once", lambda *_: interrupted(0.5))
    assert status.main([str(sweep)]) == 130


def test_watching_into_a_pipe_gives_the_end_alone_and_json_line_by_line(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path, epochs=4, rows=3, state=RUNNING)
    lock = FileLock(folder / LOCK_FILE)
    monkeypatch.setattr(status.time, "sleep", lambda _: lock.release())
    lock.acquire()
    assert status.main([str(tmp_path), "--watch"]) == 0
    shown = capsys.readouterr().out
    assert "1 killed" in shown
    assert "running" not in shown
    lock.acquire()
    assert status.main([str(tmp_path), "--watch", "--json"]) == 0
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["counts"] for look in looks] == [{"running": 1}, {"killed": 1}]


def test_a_real_sweep_is_seen_running_waiting_and_killed_with_a_run_not_started(tmp_path):
    process = start("-m", "seed=0,1", "epochs=400", "threads=1", "progress=plain", cwd=tmp_path)
    outputs = tmp_path / "outputs"
    try:
        line = process.stdout.readline()
        assert line.startswith("run 1 of 2: "), line
        first, second = overview([outputs]).runs  # torch is still being loaded
        assert (first.state, second.state, first.epochs, second.epochs) == ("running", "waiting", 400, 400)
        for line in process.stdout:
            if "epoch   2/" in line:
                break
        first, second = overview([outputs]).runs
        assert (first.state, second.state) == ("running", "waiting")
        assert first.epoch >= 2
        assert 0 < first.seconds_left < second.seconds_left
    finally:
        process.kill()
        process.communicate()
    time.sleep(0.1)
    first, second = overview([outputs]).runs
    assert (first.state, second.state) == ("killed", "not started")
    assert find_runs([outputs]) == [first.folder]
