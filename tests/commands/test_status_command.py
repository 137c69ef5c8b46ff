"""nc-status, the command: what it prints, for people and machines; and what a real sweep looks like."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
import rich.console
from filelock import FileLock
from helpers.process import start
from helpers.settings import settings_of
from helpers.synthetic import sweep as planned
from helpers.synthetic import write_run

from nc_runner.commands import status
from nc_runner.commands.grid import shorten
from nc_runner.commands.status_choice import Choice
from nc_runner.commands.status_table import Window, render
from nc_runner.config.identity import folder_name
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOCK_FILE,
    RUN_FILE,
    RUNNING,
    last_row,
)
from nc_runner.runs.sweeps import SweepArchive, new_name
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


def lines_of(overview, choice=None, **window):
    listing = (choice or Choice()).of(overview)
    console = rich.console.Console(file=(out := StringIO()), width=window.get("width") or 10_000)
    console.print(rich.console.Group(*render(listing, Window(**window))), crop=False)
    return out.getvalue().splitlines()


def of_settings(root, *overrides, **run):
    """A synthetic run with real settings, in the folder of these."""
    config = settings_of(*overrides, "epochs=20")
    cell = {"net": config.net.name, "data": config.data.name, "loss": config.loss.name}
    made = write_run(root / "made", **cell, seed=config.seed, lr=config.lr, epochs=20, **run)
    content = json.loads((made / RUN_FILE).read_text())
    content["settings"] = config.model_dump(mode="json", by_alias=True)
    (made / RUN_FILE).write_text(json.dumps(content))
    folder = root / folder_name(config)
    folder.parent.mkdir(exist_ok=True)
    return made.rename(folder)


@pytest.fixture
def decays(tmp_path):
    """Six runs of three weight decays, of which the second has failed for the largest."""
    for decay, seed in itertools.product(("1e-4", "5e-4", "1e-3"), (0, 1)):
        state = FAILED if (decay, seed) == ("1e-3", 1) else COMPLETE
        of_settings(tmp_path, f"weight_decay={decay}", f"seed={seed}", state=state)
    return tmp_path


def test_a_pipe_gets_plain_whole_paths_and_nothing_heavy_is_loaded(sweep):
    done = command(sweep)
    assert done.returncode == 0
    assert done.stderr == "heavy: rich\n"
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["loss", "net", "seed", "state", "epoch", "NC1", "test", "left", "folder"]
    assert "\x1b" not in done.stdout
    assert not any(line.endswith(" ") for line in lines)
    rows = {match[2]: match[1] for line in lines if (match := re.match(r"(.*) (/\S+)$", line))}
    assert set(rows) == {str(run.folder) for run in overview([sweep]).runs}
    (current,) = (row for row in rows.values() if "running" in row)
    assert re.match(r"ce +vgg11 +0 +running +5/20 +\d\.\de[+-]\d\d +\d\d\.\d\d% +\d+ s", current)
    assert "13 runs: 9 complete, 1 running, 1 waiting, 1 interrupted, 1 diverged; about " in done.stdout
    assert lines[-2].endswith("seed2-" + lines[-2].split("seed2-")[1])
    assert "no longer finite in epoch 4, at lr=0.0184" in lines[-2]
    assert lines[-1] == "interrupted: resumes with the same command"


def test_rows_that_were_measured_from_elsewhere_are_nothing_for_nc_run(tmp_path, capsys):
    folder = write_run(tmp_path, epochs=3, rows=1, state=INTERRUPTED)
    assert status.main([str(tmp_path)]) == 0
    assert "resumes with the same command" in capsys.readouterr().out
    record = json.loads((folder / RUN_FILE).read_text())
    (folder / RUN_FILE).write_text(json.dumps(record | {"kind": "measured"}))
    assert status.main([str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "1 interrupted" in output
    assert "same command" not in output


def test_what_varies_is_shown_in_columns_of_its_own(decays):
    header, heading, *lines = lines_of(overview([decays]), width=80)
    assert header.split() == ["seed", "weight_decay", "state", "epoch", "NC1", "test", "folder"]
    assert heading == shorten(str(decays / "mse-resnet8-digits"), 80)
    told = [line.split()[:3] for line in lines[:6]]
    assert told == [  # in the order of what varies
        ["0", "0.0001", "complete"], ["1", "0.0001", "complete"], ["0", "0.0005", "complete"],
        ["1", "0.0005", "complete"], ["0", "0.001", "complete"], ["1", "0.001", "failed"],
    ]  # fmt: skip
    names = {folder_name(settings_of("epochs=20", f"weight_decay={d}", f"seed={s}")) for s, d, _ in told}
    assert {line.split()[-1] for line in lines[:6]} == {name[-8:] for name in names}


def test_waiting_runs_have_the_settings_that_their_sweep_plans(decays):
    configs = [settings_of("epochs=20", "seed=7", f"weight_decay={decay}") for decay in (1e-4, 0.25)]
    folders = {decays / folder_name(config): config for config in configs}
    plain = {folder: config.model_dump(mode="json", by_alias=True) for folder, config in folders.items()}
    archive = SweepArchive(decays, new_name())
    with archive.alive():
        archive.plan(dict.fromkeys(folders, 20), False, plain)
        seen = overview([decays])
    waiting = [line for line in lines_of(seen, width=80) if "  waiting  " in line]
    assert sorted(line.split()[:3] for line in waiting) == [
        ["7", "0.0001", "waiting"],
        ["7", "0.25", "waiting"],
    ]


def test_a_run_of_unknown_settings_is_named_by_its_folder(decays):
    waiting = decays / "mse-resnet8-digits" / "lr0.1-seed9-00000000"
    with planned(decays, waiting):
        seen = overview([decays])
    (line,) = (line for line in lines_of(seen, width=80) if "  waiting  " in line)
    assert line.split() == ["lr0.1-seed9…000000", "waiting", "0/20", "-", "-", "00000000"]
    (line,) = (line for line in lines_of(seen) if "  waiting  " in line)
    assert line.split() == ["-", "-", "waiting", "0/20", "-", "-", "-", str(waiting)]


@pytest.mark.parametrize("width", [30, 60, 80, 100, 200])
def test_a_terminal_of_any_width_gets_a_line_for_each_run(sweep, width):
    seen = overview([sweep])
    lines = lines_of(seen, width=width)
    assert max(map(len, lines)) <= width
    for run in seen.runs:
        found = [line for line in lines if re.search(rf" {run.state} .*\b{run.folder.name[-8:]}$", line)]
        assert len(found) == 1
    narrow = [line for line in lines if line.startswith("the window is too narrow for")]
    assert len(narrow) == (width < 50)
    foot = 3 + (width < 100)  # time left has a line of its own
    assert len(lines) == 1 + 13 + 4 + foot + len(narrow)  # a heading for each cell


def test_columns_that_do_not_fit_are_named_and_the_last_settings_go_first(tmp_path):
    for number, change in enumerate(
        ("momentum=0.5", "weight_decay=0.001", "data.label_noise=0.25", "lr=0.2")
    ):
        of_settings(tmp_path, change, "batch_size=64" if number else "batch_size=128")
    seen = overview([tmp_path])
    every = lines_of(seen, width=200)[0].split()
    assert every[:6] == ["seed", "lr", "momentum", "weight_decay", "batch_size", "label_noise"]
    for width in range(30, 120):
        header, *lines = lines_of(seen, width=width)
        assert max(map(len, (header, *lines))) <= width
        hidden = [line for line in lines if line.startswith("the window is too narrow for ")]
        gone = hidden[0].removeprefix("the window is too narrow for ").split(", ") if hidden else []
        left = [name for name in every if name not in gone and not any(g.endswith("…") for g in gone)]
        assert len(left) == len(header.split()) or gone[-1].endswith("…")
    assert "label_noise" not in lines_of(seen, width=64)[0]
    assert "lr" in lines_of(seen, width=64)[0].split()


def test_whole_paths_are_printed_below_where_they_do_not_fit(decays):
    seen = overview([decays])
    wide = lines_of(seen, width=300, folders=True)
    low = lines_of(seen, width=80, height=9, folders=True)
    lines = lines_of(seen, width=80, folders=True)
    for run in seen.runs:
        assert f"    {run.folder}" in lines
        assert sum(line.endswith(f"  {run.folder}") for line in wide) == 1
    assert len(lines) == 1 + 2 * 6 + 2
    assert len(low) <= 9


def test_a_low_window_shows_what_moves_and_says_what_it_leaves_out(sweep):
    seen = overview([sweep])
    for height in range(6, 25):
        lines = lines_of(seen, width=80, height=height, footer="again every 2 s")
        assert len(lines) <= height
        assert sum("running" in line for line in lines[:-4]) >= (height >= 8)
        assert any(line.startswith("13 runs: ") for line in lines)
        left_out = 13 - sum(bool(re.match(" +[0-9-]", line)) for line in lines)
        assert any(line.startswith(f"{left_out} more are not shown") for line in lines) == (left_out > 0)


def test_names_and_settings_from_disk_cannot_move_the_cursor_or_style_the_table(tmp_path):
    folder = write_run(tmp_path, epochs=2)
    content = json.loads((folder / RUN_FILE).read_text())
    content["settings"]["net"]["k\x1b[2J"] = "v\x1b[2J\u202e[red]"
    content |= {"state": "failed", "reason": "r\x1b[2J\nmore", "host": "h\x1b[2J"}
    (folder / RUN_FILE).write_text(json.dumps(content))
    folder.rename(folder.parent / "evil\x1b[2J[red]\n\udcff")
    write_run(tmp_path, epochs=2)
    for window in ({"width": 200}, {"width": 80, "folders": True}, {}):
        text = "\n".join(lines_of(overview([tmp_path]), **window))
        assert "evil?[2J[red]??" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


@pytest.mark.parametrize(
    ("arguments", "states"),
    [
        (["--state", "failed"], {"failed": 1}),
        (["--state", "failed", "--state", "complete"], {"failed": 1, "complete": 5}),
        (["--state=complete,failed"], {"failed": 1, "complete": 5}),
        (["--state", "not-started"], {}),
    ],
)
def test_runs_are_chosen_by_their_states_and_all_are_counted(decays, capsys, arguments, states):
    assert status.main([str(decays), "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Counter(run["state"] for run in found["runs"]) == states
    assert found["counts"] == {"complete": 5, "failed": 1}
    assert status.main([str(decays), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "6 runs: 5 complete, 1 failed" in shown
    assert (f"listed: {sum(states.values())} of 6 runs" in shown) == (sum(states.values()) < 6)


@pytest.mark.parametrize(
    ("key", "column", "expected"),
    [
        ("weight_decay", "weight_decay", [1e-4, 1e-4, 5e-4, 5e-4, 1e-3, 1e-3]),
        ("-weight_decay", "weight_decay", [1e-3, 1e-3, 5e-4, 5e-4, 1e-4, 1e-4]),
        ("seed", "seed", [0, 0, 0, 1, 1, 1]),
        ("state", "weight_decay", None),
    ],
)
def test_runs_are_sorted_by_settings_and_columns(decays, capsys, key, column, expected):
    assert status.main([str(decays), "--json", "--sort", key]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    if expected:
        assert [run["settings"][column] for run in runs] == expected
    else:
        assert [run["state"] for run in runs] == ["complete"] * 5 + ["failed"]


def test_what_is_not_known_comes_last_in_either_order(sweep):
    seen = overview([sweep])
    for key in ("nc1", "-nc1", "NC1", "-test", "left"):
        runs = Choice(sort=key).of(seen).runs
        name = "seconds_left" if key == "left" else "test_accuracy" if key == "-test" else "nc1"
        values = [getattr(run, name) for run in runs if key != "left" or run.state == RUNNING]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=key.startswith("-"))
        assert values == [*known, *[None] * (len(values) - len(known))]
    assert lines_of(seen, Choice(sort="-nc1"), width=80)[0].split()[:2] == ["loss", "net"]


def test_machines_get_json_in_which_every_number_is_one(sweep):
    done = command(sweep, "--json")
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["counts"] == {"complete": 9, "running": 1, "waiting": 1, "interrupted": 1, "diverged": 1}
    assert found["problems"] == []
    assert set(found) == {"runs", "counts", "seconds_left", "problems"}
    assert set(found["runs"][0]) == {
        "folder", "state", "epoch", "epochs", "nc1", "test_accuracy", "epoch_seconds", "seconds_left",
        "reason", "host", "settings",
    }  # fmt: skip
    (current,) = (run for run in found["runs"] if run["state"] == "running")
    row = last_row(Path(current["folder"]))
    assert (current["epoch"], current["epochs"]) == (5, 20)
    assert (current["nc1"], current["test_accuracy"]) == (row["nc1"], row["test_accuracy"])
    assert current["settings"] == {"loss": "ce", "net": "vgg11", "data": "cifar10", "seed": 0}
    (waiting,) = (run for run in found["runs"] if run["state"] == "waiting")
    assert waiting["settings"] == {}
    assert 0 < current["seconds_left"] <= 30 < found["seconds_left"] <= 70


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{here}/none"], "is not a folder"),
        (["{here}"], "no runs in"),
        (["{here}/file", "--watch"], "is not a folder"),
        (["{here}", "--state", "faild"], "--state faild: there is no such state; did you mean failed?"),
        (["{here}", "--state", "failed,"], "give some of complete, running"),
        (["{here}", "--watch", "0"], "at least 0.1 seconds"),
        (["{here}", "--watch=nan"], "at least 0.1 seconds"),
        (["{here}", "--watch=soon"], "soon"),
    ],
)
def test_bad_arguments_are_named(tmp_path, capsys, arguments, message):
    (tmp_path / "file").touch()
    try:
        code = status.main([argument.format(here=tmp_path) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "nc-status: " in error
    assert len(error.splitlines()) <= 4  # argparse's usage has two or three


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("wieght_decay", "did you mean weight_decay?"),
        ("-epoc", "--sort -epoc: there is no such column or setting; did you mean epoch?"),
        ("zzz", "give one of state, epoch, nc1, test, left, folder, loss, net, data, seed, weight_decay"),
        ("name", "--sort name is not clear: give one of net.name, data.name"),
    ],
)
def test_an_unknown_key_to_sort_by_is_an_error_with_the_nearest_name(decays, capsys, key, message):
    assert status.main([str(decays), "--sort", key]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2


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


@pytest.mark.parametrize("there", ["nothing", "folder"])
@pytest.mark.parametrize("kind", ["terminal", "pipe", "json"])
def test_watching_waits_for_the_first_run(tmp_path, monkeypatch, capsys, request, there, kind):
    outputs = tmp_path / "outputs"
    if there == "folder":
        outputs.mkdir()
    out = request.getfixturevalue("terminal") if kind == "terminal" else None
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            write_run(outputs, epochs=2)

    monkeypatch.setattr(status.time, "sleep", nap)
    assert status.main(["--watch", "1", str(outputs), *["--json"] * (kind == "json")]) == 0
    assert naps == [1.0, 1.0]
    captured = capsys.readouterr()
    said = " ".join((out.getvalue() if out else captured.err).split())
    lacks = f"there is no folder {outputs} yet" if there == "nothing" else "there is no run yet"
    assert "waiting for the first run in" in said
    assert lacks.replace(" ", "") in said.replace(" ", "")  # lines are broken anywhere
    if kind == "json":
        assert [run["state"] for run in json.loads(captured.out)["runs"]] == ["complete"]
    else:
        assert "1 run: 1 complete" in (out.getvalue() if out else captured.out)


def test_a_pipe_that_is_closed_early_is_no_error(sweep, tmp_path):
    line = f"{sys.executable} -m nc_runner.commands.status {sweep} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "table.txt").open("w") as file:
        code = subprocess.run(
            [sys.executable, "-m", "nc_runner.commands.status", sweep], stdout=file, timeout=60
        )
    assert code.returncode == 0
    assert "13 runs: " in (tmp_path / "table.txt").read_text()


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
