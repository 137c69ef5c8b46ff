"""The axes of a figure: limits and a few ticks, and which values can be drawn on them.

A scale is made once for a column of panels: with many panels, automatic ticks would take most of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import Locator, MaxNLocator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MOST_DECADES = 12
_MOST_POWERS = 5  # ticks
_LEADING = ((1, 2, 5), (1, 2, 3, 5), (1, 2, 4, 6, 8))  # digits of ticks, where powers of ten are too few
_PLAIN_FROM, _PLAIN_TO = 0.002, 2000  # limits of axes whose ticks are written as numbers
_TINY, _HUGE = 1e-200, 1e200  # values outside break the axes


@dataclass(frozen=True)
class Scale:
    """One axis: its limits, ticks with their labels, and minor ticks. ``log`` for a logarithmic one."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False
    minor: tuple[float, ...] = ()

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

    >>> linear_scale(0, 350).labels, linear_scale(0, 1).labels
    (('0', '100', '200', '300'), ('0.00', '0.25', '0.50', '0.75', '1.00'))
    """
    high = high if high > low else low + 1.0
    ticks = _ticks(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=whole), low, high)
    return Scale(low, high + 0.03 * (high - low), ticks, _alike(ticks))


def log_scale(low: float, high: float) -> Scale:
    """From ``low`` to ``high`` with a margin, ticks at powers of ten, or round numbers where it is short.

    At most twelve decades below ``high`` are shown: smaller values are rounding errors.

    >>> log_scale(1e-4, 1).labels, log_scale(0.02, 30).labels, log_scale(0.3, 0.45).labels
    (('10⁻⁴', '10⁻³', '10⁻²', '10⁻¹', '10⁰'), ('0.1', '1', '10'), ('0.3', '0.4'))
    """
    decades = min(math.log10(high) - math.log10(low), _MOST_DECADES)
    margin = 10.0 ** (0.04 * max(decades, 0.5))
    low, high = high / 10.0**decades / margin, high * margin
    plain = _PLAIN_FROM <= low <= high <= _PLAIN_TO
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(exponents) >= 2:
        stride = -(-len(exponents) // _MOST_POWERS)
        shown = [e for e in exponents if e % stride == 0]
        between = range(2, 10) if stride == 1 else ()  # else the minor ticks are the powers left out
        minor = [10.0**e * k for e in (exponents[0] - 1, *exponents) for k in (1, *between)]
        inside = tuple(m for m in minor if low <= m <= high)
        labels = [f"{10.0**e:g}" if plain else _power_of_ten(e) for e in shown]
        return Scale(low, high, tuple(10.0**e for e in shown), tuple(labels), log=True, minor=inside)
    for leading in _LEADING:
        powers = (10.0**e for e in (exponents.start - 1, exponents.start))
        ticks = tuple(k * power for power in powers for k in leading if low <= k * power <= high)
        if len(ticks) >= 3:
            labels = [f"{tick:g}" if plain else _scientific(tick) for tick in ticks]
            return Scale(low, high, ticks, tuple(labels), log=True)
    ticks = _ticks(MaxNLocator(3, steps=[1, 2, 5, 10]), low, high)
    return Scale(low, high, ticks, _alike(ticks), log=True)


def tick_scale(values: Sequence[float], labels: Sequence[str], log: bool) -> Scale:
    """An axis with a tick for each of a few ``values`` (in order), and room at both ends."""
    low, high = values[0], values[-1]
    if log:
        margin = (high / low) ** 0.06 if high > low else 1.5
        return Scale(low / margin, high * margin, tuple(values), tuple(labels), log=True)
    margin = 0.06 * (high - low) if high > low else 0.5
    return Scale(low - margin, high + margin, tuple(values), tuple(labels))


def _alike(ticks: Sequence[float]) -> tuple[str, ...]:
    """All with as many decimals as one of them needs; as powers of ten where that is too long."""
    if any(tick and not 1e-4 <= abs(tick) < 1e6 for tick in ticks):
        return tuple(f"{tick:.6g}" if tick == 0 else _scientific(tick) for tick in ticks)
    decimals = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    return tuple(f"{tick:.{decimals}f}" for tick in ticks)


def _scientific(tick: float) -> str:
    """
    >>> _scientific(2.5e-7)
    '2.5·10⁻⁷'
    """
    digits, _, exponent = f"{tick:.3e}".partition("e")
    return f"{float(digits):g}·{_power_of_ten(int(exponent))}"


def _ticks(locator: Locator, low: float, high: float) -> tuple[float, ...]:
    return tuple(float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high)


def _power_of_ten(exponent: int) -> str:
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def drawable(values: FloatArray, log: bool, least: float = _TINY) -> FloatArray:
    """``values`` with NaN for what an axis cannot show: infinities, on a log axis all that is not above
    ``least``.
    """
    size = np.abs(values)
    good = (size < _HUGE) & ((values > least) if log else np.isfinite(values))
    return np.where(good, values, np.nan)
