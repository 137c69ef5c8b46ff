"""Style sheets: matplotlib's own way to choose sizes, fonts, dots per inch and colours of figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import matplotlib

from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError

SHEETS = ("column", "page", "slide")  # they ship; each is a figure's size in print or on a screen
_SHEETS_FOLDER = files("nc_runner.figures") / "sheets"
# Settings of windows and programs, which a style sheet cannot have
_NO_STYLE = (
    "backend",
    "interactive",
    "figure.hooks",
    "toolbar",
    "timezone",
    "webagg.",
    "tk.",
    "keymap.",
    "animation.",
)
Parameters = Mapping[Any, Any]


def read_sheet(name: str) -> dict[Any, Any]:
    """The settings of a sheet: one that ships, or a file ``*.mplstyle``.

    Raises ConfigError where there is none, or a line is no setting that a style sheet may have.
    """
    if name in SHEETS:
        with as_file(_SHEETS_FOLDER / f"{name}.mplstyle") as path:
            return _read(path)
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"--style {name}: there is no such file{nearest(name, SHEETS)}\n"
            f"give a file of matplotlib's style settings, or one of {', '.join(SHEETS)}"
        )
    return _read(path)


@contextmanager
def drawing(sheet: Parameters | None = None) -> Iterator[None]:
    """Matplotlib as figures are drawn: with the usual sheet, then ``sheet``.

    The user's own settings (matplotlibrc) must not change the figures.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        with as_file(_SHEETS_FOLDER / "usual.mplstyle") as path:
            matplotlib.rcParams.update(_read(path))
        matplotlib.rcParams.update(dict(sheet or {}))
        # a name may be in a script that the font lacks
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def _read(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        read = matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"--style {path} cannot be read: {' '.join(str(error).split())}") from None
    settings = {
        line.partition(":")[0].strip() for line in text.splitlines() if line.partition("#")[0].strip()
    }
    for name in sorted(settings):
        if name not in read:
            known = nearest(name, tuple(map(str, matplotlib.rcParams)))
            raise ConfigError(f"--style {path}: matplotlib has no setting {name}{known}")
        if name.startswith(_NO_STYLE):
            raise ConfigError(f"--style {path}: {name} is no matter of style: leave it out")
    return {key: value for key, value in read.items() if key in settings}
