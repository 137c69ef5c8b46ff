"""The trackers that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nc_runner.config.schema import Recording

if TYPE_CHECKING:
    from nc_runner.training.recorder import TrackerFactory


def trackers_of(settings: Recording) -> Sequence[TrackerFactory]:
    """One maker for each tracker: called with the run's folder when rows begin to come."""
    if not settings.tensorboard:
        return ()
    from nc_runner.trackers.tensorboard import TensorBoard

    return (TensorBoard,)
