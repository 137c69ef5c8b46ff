"""One walk finds what find_runs finds, and what it does not look for."""

import os
from pathlib import Path

import pytest
from helpers.synthetic import write_run

from nc_runner.errors import RunFolderError
from nc_runner.runs.folders import look_through
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import LOCK_FILE, RUN_FILE, SWEEPS_FOLDER


@pytest.fixture
def outputs(tmp_path):
    root = tmp_path / "outputs"
    run = write_run(root, epochs=1)
    for place in ("a.replaced-1", "a.replaced-1/b", f"{run.relative_to(root)}/inner"):
        (root / place).mkdir()
        (root / place / RUN_FILE).touch()
    (root / "begun").mkdir()
    (root / "begun" / LOCK_FILE).touch()
    (root / SWEEPS_FOLDER).mkdir()
    return root


def test_the_same_runs_are_found_and_locks_and_sweeps_too(outputs):
    found = look_through([outputs])
    assert sorted(found.runs) == find_runs([outputs])
    assert len(found.runs) == 2
    assert found.locked == {outputs / "begun"}
    assert outputs / SWEEPS_FOLDER in found.sweeps
    assert outputs.parent / SWEEPS_FOLDER in found.sweeps


def test_what_is_named_is_found_though_it_was_replaced_and_by_its_real_path(outputs):
    os.symlink(outputs / "a.replaced-1" / "b", outputs.parent / "link")
    for path in (outputs / "a.replaced-1", outputs.parent / "link"):
        assert sorted(look_through([path]).runs) == find_runs([path])
    assert look_through([outputs.parent / "link"]).runs == {outputs / "a.replaced-1" / "b"}


def test_a_folder_that_cannot_be_read_is_passed_over_and_a_file_is_an_error(outputs, monkeypatch):
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "begun":
            raise PermissionError(13, "no", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = look_through([outputs])
    assert len(found.runs) == 2
    assert not found.locked
    with pytest.raises(RunFolderError, match="is not a folder"):
        look_through([outputs / "begun" / LOCK_FILE])
