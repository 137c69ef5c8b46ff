"""Whether a disturbed sweep ended with the rows and weights of a quiet one, to the last bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from faults.command import RUNS, run_folders
from nc_runner.columns import TIME_COLUMNS
from nc_runner.training.checkpoint import load_checkpoint

Cells = list[dict[str, str]]


def differences(quiet: Path, disturbed: Path) -> list[str]:
    """What is different, in a line each; empty where nothing is."""
    expected, found = run_folders(quiet), run_folders(disturbed)
    if [folder.name for folder in expected] != [folder.name for folder in found] or len(expected) != RUNS:
        return [f"{len(found)} run folders, not the {len(expected)} of the quiet sweep"]
    return [
        f"{folder.name}: {line}"
        for reference, folder in zip(expected, found, strict=True)
        for line in _of_run(reference, folder)
    ]


def _of_run(quiet: Path, disturbed: Path) -> Iterator[str]:
    state = json.loads((disturbed / "run.json").read_text())["state"]
    if state != "complete":
        yield f"its state is {state}"
    yield from of_rows(rows_of(quiet), rows_of(disturbed))
    if left := sorted(path.name for path in disturbed.rglob("*.tmp")):
        yield f"left behind: {', '.join(left)}"
    mine, other = (load_checkpoint(folder)[0] for folder in (quiet, disturbed))
    if mine is None or other is None or not same(mine["model"], other["model"]):
        yield "the weights differ"
    elif not same(mine["optimizer"], other["optimizer"]):
        yield "the optimizer's state differs"
    kept = [{path.name: path for path in folder.glob("weights/*.pt")} for folder in (quiet, disturbed)]
    if kept[0].keys() != kept[1].keys():
        yield f"kept weights: {sorted(kept[1])}, not {sorted(kept[0])}"
    for name in kept[0].keys() & kept[1].keys():
        files = [torch.load(weights[name], weights_only=True) for weights in kept]
        for content in files:
            content.pop("digest", None)
        if not same(*files):
            yield f"{name} differs"


def rows_of(folder: Path) -> Cells:
    """The rows of ``metrics.csv`` as text, without the columns of seconds."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def of_rows(quiet: Cells, disturbed: Cells) -> Iterator[str]:
    """Lost, doubled and different rows."""
    epochs = [row["epoch"] for row in disturbed]
    wanted = [row["epoch"] for row in quiet]
    if lost := [epoch for epoch in wanted if epoch not in epochs]:
        yield f"lost rows: {', '.join(lost)}"
    if doubled := sorted({epoch for epoch in epochs if epochs.count(epoch) > 1}):
        yield f"doubled rows: {', '.join(doubled)}"
    if not lost and not doubled and disturbed != quiet:
        yield "the rows differ"


def same(a: Any, b: Any) -> bool:
    """Whether two nests of dicts, lists, tensors and plain values are equal, to the last bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
