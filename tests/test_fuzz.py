"""A few damaged and hostile inputs for each reader; scripts/fuzz.py gives many more."""

import importlib
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
try:
    fuzz = importlib.import_module("fuzz")
    TARGETS = importlib.import_module("fuzzing.targets").TARGETS
finally:
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return fuzz.Originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.slow])
def test_bad_input_ends_in_a_result_or_an_error_of_two_lines(name, originals):
    assert fuzz.fuzz(name, originals, 10, seed=1) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(TARGETS))
def test_much_bad_input_ends_so_too(name, originals):
    assert fuzz.fuzz(name, originals, 30 if TARGETS[name].slow else 400, seed=2) is None


def test_a_traceback_is_a_finding(originals, monkeypatch):
    def read(folder, originals, content):
        if b"epoch" not in content:
            raise KeyError("epoch")

    broken = fuzz.TARGETS["metrics.csv"].__class__(fuzz.TARGETS["metrics.csv"].inputs, read)
    monkeypatch.setattr(fuzz, "TARGETS", {"metrics.csv": broken})
    assert "KeyError" in fuzz.fuzz("metrics.csv", originals, 50, seed=1)
