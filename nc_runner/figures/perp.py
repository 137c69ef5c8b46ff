"""L_perp / L_LS over the terminal phase, in four numbers: how far a run is from the central path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nc_runner.figures.advance import Columns
    from nc_runner.figures.scales import FloatArray

_DROP = 0.7  # a learning rate that falls to this share of it, or less, from one measured epoch to the next


@dataclass(frozen=True)
class PerpShares:
    """L_perp / L_LS of a run trained with MSE.

    ``end``: at the last epoch. ``worst``: the largest value of the terminal phase. ``share``: of the phase's
    measured epochs below ``negligible``. ``after_drops``: the largest value of the phase before the learning
    rate dropped for the first time, and after each drop. NaN and empty without a terminal phase. ``finite``:
    all values of the phase are numbers.
    """

    negligible: float
    end: float
    worst: float
    share: float
    after_drops: tuple[float, ...]
    finite: bool

    @classmethod
    def of(cls, columns: Columns, start: int | None, negligible: float) -> PerpShares:
        """Of a run's ``columns``, with the terminal phase from epoch ``start`` on."""
        values, epochs, rates = (_array(columns, name) for name in ("mse_perp", "epoch", "lr"))
        with np.errstate(all="ignore"):
            shares = values / _array(columns, "mse_ls")
            drops = np.flatnonzero(rates[1:] <= _DROP * rates[:-1]) + 1
        phase = epochs >= (math.inf if start is None else start)
        within = shares[phase]
        parts = [shares[a:b][phase[a:b]] for a, b in pairwise([0, *drops, len(epochs)])]
        return cls(
            negligible,
            end=float(shares[-1]) if len(shares) else math.nan,
            worst=float(within.max()) if len(within) else math.nan,
            share=float((within < negligible).mean()) if len(within) else math.nan,
            after_drops=tuple(float(part.max()) for part in parts if len(part)),
            finite=bool(np.isfinite(within).all()),
        )

    @property
    def words(self) -> str:
        """Such as "at the end 0.07; in the phase at most 0.3, below 0.1 at 83 % of its epochs"."""
        text = f"at the end {self.end:.3g}"
        if math.isfinite(self.worst):
            text += f"; in the phase at most {self.worst:.3g}, "
            text += f"below {self.negligible:g} at {100 * self.share:.0f} % of its epochs"
        if len(self.after_drops) > 1:
            values = ", ".join(f"{value:.3g}" for value in self.after_drops)
            text += f"; between drops of the learning rate {values}"
        return text


def _array(columns: Columns, name: str) -> FloatArray:
    result: FloatArray = np.asarray(columns[name], dtype=np.float64)
    return result
