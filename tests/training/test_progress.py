import sys

import pytest
from nc_runner.experiment import progress
from rich.console import Console

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


def test_auto_is_live_on_a_terminal_and_plain_elsewhere(monkeypatch):
    for is_terminal, kind in ((True, LiveProgress), (False, PlainProgress)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda answer=is_terminal: answer)
        assert type(choose_progress("auto", 350)) is kind
    assert type(choose_progress("live", 350)) is LiveProgress


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_line_shows_epoch_losses_accuracies_nc1_and_time_left_in_one_line(width, monkeypatch):
    console = Console(force_terminal=True, width=width, record=True)
    monkeypatch.setattr(progress, "Console", lambda: console)
    with LiveProgress(350) as live:
        live.step(11.5)
        live.row(ROW)
    last = "epoch " + console.export_text().strip().rpartition("epoch ")[2]  # the last frame
    assert len(last) <= width
    assert "12/" in last
    assert "loss 1.50e-03" in last
    if width >= 80:
        assert "12/350" in last
        assert "train 99.9%  test 95.0%  NC1 3.1e-02" in last
