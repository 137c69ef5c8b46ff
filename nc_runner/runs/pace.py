"""How long epochs and measurements take, by the rows of a run. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nc_runner.columns import TIME_COLUMNS

RECENT = 10  # rows by which the pace is known
COLUMNS = ("epoch", *TIME_COLUMNS)


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch's training, of a measurement, and of an epoch with its share of measurements."""

    training: float
    measurement: float
    epoch: float

    def seconds(self, epochs: int, measurements: int) -> float:
        """The time that so many epochs and measurements take."""
        return epochs * self.training + measurements * self.measurement


def pace_of(rows: Sequence[Mapping[str, float]]) -> Pace | None:
    """The pace of the last rows of a run: one more than :data:`RECENT`, where there are as many.

    A row's ``train_seconds`` are those of all epochs since the row before; its ``analysis_seconds`` are its
    own. That of epoch 0, before any training, says nothing of the pace. None where the rows do not tell.
    """
    rows = [row for row in rows if row.get("epoch") != 0]
    before = rows[-RECENT - 1].get("epoch", 0.0) if len(rows) > RECENT else 0.0
    recent = rows[-RECENT:]
    covered = recent[-1].get("epoch", math.nan) - before if recent else 0.0
    train, analysis = (sum(row.get(column, math.nan) for row in recent) for column in TIME_COLUMNS)
    if not 0 < covered < math.inf or not 0 <= train + analysis < math.inf:
        return None
    return Pace(train / covered, analysis / len(recent), (train + analysis) / covered)


def typical(paces: Iterable[Pace]) -> Pace:
    """The median of each number."""
    every = list(paces)
    return Pace(
        median(pace.training for pace in every),
        median(pace.measurement for pace in every),
        median(pace.epoch for pace in every),
    )
