"""Which epochs are measured, and after which the learning rate drops: pure functions of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

# The authors' measurement epochs (their public notebook, 350 epochs).
PAPER_EPOCHS = (
    *range(1, 15), 16, 17, 19, 20, 22, 24, 27, 29, 32, 35, 38, 42, 45, 50, 54, 59, 65, 71, 77, 85, 92, 101,
    110, 121, 132, 144, 158, 172, 188, 206, 225, 245, 268, 293, 320, 350,
)  # fmt: skip


def milestone_epochs(milestones: Sequence[str | int | float], epochs: int) -> list[int]:
    """Epochs after which the learning rate drops: fractions of ``epochs`` (rounded down) or epoch numbers.

    In runs so short that a fraction rounds to 0, that drop is left out.

    >>> milestone_epochs(["1/3", "2/3"], 350), milestone_epochs(["1/3", "2/3"], 2)
    ([116, 233], [1])
    """
    values = (Fraction(str(milestone)) for milestone in milestones)
    drops = (int(value * epochs) if value < 1 else int(value) for value in values)
    return [epoch for epoch in drops if epoch > 0]


def analysed_epochs(schedule: str | Sequence[int], epochs: int) -> list[int]:
    """The epochs after which the run is measured, in order; the last epoch is always one of them.

    ``schedule`` is ``every`` (from 1 on), ``paper`` (the authors' epochs) or a list of epochs; 0 is the
    network at initialisation, before the first step.

    >>> analysed_epochs([0, 5], 8)
    [0, 5, 8]
    """
    if schedule == "every":
        return list(range(1, epochs + 1))
    chosen = PAPER_EPOCHS if isinstance(schedule, str) else schedule
    return sorted({epoch for epoch in chosen if epoch <= epochs} | {epochs})


def weight_epochs(keep: str | Sequence[int], analysed: Iterable[int]) -> list[int]:
    """The epochs after which a run keeps its weights, in order.

    ``keep`` is ``none``, ``analysed`` (those that are measured) or a list of epochs.

    >>> weight_epochs("analysed", [1, 5]), weight_epochs((2, 3), [1, 5]), weight_epochs("none", [1, 5])
    ([1, 5], [2, 3], [])
    """
    if isinstance(keep, str):
        return sorted(analysed) if keep == "analysed" else []
    return sorted(keep)


def is_fraction(milestone: str | int | float) -> bool:
    """Whether a milestone is a fraction of the epochs, not the number of one.

    >>> is_fraction("1/3"), is_fraction("1"), is_fraction("120")
    (True, False, False)
    """
    return Fraction(str(milestone)) < 1


def step_factor(gamma: float, milestones: Sequence[int], epoch: int) -> float:
    """The factor of the learning rate in an epoch, counted from 1: ``gamma`` for each milestone before it.

    ``milestones`` are epochs after which the rate drops.

    >>> [step_factor(0.5, [1, 3], epoch) for epoch in (1, 2, 3, 4)]
    [1.0, 0.5, 0.5, 0.25]
    """
    drops: int = sum(epoch > milestone for milestone in milestones)
    return gamma**drops
