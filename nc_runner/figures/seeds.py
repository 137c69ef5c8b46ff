"""Several seeds of one setting, seen as one: their median, and their range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class SeedGroup(Run):
    """Finished runs that differ in their seed alone.

    ``rows`` and ``layers`` hold the median over the runs, column by column, at the epochs that all of them
    measured; ``low`` and ``high`` the least and the greatest value, with the columns of ``rows``.
    """

    members: list[Run] = field(default_factory=list)
    low: pd.DataFrame = field(default=None)  # type: ignore[assignment]
    high: pd.DataFrame = field(default=None)  # type: ignore[assignment]


def members(run: Run) -> list[Run]:
    """The single runs behind a line: those of a group, or the run itself."""
    return run.members if isinstance(run, SeedGroup) else [run]


def group_seeds(runs: Sequence[Run]) -> list[Run]:
    """``runs``, where those that differ in their seed alone are one :class:`SeedGroup`, at the first's place.

    Runs that are not finished stay alone: a median over them would change its meaning along the line. So do
    runs that share a seed too (copies), and runs without a common epoch.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.state == COMPLETE and len(run.rows):
            groups.setdefault(run.variant, []).append(run)
    joined = {}
    for same in groups.values():
        different = len({str(run.settings.get("seed")) for run in same}) == len(same) > 1
        if different and len(common_epochs(same)):
            joined.update({id(run): same for run in same})
    return [
        _join(joined[id(run)]) if id(run) in joined else run
        for run in runs
        if id(run) not in joined or run is joined[id(run)][0]
    ]


def common_epochs(runs: Sequence[Run]) -> list[int]:
    """The epochs that all ``runs`` measured, in order."""
    return sorted(set.intersection(*(set(run.rows["epoch"]) for run in runs)))


def _join(runs: list[Run]) -> SeedGroup:
    import pandas as pd

    epochs = common_epochs(runs)
    columns = [column for column in runs[0].rows.columns if all(column in run.rows for run in runs)]
    stacked = pd.concat([run.rows.loc[run.rows["epoch"].isin(epochs), columns] for run in runs])
    at = stacked.groupby("epoch")
    first = runs[0]
    return SeedGroup(
        first.folder,
        first.state,
        first.settings,
        first.record,
        at.median().reset_index(),
        layers=_median_layers(runs),
        members=list(runs),
        low=at.min().reset_index(),
        high=at.max().reset_index(),
    )


def _median_layers(runs: Sequence[Run]) -> pd.DataFrame | None:
    """The median over the runs of each layer at the epochs that all have; None where one has no layers."""
    import pandas as pd

    tables = [run.layers for run in runs if run.layers is not None]
    if len(tables) < len(runs):
        return None
    at = pd.concat(tables).groupby(["epoch", "depth", "layer"])
    everywhere = at.median()[at.size() == len(runs)].reset_index()
    result: pd.DataFrame = everywhere.reindex(columns=list(tables[0].columns))
    return result
