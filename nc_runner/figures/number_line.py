"""Where the values of a setting stand on an axis or a scale of colours: linear, or log with a place for 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from nc_runner.figures.scales import Scale, linear_scale, log_scale, tick_scale

_WIDE = 8.0  # a log axis where the largest number is so many times the least positive one
_MOST_TICKS = 8  # values that each have a tick


class NumberLine:
    """The places of ``numbers``, which are in order and different.

    A log line where none is negative and the positive ones span a wide range; 0 then stands below them.
    """

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers = [float(number) for number in numbers]
        positive = [number for number in self._numbers if number > 0]
        self.log = bool(positive) and self._numbers[0] >= 0 and positive[-1] >= _WIDE * positive[0]
        self._zero = positive[0] / max(3.0, (positive[-1] / positive[0]) ** 0.15) if self.log else 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """The places of the least and the largest number."""
        return self.place(self._numbers[0]), self.place(self._numbers[-1])

    def place(self, number: float) -> float:
        """Where a number stands."""
        return self._zero if number == 0 else float(number)

    def fraction(self, number: float) -> float:
        """The same from 0 for the least to 1 for the largest number, as far as a line of the paper goes."""
        line = (self.ends[0], self.place(number), self.ends[1])
        low, here, high = map(math.log, line) if self.log else line
        return (here - low) / (high - low) if high > low else 0.0

    def scale(self, labels: Sequence[str] = ()) -> Scale:
        """An axis: a tick for each number with its label where there is room, else at round numbers."""
        places = [self.place(number) for number in self._numbers]
        fractions = [self.fraction(number) for number in self._numbers]
        gaps = [b - a for a, b in pairwise(fractions)]
        if labels and len(places) <= _MOST_TICKS and min(gaps, default=1.0) > 0.08:
            return tick_scale(places, labels, self.log)
        if not self.log:
            return linear_scale(*self.ends)
        if self._numbers[0] > 0:
            return log_scale(*self.ends)
        above = log_scale(self._numbers[1], self._numbers[-1])
        ticks = {self._zero: "0"} | dict(zip(above.ticks, above.labels, strict=True))
        inside = tuple(tick for tick in above.minor if tick > self._numbers[1])
        low = self._zero * above.low / self._numbers[1]
        return Scale(low, above.high, tuple(ticks), tuple(ticks.values()), log=True, minor=inside)
