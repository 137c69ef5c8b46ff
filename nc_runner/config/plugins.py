"""Custom networks, data sets, losses and metrics: finding a callable by its path, checking its arguments."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError


def look_in(folders: Iterable[str]) -> None:
    """Look for modules in the current folder and in these, which hold custom YAML files, too.

    They are added to the end of Python's search path: a file that is named like an installed package must
    not take its place.
    """
    sys.path.extend(folder for folder in [os.getcwd(), *folders] if folder not in sys.path)


def callable_name(path: str) -> str:
    """The last part of a callable's path.

    >>> callable_name("my_package.my_module.MyNetwork"), callable_name("nets/mine.py:MyNetwork")
    ('MyNetwork', 'MyNetwork')
    """
    return re.split(r"[.:]", path)[-1]


def locate(path: str, setting: str, shipped: Iterable[str] = ()) -> Any:
    """The callable at a path: dotted, as in ``my_module.my_function``, or ``folder/file.py:my_function``.

    Modules are looked for among the installed packages, in the current folder, and in the folders of
    custom YAML files (``--config-dir``, ``hydra.searchpath``); a file relative to the last two. ``setting``
    is the key that holds the path, and ``shipped`` are the names of what ships, which it may hold too: both
    are for the message. Raises ConfigError with the reason.
    """
    file, colon, inside = path.rpartition(":")
    if colon:
        path = f"{_module_of(file, path, setting)}.{inside}"
    else:
        look_in(())
    importlib.invalidate_caches()
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(
            f"{setting}={path} is not a dotted path{nearest(path, shipped)}\n"
            "name a module and a class or function in it, as my_module.my_function or file.py:my_function"
        )
    found = _import(parts[0], path, setting)
    if found is None:
        raise ConfigError(
            f"{setting}={path} cannot be imported: there is no module {parts[0]}\n"
            f"looked for in the installed packages, in {os.getcwd()} and in the folders of --config-dir"
        )
    if colon and Path(str(found.__file__)).resolve() != _find(file):
        raise ConfigError(
            f"{setting}={file}:{inside}: another module called {parts[0]} hides this file "
            f"({found.__file__})\nrename the file"
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


def check_arguments(
    target: Callable[..., Any],
    setting: str,
    arguments: Mapping[str, Any],
    provided: Collection[str] = (),
    positional: int = 0,
) -> None:
    """Check that a custom callable takes the arguments that the settings give it.

    What takes ``**kwargs``, or is written in C without a signature, cannot be checked.

    Args:
        setting: the group that gives the arguments, such as ``net`` or ``data.options``.
        arguments: those that the settings give.
        provided: names that nc-runner provides where the callable names them.
        positional: how many arguments nc-runner gives by position, before all others.

    Raises:
        ConfigError: it does not take one of them, or needs one that is not given.
    """
    try:
        parameters = list(inspect.signature(target).parameters.values())[positional:]
    except (TypeError, ValueError):
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    for key in arguments:
        if key not in named:
            takes = ", ".join(name for name in named if name not in provided) or "no further argument"
            raise ConfigError(
                f"there is no setting {setting}.{key}: {name} has no such argument"
                f"{nearest(key, named)}\nit takes {takes}"
            )
    for key, required in named.items():
        if required and key not in arguments and key not in provided:
            raise ConfigError(
                f"{setting}.{key} is not set, and {name} needs it\ngive it as +{setting}.{key}=VALUE"
            )


def taken(target: Callable[..., Any], names: Iterable[str]) -> list[str]:
    """Those of ``names`` that a callable takes as arguments: all where it takes ``**kwargs``.

    >>> taken(lambda root, size=3: None, ["root", "download"]), taken(lambda **options: None, ["root"])
    (['root'], ['root'])
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # written in C, without a signature
        return list(names)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return list(names)
    return [name for name in names if name in parameters]


def _find(file: str) -> Path | None:
    for folder in [os.getcwd(), *sys.path]:
        if (candidate := Path(folder, file).expanduser()).is_file():
            return candidate.resolve()
    return None


def _module_of(file: str, path: str, setting: str) -> str:
    """The name under which the Python file ``file`` is imported; its folder joins Python's search path.

    Imported by name, not by path: a worker process that is handed an object of it finds it in the same way.
    """
    found = _find(file)
    if found is None or found.suffix != ".py":
        raise ConfigError(
            f"{setting}={path}: there is no Python file {file}\n"
            f"looked for in {os.getcwd()} and in the folders of --config-dir"
        )
    look_in([str(found.parent)])
    return found.stem


def _import(name: str, path: str, setting: str) -> Any:
    """The module, or None if there is none of that name; ConfigError if it is there and fails."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a custom module may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None
        raise ConfigError(
            f"{setting}={path} cannot be imported: {name} fails with {reason(error)}"
        ) from error


def reason(error: BaseException) -> str:
    """Type and first line of an error, for a message of ours."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
