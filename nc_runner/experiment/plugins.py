"""Users' own networks, data sets and losses, named by the dotted path of a callable."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from nc_runner.errors import ConfigError


def locate(path: str, setting: str) -> Any:
    """The callable at a dotted path, in an installed package or in a file of the current folder.

    ``setting`` is the key that holds the path, for the message. Raises ConfigError with the reason.
    """
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(
            f"{setting}={path} is not a dotted path\n"
            "name a module and a class or function in it, such as my_module.my_function"
        )
    found = _import(parts[0], path, setting)
    if found is None:
        raise ConfigError(
            f"{setting}={path} cannot be imported: there is no module {parts[0]}\n"
            f"it is looked for among the installed packages and in {folder}"
        )
    for count, part in enumerate(parts[1:], start=1):
        if not hasattr(found, part) and hasattr(found, "__path__"):
            _import(".".join(parts[: count + 1]), path, setting)
        if not hasattr(found, part):
            raise ConfigError(
                f"{setting}={path} cannot be imported: {'.'.join(parts[:count])} has no attribute {part}\n"
                f"looked for in {getattr(found, '__file__', None) or found!r}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"{setting}={path} is of type {type(found).__name__}\ngive the dotted path of a class or function"
        )
    return found


def _import(name: str, path: str, setting: str) -> Any:
    """The module, or None if there is none of that name; ConfigError if it is there and fails."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # an own module may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None
        raise ConfigError(
            f"{setting}={path} cannot be imported: {name} fails with {reason(error)}"
        ) from error


def reason(error: BaseException) -> str:
    """Type and first line of an error, for a message of ours."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
