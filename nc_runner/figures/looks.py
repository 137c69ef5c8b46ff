"""Colours of lines: of losses, of what has no order, of what has one. A style sheet may choose others."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib
from matplotlib.typing import ColorType

from nc_runner.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, loss_order

Look = tuple[ColorType, str]  # colour and line style

_PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK, VERMILION, GREY)
_LOSS_STYLES = {"mse": "solid", "ce": "dashed"}
_OTHER_STYLES = ("dashdot", "dotted", "dashed", "dashdot")


def palette(count: int) -> list[ColorType]:
    """Colours for what has no order: those of a style sheet's ``axes.prop_cycle``, or Okabe & Ito's."""
    given = matplotlib.rcParams["axes.prop_cycle"].by_key().get("color", [])
    usual = given == matplotlib.rcParamsDefault["axes.prop_cycle"].by_key()["color"]
    colours = _PALETTE if usual or not given else given
    return [colours[i % len(colours)] for i in range(count)]


def ordered_colour(place: float) -> ColorType:
    """The colour of a line among others that have an order, from 0 to 1: of ``image.cmap``, without its
    lightest colours, which are hard to see.
    """
    return matplotlib.colormaps[matplotlib.rcParams["image.cmap"]](0.9 * place)


def loss_looks(losses: Iterable[str]) -> dict[str, Look]:
    """The look of each loss. MSE and CE look the same in every figure."""
    names = [*_LOSS_STYLES, *sorted(set(losses) - set(_LOSS_STYLES), key=loss_order)]
    others = len(names) - len(_LOSS_STYLES)
    styles = [*_LOSS_STYLES.values(), *(_OTHER_STYLES[i % 4] for i in range(others))]
    return dict(zip(names, zip(palette(len(names)), styles, strict=True), strict=True))
