"""The ranks that torchrun started for this command, if it did. Imports torch only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nc_runner.config.schema import Config
from nc_runner.distributed import torchrun
from nc_runner.distributed.group import Group
from nc_runner.distributed.process_group import joined


@contextmanager
def ranks(config: Config) -> Iterator[Group]:
    """This rank's process group, for the whole command; a group of one where torchrun did not start it.

    Raises ConfigError for settings that several ranks cannot share.
    """
    torchrun.check_settings(config.batch_size, config.device)
    with joined(config.rank_timeout_seconds) as group:
        yield group
