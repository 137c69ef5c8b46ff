"""The claims in the report: each with its verdict over all runs, and the verdicts of single runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nc_runner.figures.judging import FAILS, HOLDS, INCONCLUSIVE, Judgement, Overall, overall


@dataclass(frozen=True)
class ClaimRow:
    """A claim with its verdict over all runs, and judgements that it follows from.

    ``more``: how many judgements are left out, all of them alike or beyond the first ones.
    """

    over: Overall
    judgements: list[Judgement]
    more: int = 0

    @property
    def holds_in(self) -> str:
        """Such as "18 of 19 hold"."""
        count = self.over.holds + self.over.fails + self.over.inconclusive
        return f"{self.over.holds} of {count} {'hold' if self.over.holds != 1 else 'holds'}"

    @property
    def others(self) -> list[str]:
        fail = "fails" if self.over.fails == 1 else "fail"
        counts = ((self.over.fails, fail), (self.over.inconclusive, INCONCLUSIVE))
        return [f"{count} {word}" for count, word in counts if count]


def claim_rows(judgements: Sequence[Judgement], most: int | None) -> list[ClaimRow]:
    """A row for each claim that was judged. ``most``: list so many verdicts, failing ones first, at most."""
    by_claim: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        by_claim.setdefault(judgement.claim.key, []).append(judgement)
    rows = []
    for over in overall(judgements):
        mine = by_claim[over.claim.key]
        if most is not None:
            order = {FAILS: 0, INCONCLUSIVE: 1, HOLDS: 2}
            mine = sorted(mine, key=lambda one: order[one.verdict])[:most]
        rows.append(ClaimRow(over, mine, len(by_claim[over.claim.key]) - len(mine)))
    return rows
