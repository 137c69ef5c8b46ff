"""nc-runner: train classifiers, measure their Neural Collapse, split the MSE loss, draw the figures.

What a script or notebook uses is here by its short name: ``nc_runner.measure``,
``nc_runner.load_run``, ``nc_runner.read_runs``, ``nc_runner.figures.plot``.
Each is imported when it is first used, so that importing the package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_LAZY = {  # name: the module that has it; each has its line below for type checkers, too
    "load_run": "nc_runner.training.loaded",
    "measure": "nc_runner.measurement.measure",
    "read_runs": "nc_runner.runs.tidy",
}

__all__ = ["__version__", "figures", "load_run", "measure", "read_runs"]

if TYPE_CHECKING:
    __version__: str
    from nc_runner import figures
    from nc_runner.measurement.measure import measure
    from nc_runner.runs.tidy import read_runs
    from nc_runner.training.loaded import load_run
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            return _version()
        if name == "figures":
            return import_module("nc_runner.figures")
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)

    def _version() -> str:
        """What the installation was built as, from git's tags (pyproject.toml)."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("nc-runner")
        except PackageNotFoundError:  # nobody installed it: its folder is on the path
            return "0+unknown"

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
