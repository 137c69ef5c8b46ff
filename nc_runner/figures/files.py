"""Writing figures to files: the same bytes for the same runs, whatever the user's matplotlib settings."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from nc_runner.figures.grid import DOTS_PER_INCH
from nc_runner.runs.tables import write_atomically

_RC_PARAMS: dict[Any, Any] = {  # the keys are a type of matplotlib's
    "font.size": 8.0,
    "axes.titley": 1.0,  # not above tick labels, of which there are none there: finding that out takes time
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # whole letters, not outlines: text can be searched and edited
    "svg.hashsalt": "nc-runner",  # the same runs give the same bytes
    "text.usetex": False,
}


def write_figure(
    draw: Callable[[], Figure | None],
    name: str,
    out: Path,
    formats: Sequence[str],
    pictures: Path | None = None,
) -> list[Path]:
    """Draw a figure and write ``name`` in every format; return the files, none where there is no figure.

    ``pictures``: a folder that also gets the figure as SVG, for the report.
    Raises :class:`OSError` where a file cannot be written.
    """
    files: list[Path] = []
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the figures
        matplotlib.rcParams.update(_RC_PARAMS)
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
