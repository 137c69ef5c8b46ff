"""nc-runner: train classifiers, measure their Neural Collapse, split the MSE loss, draw the figures.

What a script or notebook uses is here by its short name: ``nc_runner.measure``,
``nc_runner.load_run``, ``nc_runner.read_runs``, ``nc_runner.figures.plot``.
Each is imported when it is first used, so that importing the package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_LAZY = {  # name: the module that has it; each has its line below for type checkers, too
    "load_run": "nc_runner.training.loaded",
    "measure": "nc_runner.measurement.measure",
    "read_runs": "nc_runner.runs.tidy",
}

__all__ = ["__version__", "figures", "load_run", "measure", "read_runs"]

if TYPE_CHECKING:
    from nc_runner import figures
    from nc_runner.measurement.measure import measure
    from nc_runner.runs.tidy import read_runs
    from nc_runner.training.loaded import load_run
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "figures":
            return import_module("nc_runner.figures")
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
