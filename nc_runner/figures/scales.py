"""The axes of a figure: limits and a few fixed ticks, and which values can be drawn on them.

Scales are computed here and not by matplotlib: with many panels its automatic ticks would take most of the
time, and all panels of a column share one scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
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


def linear_scale(low: float, high: float, most_ticks: int = 4, whole: bool = False) -> Scale:
    """From ``low`` to a little above ``high``, with at most about ``most_ticks`` ticks at round numbers.

    ``whole``: at whole numbers alone.

    >>> linear_scale(0, 350).labels
    ('0', '100', '200', '300')
    """
    if not high > low:
        high = low + 1.0
    rough = (high - low) / most_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(step * k for k in range(first, math.floor(high / step + 1e-9) + 1))
    return Scale(low, high + 0.03 * (high - low), ticks, tuple(f"{tick:.6g}" for tick in ticks))


def log_scale(low: float, high: float, most_ticks: int = 5) -> Scale:
    """From ``low`` to ``high`` with a margin, ticks at powers of ten; at 1, 2, 5 where the range is short.

    At most twelve decades below ``high`` are shown: what lies deeper is rounding.

    >>> log_scale(1e-4, 1).labels
    ('10⁻⁴', '10⁻³', '10⁻²', '10⁻¹', '1')
    """
    top = math.log10(high)
    bottom = max(math.log10(low), top - _MOST_DECADES)
    margin = 0.04 * max(top - bottom, 0.5)
    top, bottom = top + margin, bottom - margin
    powers = range(math.ceil(bottom), math.floor(top) + 1)
    if len(powers) >= 2:
        stride = math.ceil(len(powers) / most_ticks)
        exponents = [power for power in powers if power % stride == 0]
        ticks, labels = [10.0**e for e in exponents], [_power_of_ten(e) for e in exponents]
    else:
        ticks = [
            digit * 10.0**power
            for power in range(math.floor(bottom), math.ceil(top) + 1)
            for digit in (1, 2, 5)
            if bottom <= math.log10(digit * 10.0**power) <= top
        ] or [10.0 ** ((bottom + top) / 2)]
        labels = [f"{tick:.2g}" for tick in ticks]
    return Scale(10.0**bottom, 10.0**top, tuple(ticks), tuple(labels), log=True)


def _power_of_ten(exponent: int) -> str:
    superscripts = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return {0: "1", 1: "10"}.get(exponent, f"10{superscripts}")


def drawable(values: FloatArray, log: bool, least: float = _TINY) -> FloatArray:
    """``values`` with NaN for what an axis cannot show: infinities, and on a log axis what is not above
    ``least``.
    """
    size = np.abs(values)
    good = (size < _HUGE) & ((values > least) if log else np.isfinite(values))
    return np.where(good, values, np.nan)
