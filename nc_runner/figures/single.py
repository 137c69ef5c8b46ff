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
    _check(figure, axes, epochs=epochs, style=style, **chosen)
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


def _check(figure: object, axes: object, **given: Any) -> None:
    """Raises ConfigError for what is no choice, and for choices that contradict each other."""
    from matplotlib.axes import Axes

    columns = isinstance(figure, (tuple, list))
    if not (isinstance(figure, str) or (columns and _are(str, figure, 2))):
        raise ConfigError(f"{figure!r} is no figure\ngive a name such as 'nc1', or two columns")
    for key in ("hue", "x", "style"):
        if given[key] is not None and not isinstance(given[key], str):
            raise ConfigError(f"{key}={given[key]!r} is not valid: {key} must be a text or None")
    epochs, over_runs = given["epochs"], "x" if given["x"] is not None else "two columns" if columns else ""
    if epochs is not None and not _are((int, float), epochs, 2):
        raise ConfigError(f"epochs={epochs!r} is not valid: give the first and the last, as in (1, 50)")
    if axes is not None and not isinstance(axes, Axes):
        raise ConfigError("axes takes one Axes of matplotlib's, as plt.subplots() makes it")
    if axes is not None and given["style"] is not None:
        raise ConfigError("style is for figures that are made here: give style, or axes of your own")
    if given["x"] is not None and columns:
        raise ConfigError("x and two columns are two kinds of figures: give one of them")
    if given["at"] != "end" and not over_runs:
        raise ConfigError("at says which value is drawn with x, or of two columns: give one of these too")
    if over_runs and (epochs is not None or given["log_x"]):
        raise ConfigError(
            f"epochs and log_x are for figures against the epoch: leave them out with {over_runs}"
        )


def _are(kind: type | tuple[type, ...], values: Any, count: int) -> bool:
    is_list = isinstance(values, (tuple, list)) and len(values) == count
    return is_list and all(isinstance(value, kind) for value in values)


def _runs(given: Any) -> list[Run]:
    try:
        sources = [given] if isinstance(given, (str, os.PathLike, Run)) else list(given)
    except TypeError:
        raise ConfigError(f"{given!r} is no run\ngive folders, or runs that were read") from None
    if not sources:
        raise RunFolderError("no run is given")
    runs = [source for source in sources if isinstance(source, Run)]
    paths = [Path(source) for source in sources if not isinstance(source, Run)]
    runs += readable(find_runs(paths), stacklevel=5)
    if not any(len(run.rows) for run in runs):
        raise RunFolderError(
            f"there is no run with rows at or below {', '.join(map(str, paths)) or 'no path'}"
        )
    return [run for run in runs if len(run.rows)]
