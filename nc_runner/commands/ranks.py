"""The ranks that torchrun started for this command, if it did. Imports torch only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from nc_runner.config.schema import Config
from nc_runner.distributed import torchrun
from nc_runner.distributed.group import Group
from nc_runner.distributed.process_group import joined
from nc_runner.training.signals import StopSignals


@contextmanager
def ranks(config: Config) -> Iterator[Group]:
    """This rank's process group, for the whole command; a group of one where torchrun did not start it.

    Raises ConfigError for settings that several ranks cannot share.
    """
    torchrun.check_settings(config.batch_size, config.device)
    several = torchrun.place().world_size > 1
    # torchrun ends the other ranks by SIGTERM when one has failed: rank 0 has to tell which, and why
    with StopSignals() if several else nullcontext(), joined(config.rank_timeout_seconds) as group:
        yield group
