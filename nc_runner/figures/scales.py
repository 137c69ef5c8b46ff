"""The axes of a figure: limits and a few ticks, and which values can be drawn on them.

A scale is made once for a column of panels: with many panels, automatic ticks would take most of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import Locator, LogLocator, MaxNLocator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MOST_DECADES = 12
_TINY, _HUGE = 1e-200, 1e200  # values outside break the axes


@dataclass(frozen=True)
class Scale:
    """One axis: its limits, and ticks with their labels. ``log`` for a logarithmic one."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False

    def clamp(self, values: FloatArray, slack: float = 0.0) -> FloatArray:
        """``values`` moved inside the limits, or to at most ``slack`` axis lengths outside them."""
        if self.log:
            reach = (self.high / self.low) ** slack
            low, high = self.low / reach, self.high * reach
        else:
            reach = (self.high - self.low) * slack
            low, high = self.low - reach, self.high + reach
        clamped: FloatArray = np.clip(values, low, high)
        return clamped


def linear_scale(low: float, high: float, whole: bool = False) -> Scale:
    """From ``low`` to a little above ``high``, with a few ticks at round numbers.

    ``whole``: at whole numbers only.

    >>> linear_scale(0, 350).labels
    ('0', '100', '200', '300')
    """
    high = high if high > low else low + 1.0
    ticks = _ticks(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=whole), low, high)
    return Scale(low, high + 0.03 * (high - low), ticks, tuple(f"{tick:.6g}" for tick in ticks))


def log_scale(low: float, high: float) -> Scale:
    """From ``low`` to ``high`` with a margin, ticks at powers of ten; at 1, 2, 5 where the range is short.

    At most twelve decades below ``high`` are shown: smaller values are rounding errors.

    >>> log_scale(1e-4, 1).labels
    ('10⁻⁴', '10⁻³', '10⁻²', '10⁻¹', '1')
    """
    decades = min(math.log10(high) - math.log10(low), _MOST_DECADES)
    margin = 10.0 ** (0.04 * max(decades, 0.5))
    low, high = high / 10.0**decades / margin, high * margin
    ticks = _ticks(LogLocator(numticks=5), low, high)
    if len(ticks) >= 2:
        labels = [_power_of_ten(round(math.log10(tick))) for tick in ticks]
    else:
        ticks = _ticks(LogLocator(subs=(1.0, 2.0, 5.0)), low, high)
        labels = [f"{tick:.3g}" for tick in ticks]
    return Scale(low, high, ticks, tuple(labels), log=True)


def _ticks(locator: Locator, low: float, high: float) -> tuple[float, ...]:
    return tuple(float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high)


def _power_of_ten(exponent: int) -> str:
    superscripts = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return {0: "1", 1: "10"}.get(exponent, f"10{superscripts}")


def drawable(values: FloatArray, log: bool, least: float = _TINY) -> FloatArray:
    """``values`` with NaN for what an axis cannot show: infinities, on a log axis all that is not above
    ``least``.
    """
    size = np.abs(values)
    good = (size < _HUGE) & ((values > least) if log else np.isfinite(values))
    return np.where(good, values, np.nan)
