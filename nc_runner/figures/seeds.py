"""Joins the seeds of one setting into a group, whose rows are their median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE
from nc_runner.runs.rows import columns_of

if TYPE_CHECKING:
    import pandas as pd

    from nc_runner.figures.scales import FloatArray


@dataclass(eq=False)
class SeedGroup(Run):
    """Finished runs that differ only in their seed.

    ``rows`` and ``layers`` hold the median over the runs, column by column, at the epochs that all of them
    measured.
    """

    members: list[Run] = field(default_factory=list)


def members(run: Run) -> list[Run]:
    """The single runs behind a line: those of a group, or the run itself."""
    return run.members if isinstance(run, SeedGroup) else [run]


def group_seeds(runs: Sequence[Run]) -> list[Run]:
    """``runs``, with a :class:`SeedGroup` in place of runs that differ only in their seed.

    Runs that are not finished stay alone: a median over them would change its meaning along the line. So do
    copies, which share the seed too, and runs without a common epoch.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.state == COMPLETE and len(run.rows):
            groups.setdefault(run.variant, []).append(run)
    joined = {}
    for same in groups.values():
        different = len({run.seed for run in same}) == len(same) > 1
        if different and len(common_epochs(same)):
            joined.update(dict.fromkeys(same, same))
    return [
        _join(joined[run]) if run in joined else run
        for run in runs
        if run not in joined or run is joined[run][0]
    ]


def common_epochs(runs: Sequence[Run]) -> list[int]:
    """The epochs that all ``runs`` measured, in order."""
    common: list[int] = reduce(np.intersect1d, (run.rows["epoch"].to_numpy() for run in runs)).tolist()
    return common


def _join(runs: list[Run]) -> SeedGroup:
    import pandas as pd

    epochs = common_epochs(runs)
    tables = [columns_of(run.rows) for run in runs]
    at = [np.isin(table["epoch"], epochs) for table in tables]
    names = [name for name in tables[0] if name != "epoch" and all(name in table for table in tables)]
    values = np.stack(
        [
            np.stack([table[name][here] for name in names], axis=1)
            for table, here in zip(tables, at, strict=True)
        ]
    )
    rows = pd.DataFrame(_median(values), columns=names)
    rows.insert(0, "epoch", np.array(epochs, dtype=np.int64))
    return SeedGroup(runs[0].content, runs[0].folder, rows, layers=_median_layers(runs), members=runs)


def _median(values: FloatArray) -> FloatArray:
    """The median over the first axis of the values that are not NaN; NaN where there are none."""
    ordered = np.sort(values, axis=0)  # NaN comes last
    count = (~np.isnan(values)).sum(axis=0)
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)])
    low, high = np.take_along_axis(ordered, middle, axis=0)
    with np.errstate(all="ignore"):
        between = (low + high) / 2
    median: FloatArray = np.where(count % 2 == 1, low, between)
    return median


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
