"""Runs that several tests look at, and copy where they change something: each is made once by a worker."""

import pytest
from helpers.process import FAST, WHOLE, nc_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which two epochs on digits were run, and what the command printed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, nc_run(*FAST, cwd=folder)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A folder in which twelve epochs on digits were run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    done = nc_run(*WHOLE, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder
