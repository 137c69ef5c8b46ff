"""The trackers that a run can have: names, the packages that they need, and whether those are there."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from nc_runner.errors import ConfigError

TRACKERS = ("tensorboard", "wandb", "mlflow")  # each is also the name of its package


def tracker_names(value: object) -> object:
    """The setting ``tracker`` as a tuple of names: it may be null, a name or a list of names.

    >>> tracker_names(None), tracker_names("mlflow"), tracker_names(["wandb", "mlflow"])
    ((), ('mlflow',), ('wandb', 'mlflow'))
    """
    names = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(name in TRACKERS for name in names):
        raise ValueError(f"must be null, {', '.join(TRACKERS)}, or a list such as [tensorboard,mlflow]")
    return tuple(dict.fromkeys(names))


def check_trackers(names: Iterable[str]) -> None:
    """Raise ConfigError for a tracker whose package is not installed."""
    for name in names:
        found = find_spec(name)
        if found is None or not found.origin:  # without an origin: any folder of that name
            raise ConfigError(
                f"tracker={name} needs a package that is not installed\ninstall it: pip install {name}"
            )
