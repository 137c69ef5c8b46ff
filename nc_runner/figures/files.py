"""From a figure to its files, the same bytes for the same runs whatever the user's matplotlib settings."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from nc_runner.figures.grid import DOTS_PER_INCH, RC_PARAMS
from nc_runner.runs.tables import write_atomically


def write_figure(
    draw: Callable[[], Figure | None],
    name: str,
    out: Path,
    formats: Sequence[str],
    pictures: Path | None = None,
) -> list[Path]:
    """Draw a figure and write ``name`` in every format; return the files, none where there is no figure.

    ``pictures``: a folder that gets the figure as SVG besides, for the report.
    Raises :class:`OSError` where a file cannot be written.
    """
    files: list[Path] = []
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the figures
        matplotlib.rcParams.update(RC_PARAMS)
        # a name may be in a script that the font lacks
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = draw()
        if figure is None:
            return []
        for format in dict.fromkeys((*formats, *(["svg"] if pictures else []))):
            content = io.BytesIO()
            dated = {"pdf": "CreationDate", "svg": "Date"}.get(format)
            figure.savefig(
                content, format=format, dpi=DOTS_PER_INCH, metadata={dated: None} if dated else None
            )
            if pictures and format == "svg":
                (pictures / f"{name}.svg").write_bytes(content.getvalue())
            if format in formats:
                files.append(out / f"{name}.{format}")
                write_atomically(files[-1], content.getvalue())
    return files
