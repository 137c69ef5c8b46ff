"""The axes of a figure: limits and a few ticks, and which values can be drawn on them.

A scale is made once for a column of panels: with many panels, automatic ticks would take most of the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import Locator, MaxNLocator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MOST_DECADES = 12
_MOST_POWERS, _LEAST_TICKS = 5, 3
_LEADING = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 2, 4, 6, 8))  # digits of ticks, few ones first
_PLAIN_FROM, _PLAIN_TO = 5e-4, 2000  # limits of axes whose ticks are written as numbers
_TINY, _HUGE = 1e-200, 1e200  # values outside break the axes


@dataclass(frozen=True)
class Scale:
    """One axis: its limits, ticks with their labels, and minor ticks. ``log`` for a logarithmic one.

    ``named``: each tick is a value of its own, and none may be left out for want of room.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    log: bool = False
    minor: tuple[float, ...] = ()
    named: bool = False

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
    (('10⁻⁴', '10⁻³', '10⁻²', '10⁻¹', '10⁰'), ('0.1', '1', '10'), ('0.30', '0.35', '0.40', '0.45'))
    """
    decades = min(math.log10(high) - math.log10(low), _MOST_DECADES)
    margin = 10.0 ** (0.04 * max(decades, 0.5))
    low, high = high / 10.0**decades / margin, high * margin
    plain = _PLAIN_FROM <= low <= high <= _PLAIN_TO
    powers = _multiples((1,), low, high)
    stride = -(-len(powers) // _MOST_POWERS)
    if stride > 1:  # the minor ticks are the powers left out
        shown = tuple(power for power in powers if round(math.log10(power)) % stride == 0)
        return Scale(low, high, shown, _in_powers(shown, plain), log=True, minor=powers)
    for leading in _LEADING:
        ticks = _multiples(leading, low, high)
        if len(ticks) >= (2 if leading == (1,) and not plain else _LEAST_TICKS):  # 10⁻⁴, not 3·10⁻⁴
            minor = _multiples(range(1, 10), low, high)
            return Scale(low, high, ticks, _in_powers(ticks, plain), log=True, minor=minor)
    for intervals in range(_LEAST_TICKS, 4 * _LEAST_TICKS):
        ticks = _ticks(MaxNLocator(intervals, steps=[1, 2, 5, 10]), low, high)
        if len(ticks) >= _LEAST_TICKS:
            break
    return Scale(low, high, ticks, _alike(ticks), log=True)


def _multiples(digits: Iterable[int], low: float, high: float) -> tuple[float, ...]:
    """Each of ``digits`` times each power of ten, from ``low`` to ``high``, in order."""
    exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    values = (digit * 10.0**exponent for exponent in exponents for digit in digits)
    return tuple(value for value in values if low <= value <= high)


def tick_scale(values: Sequence[float], labels: Sequence[str], log: bool) -> Scale:
    """An axis with a tick for each of a few ``values`` (in order), and room at both ends."""
    low, high = values[0], values[-1]
    if log:
        margin = (high / low) ** 0.06 if high > low else 1.5
        return Scale(low / margin, high * margin, tuple(values), tuple(labels), log=True, named=True)
    margin = 0.06 * (high - low) if high > low else 0.5
    return Scale(low - margin, high + margin, tuple(values), tuple(labels), named=True)


def _alike(ticks: Sequence[float]) -> tuple[str, ...]:
    """All with as many decimals as one of them needs; as powers of ten where that is too long."""
    if any(tick and not 1e-4 <= abs(tick) < 1e6 for tick in ticks):
        return tuple(f"{tick:.6g}" if tick == 0 else _scientific(tick) for tick in ticks)
    decimals = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    return tuple(f"{tick:.{decimals}f}" for tick in ticks)


def _in_powers(ticks: Sequence[float], plain: bool) -> tuple[str, ...]:
    """Each tick as a number where that is ``plain``, else with a power of ten."""
    if plain:
        return tuple(f"{tick:g}" for tick in ticks)
    alone = all(f"{tick:e}".startswith("1.000000") for tick in ticks)
    return tuple(_power_of_ten(round(math.log10(tick))) if alone else _scientific(tick) for tick in ticks)


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
