"""The sizes of letters, and texts that fit into the room that there is."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib
from matplotlib.font_manager import FontProperties

LEAST_SIZE = 7.0  # points: smaller letters cannot be read in print
_LETTER = 0.58  # mean width of a letter, in font sizes


def points_of(setting: str) -> float:
    """The size of a font in points; one that is ``None`` or relative is that of matplotlib's default."""
    settings: dict[Any, Any] = matplotlib.rcParams
    return float(FontProperties(size=settings[setting]).get_size_in_points())


def length_of(text: str, size: float) -> float:
    """About how many inches long ``text`` is in letters of ``size`` points."""
    return _LETTER * size * len(text) / 72


def fitting(text: str, room: float, size: float) -> tuple[str, float]:
    """``text`` in a size, at most ``size``, in which it is about ``room`` inches long; or else in lines."""
    fits = room * 72 / (_LETTER * max(len(text), 1))
    if fits >= min(size, LEAST_SIZE):
        return text, min(size, max(fits, LEAST_SIZE))
    letters = max(4, int(room * 72 / (_LETTER * LEAST_SIZE)))
    return textwrap.fill(text, letters), min(size, LEAST_SIZE)


def wrapped(text: str, room: float, size: float) -> str:
    """``text`` in lines of about ``room`` inches: for what must not be cut."""
    return textwrap.fill(text, max(20, int(room * 72 / (_LETTER * size))))
