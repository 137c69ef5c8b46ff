"""The settings in which runs differ, as columns of their summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nc_runner.runs.reader import Run
from nc_runner.runs.varying import Varying

if TYPE_CHECKING:
    from nc_runner.figures.summary import Summary

_AFTER = "lr"  # the column of a summary behind which they stand


def columns(varying: Varying, line: Summary) -> dict[str, str]:
    """The column of each setting that tells runs apart, by its key: none for those that ``line`` has."""
    named = {key: key.removesuffix("._target_") for key in varying.telling()}
    return {
        key: name if name not in line else f"run_{name}"
        for key, name in named.items()
        if name not in ("lr", "epochs")
    }


def with_settings(varying: Varying, runs: Sequence[Run], lines: Sequence[Summary]) -> list[Summary]:
    """``lines``, one for each run, with the settings in which the runs differ."""
    if not lines:
        return []
    named = columns(varying, lines[0])
    place = list(lines[0]).index(_AFTER) + 1
    result = []
    for run, line in zip(runs, lines, strict=True):
        entries = list(line.items())
        values = [(name, varying.value(run, key)) for key, name in named.items()]
        result.append(dict(entries[:place] + values + entries[place:]))
    return result
