import os
import subprocess
import sys

import pytest
from rich.console import Console

from nc_runner.training import progress
from nc_runner.training.progress import LiveProgress, PlainProgress, choose_progress, describe

ROW = {
    "epoch": 12, "train_loss": 1.5e-3, "train_accuracy": 0.9987, "test_accuracy": 0.95, "nc1": 0.031,
    "mse_perp": 2e-4, "mse_ls": 1e-2,
}  # fmt: skip


def test_a_plain_line_tells_what_matters_in_less_than_100_characters():
    line = describe(ROW, epochs=350)
    assert line.startswith("epoch  12/350  loss 1.500e-03  train 99.87%  test 95.00%  NC1 3.100e-02")
    assert line.endswith("L_perp/L_LS 2.0e-02")
    assert len(line) < 100


def test_the_distance_to_the_central_path_is_left_out_where_it_means_nothing(capsys):
    assert describe(ROW, 350, path=False) == describe(ROW, 350).partition("  L_perp")[0]
    choose_progress("plain", 350, path=False).row(ROW)
    assert "L_perp" not in capsys.readouterr().out


def test_a_label_names_the_run_on_every_line(capsys):
    choose_progress("plain", 350, "[2/4]").row(ROW)
    assert capsys.readouterr().out.startswith("[2/4] epoch  12/350  loss")


def test_auto_is_live_on_a_terminal_and_plain_elsewhere(monkeypatch):
    for is_terminal, kind in ((True, LiveProgress), (False, PlainProgress)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda answer=is_terminal: answer)
        assert type(choose_progress("auto", 350)) is kind
    assert type(choose_progress("live", 350)) is LiveProgress


def live_text(width, label, monkeypatch):
    """What the live display writes on a terminal of this width."""
    console = Console(force_terminal=True, width=width, record=True)
    monkeypatch.setattr(progress, "OutputConsole", lambda: console)
    with LiveProgress(350, label) as live:
        live.step(11.5)
        live.row(ROW)
    return console.export_text().strip()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_line_shows_epoch_losses_accuracies_nc1_and_time_left_in_one_line(width, monkeypatch):
    text = live_text(width, "", monkeypatch)
    last = "epoch " + text.rpartition("epoch ")[2]  # the last frame
    assert len(last) <= width
    assert "12/" in last
    assert "loss 1.50e-03" in last
    if width >= 80:
        assert "12/350" in last
        assert "train 99.9%  test 95.0%  NC1 3.1e-02" in last


def test_the_live_line_begins_with_the_runs_label(monkeypatch):
    assert "[2/4] epoch 12/350" in live_text(120, "[2/4]", monkeypatch)


@pytest.mark.parametrize("kind", ["PlainProgress", "LiveProgress"])
def test_output_that_nobody_reads_any_more_is_dropped(kind):
    """As under `nc-run ... | head -1`: what comes after ends neither the run nor the command."""
    code = (
        f"from nc_runner.training.progress import {kind}, show\n"
        f"row = {ROW!r}\n"
        "show('first')\n"
        f"with {kind}(350) as display:\n"
        "    input()\n"
        "    display.step(11.5), display.row(row), display.row(row)\n"
        "print('last', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "TERM": "xterm", "FORCE_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    _, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 0, errors
