"""What a worker process of a Ray cluster takes over from the command: its folder, and where the data are.

A worker of a running cluster is in the folder in which ``ray start`` was given, with the environment of that
shell: relative paths would mean something else there, and runs would end up where the command does not look.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = "NC_RUN_FOLDER"
PASSED_ON = ("NC_RUNNER_DATA", "HYDRA_FULL_ERROR")


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that each worker gets: those of this process, and its folder."""
    own = os.environ if given is None else given
    return {FOLDER: str(Path.cwd()), **{name: own[name] for name in PASSED_ON if name in own}}


def enter_folder() -> None:
    """Ray calls it in each worker before it takes a run. Raises OSError on a host without that folder."""
    os.chdir(os.environ[FOLDER])
