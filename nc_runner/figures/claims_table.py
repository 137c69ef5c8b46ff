"""The verdicts on the paper's claims: ``claims.csv``, complete, and a short table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from nc_runner.figures.claims import HOLDS, TRAINING, Judgement, Overall
from nc_runner.runs.tables import write_atomically

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

CLAIMS_FILE = "claims.csv"


def write_claims(judgements: Sequence[Judgement], out: Path) -> Path:
    """Write ``claims.csv`` into ``out``: a line for each judgement. Raises :class:`OSError` if it cannot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("claim", "statement", "net", "data", "loss", "lr", "seed", "verdict", "number", "number_is",
         "holds_if", "reason", "folder")
    )  # fmt: skip
    for judgement in judgements:
        claim, finding, run = judgement.claim, judgement.finding, judgement.run
        lr, seed, folder = (run.lr, run.seed, run.folder) if run else (None, None, None)
        writer.writerow(
            (claim.key, claim.statement, *judgement.cell, lr, seed, finding.verdict, finding.number,
             claim.number, claim.holds_if, finding.reason, folder)
        )  # fmt: skip
    path = out / CLAIMS_FILE
    write_atomically(path, text.getvalue().encode("utf-8", errors="backslashreplace"))
    return path


def print_claims(overalls: Sequence[Overall], console: Console) -> None:
    """Print each claim's verdict over all runs; nothing where nothing was judged."""
    from rich.table import Table
    from rich.text import Text

    if not overalls:
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("the paper's claims", width=30, no_wrap=True, overflow="ellipsis")
    table.add_column("falls over training", width=23, no_wrap=True)
    table.add_column("in the terminal phase", width=23, no_wrap=True)
    for subject, group in groupby(overalls, key=lambda line: line.claim.subject):
        cells = {line.claim.aspect == TRAINING: line for line in group}
        table.add_row(Text(subject), *(_verdict_cell(cells.get(first)) for first in (True, False)))
    console.print()
    console.print(table)
    console.print(
        "holds n/m: in n of the m runs that are not inconclusive; then the median of the\n"
        f"number that decides. Each verdict with its number and reason: {CLAIMS_FILE}",
        style="dim",
        highlight=False,
    )


def _verdict_cell(line: Overall | None) -> Text:
    from rich.text import Text

    if line is None:
        return Text("")
    conclusive = line.holds + line.fails
    if not conclusive:
        return Text(line.verdict, style="dim")
    number = "" if line.median is None else f"  {line.median:.2g}"
    style = "green" if line.verdict == HOLDS else "red"
    return Text.assemble((f"{line.verdict:<5}", style), f" {line.holds}/{conclusive}{number}")
