"""scripts/chaos.py: lost, doubled and other rows are found, and weights that differ in one bit."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def part(name):
    return importlib.import_module(f"faults.{name}")


ROWS = [{"epoch": str(epoch), "nc1": f"0.{epoch}"} for epoch in (1, 2, 3)]


@pytest.mark.parametrize(
    ("disturbed", "found"),
    [
        (ROWS, []),
        (ROWS[:2], ["lost rows: 3"]),
        ([*ROWS, ROWS[1]], ["doubled rows: 2"]),
        ([ROWS[0], ROWS[0], ROWS[2]], ["lost rows: 2", "doubled rows: 1"]),
        ([*ROWS[:2], {"epoch": "3", "nc1": "0.4"}], ["the rows differ"]),
        ([ROWS[1], ROWS[0], ROWS[2]], ["the rows differ"]),
    ],
    ids=["equal", "lost", "doubled", "both", "other", "order"],
)
def test_rows_that_are_lost_doubled_or_different_are_found(disturbed, found):
    assert list(part("compare").of_rows(ROWS, disturbed)) == found


def test_weights_are_equal_to_the_last_bit_or_not():
    same = part("compare").same
    weights = {"a": torch.ones(3), "b": [1, (2.0, torch.zeros(2))]}
    assert same(weights, {"a": torch.ones(3), "b": [1, (2.0, torch.zeros(2))]})
    assert not same(weights, {"a": torch.ones(3) + 2**-23, "b": weights["b"]})
    assert not same(weights, {"a": torch.ones(3).double(), "b": weights["b"]})
    assert not same(weights, {"a": torch.ones(3)})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs root on Linux, and libfaketime")
def test_six_faults_leave_the_rows_and_weights_of_a_quiet_sweep():
    command = [sys.executable, SCRIPTS / "chaos.py", "--launcher", "basic", "--faults", "6", "--minutes", "4"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    if ended.returncode == 2:
        pytest.skip(ended.stderr)
    assert ended.returncode == 0, ended.stdout
    assert "0 problems" in ended.stdout
