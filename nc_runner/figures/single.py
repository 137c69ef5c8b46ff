"""One figure for Python: :func:`nc_runner.figures.plot`."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.figures.choice import Choice, plan
from nc_runner.figures.sheets import drawing, read_sheet
from nc_runner.figures.summary import by_cell
from nc_runner.runs.reader import Run, find_runs
from nc_runner.runs.tidy import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def single_figure(
    runs: Any,
    figure: str | tuple[str, str],
    axes: Axes | None,
    *,
    epochs: tuple[float, float] | None,
    style: str | None,
    **chosen: Any,
) -> Figure:
    """See :func:`nc_runner.figures.plot`."""
    if axes is not None and style is not None:
        raise ConfigError("style is for figures that are made here: give style, or axes of your own")
    if epochs is not None:
        chosen |= {"first": epochs[0], "last": epochs[1]}
    if isinstance(figure, str):
        name = figure.removesuffix("_ce") if figure.endswith("_ce") else figure
        chosen |= {"only": (name,)}
    else:
        chosen |= {"xy": tuple(figure)}
    read = by_cell(_runs(runs))
    choice = Choice(**chosen, sheet=read_sheet(style) if style else {})
    with drawing(choice.sheet) if axes is None else nullcontext():
        planned = plan(read, choice)
        frames = {job.name: job.frame(planned.runs, planned.view) for job in planned.jobs}
        found = {name: frame for name, frame in frames.items() if frame is not None}
        if not found:
            raise ConfigError(f"{figure}: no run has values for it")
        wanted = figure if figure in found else next(iter(found))
        if len(found) > 1 and wanted != figure:
            raise ConfigError(f"there are several figures: choose one of {', '.join(found)}")
        frame = found[str(wanted)]
        if axes is None:
            return frame.draw()
        try:
            frame.draw_into(axes)
        except ValueError as error:
            raise ConfigError(
                f"{error}\nchoose runs of one network and data set, or leave out axes="
            ) from None
        return axes.get_figure(root=True)  # type: ignore[return-value]


def _runs(given: Any) -> list[Run]:
    sources = [given] if isinstance(given, (str, os.PathLike, Run)) else list(given)
    runs = [source for source in sources if isinstance(source, Run)]
    paths = [Path(source) for source in sources if not isinstance(source, Run)]
    runs += readable(find_runs(paths), stacklevel=5)
    if not any(len(run.rows) for run in runs):
        raise RunFolderError(
            f"there is no run with rows at or below {', '.join(map(str, paths)) or 'no path'}"
        )
    return [run for run in runs if len(run.rows)]
