"""Each test has one kind; in continuous integration the tests that need a browser or a data set do run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import kinds
from helpers.process import nc_run

TESTS = Path(__file__).parent
MINIATURE = """
import pytest

@pytest.fixture
def data():
    pytest.skip("no data here")

@pytest.mark.fashionmnist
def test_needs_data(data): pass

@pytest.mark.browser
def test_needs_a_browser(): pytest.skip("no browser here")

@pytest.mark.skip(reason="not here")
def test_needs_nothing(): pass

@pytest.mark.browser
def test_of_a_browser_that_runs(): pass
"""
CONFTEST = """
from helpers.kinds import KINDS
from helpers.kinds import pytest_collection_modifyitems, pytest_make_collect_report, pytest_runtest_makereport

def pytest_collection_finish(session):
    for item in session.items:
        print([kind for kind in KINDS if item.get_closest_marker(kind)], item.name)
"""
BROWSERLESS = 'import pytest\npytest.importorskip("no_such_library")\ndef test_it(): pass\n'


@pytest.fixture
def project(tmp_path):
    """A copy of the hooks with a few tests, in the places that these know."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = tests\naddopts = --strict-markers -p no:cacheprovider\n"
        "markers =\n  unit: .\n  integration: .\n  browser: .\n  fashionmnist: .\n"
    )
    tests = tmp_path / "tests"
    for folder in ("helpers", "figures", "commands"):
        (tests / folder).mkdir(parents=True)
    (tests / "helpers" / "__init__.py").touch()
    (tests / "helpers" / "kinds.py").write_text(Path(kinds.__file__).read_text())
    (tests / "conftest.py").write_text(CONFTEST)
    (tests / "test_miniature.py").write_text(MINIATURE)
    return tmp_path


def pytest_in(folder, *arguments, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("NC_RUNNER", "PYTEST"))}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *arguments],
        cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_skip_for_want_of_a_browser_or_of_fashionmnist_fails_where_all_tests_are_asked_for(project):
    code, printed = pytest_in(project)
    assert (code, printed.splitlines()[-1].split(" in ")[0]) == (0, "1 passed, 3 skipped"), printed
    code, printed = pytest_in(project, NC_RUNNER_ALL_TESTS="1")
    assert code == 1
    assert "1 failed, 1 passed, 1 skipped, 1 error" in printed  # a fixture's failure is an error
    assert "no browser here" in printed
    assert "no data here" in printed


def test_a_browser_file_that_is_skipped_whole_fails_too(project):
    (project / "tests" / "figures" / "test_report_in_browser.py").write_text(BROWSERLESS)
    assert pytest_in(project, "tests/figures")[0] == 5  # nothing ran, all skipped
    code, printed = pytest_in(project, "tests/figures", NC_RUNNER_ALL_TESTS="1")
    assert code == 2
    assert "no_such_library" in printed


def test_the_kind_is_chosen_by_place_and_by_what_a_test_starts(project):
    plain = "def test_it(): pass\n"
    (project / "tests" / "commands" / "test_command.py").write_text(plain)
    (project / "tests" / "figures" / "test_report_in_browser.py").write_text(plain)
    (project / "tests" / "figures" / "test_plain.py").write_text(
        "import subprocess, pytest\n"
        "def call(): subprocess.run(['true'])\n"
        "def indirect(): call()\n"
        "@pytest.fixture\n"
        "def called(): indirect()\n"
        "def test_itself(): subprocess.run(['true'])\n"
        "def test_by_a_function(): indirect()\n"
        "def test_by_a_fixture(called): pass\n"
        "def test_nothing(): pass\n"
    )
    printed = pytest_in(project, "--collect-only", "tests/commands", "tests/figures")[1]
    assert [line for line in printed.splitlines() if line.startswith("[")] == [
        "['integration'] test_it",
        "['integration'] test_itself",
        "['integration'] test_by_a_function",
        "['integration'] test_by_a_fixture",
        "['unit'] test_nothing",
        "['browser'] test_it",
    ]
    printed = pytest_in(project, "--collect-only", "-m", "unit", "tests/figures")[1]
    assert "1/5 tests collected (4 deselected)" in printed


def test_helpers_that_start_processes_are_seen_through():
    assert kinds.starts_a_process(nc_run)
    assert not kinds.starts_a_process(kinds.kind_of)


def test_every_place_that_has_a_kind_is_there():
    assert all((TESTS / place).exists() for place in (*kinds.BROWSER, *kinds.INTEGRATION))


def test_this_test_is_a_unit_test(request):
    assert [kind for kind in kinds.KINDS if request.node.get_closest_marker(kind)] == ["unit"]
