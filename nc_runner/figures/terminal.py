"""The tables of ``nc-plot`` on the terminal: the essential numbers of each run, verdicts on claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from nc_runner.figures.claims import CLAIMS_FILE, HOLDS, TRAINING, Overall
from nc_runner.figures.seeds import SeedGroup
from nc_runner.figures.style import data_set_name, loss_name, network_name
from nc_runner.figures.summary import SUMMARY_FILE, TERMINAL_ACCURACY, Summary, displayed
from nc_runner.runs.reader import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True)
class _Column:
    """An entry of the summary, times ``factor``, in the format ``form``. All columns fit 80 letters."""

    heading: str
    width: int
    key: str
    form: str = ""
    factor: float = 1.0

    def text(self, line: Summary) -> str:
        value = line[self.key]
        if value is None:
            return "-"
        if self.form and not isinstance(value, str):
            return format(self.factor * value, self.form)
        return str(value)


_COLUMNS = (
    _Column("loss", 8, "loss"),
    _Column("lr", 7, "lr", ".4g"),
    _Column("seed", 4, "seed"),
    _Column("state", 11, "state"),
    _Column("epoch", 5, "epochs_done"),
    _Column("test%", 5, "test_accuracy", ".2f", 100.0),
    _Column("NC1", 7, "nc1", ".2g"),
    _Column("NC2", 7, "nc2_maxangle_means", ".2g"),
    _Column("NC3", 7, "nc3_self_duality", ".2g"),
    _Column("perp/LS", 7, "perp_over_ls", ".2g"),
    _Column("TPT", 4, "terminal_phase_epoch"),
)
_NAMING = ("loss", "lr", "seed", "epochs_done")  # only in the first line of a group


def spread(run: Run) -> list[Summary]:
    """The lines of a run: one; for a group of seeds the median, the least and the greatest of each number."""
    if not isinstance(run, SeedGroup):
        return [displayed(run)]
    lines = [displayed(member) for member in run.members]
    result: list[Summary] = []
    for name, over in (("median", median), ("lowest", min), ("highest", max)):
        line: Summary = {**lines[0], "state": name, "seed": f"{len(lines)}×"}
        for column in set(lines[0]) - {"seed", "lr", "epochs", "epochs_done"}:
            numbers = [v for entry in lines if isinstance(v := entry.get(column), (int, float))]
            if len(numbers) == len(lines):
                number = over(numbers)
                line[column] = int(number) if column == "terminal_phase_epoch" else number
            elif numbers:
                line[column] = None  # not every seed has a number
        result.append(line)
    return result


def print_table(runs: Sequence[Run], console: Console) -> None:
    """The essential numbers of each run, under a heading for each network and data set."""
    from rich.text import Text

    header = _table()
    header.show_header = True
    console.print(header)
    for (net, data), members in groupby(runs, key=lambda run: run.cell[:2]):
        console.print(Text(f"{network_name(net)} on {data_set_name(data)}", style="bold"))
        table = _table()
        for run in members:
            for i, line in enumerate(spread(run)):
                names: Summary = dict.fromkeys(_NAMING, "") if i else {"loss": loss_name(run.cell[2])}
                cells = (column.text(line | names) for column in _COLUMNS)
                table.add_row(*map(Text, cells), style="" if i == 0 else "dim")
        console.print(table)
    console.print(
        "test%: accuracy at the end. NC2: mean |cos + 1/(C-1)| of the class means.\n"
        f"perp/LS: L_perp / L_LS, only for MSE. All metrics: {SUMMARY_FILE}\n"
        f"TPT: first epoch of the terminal phase ({100 * TERMINAL_ACCURACY:g} % train accuracy).",
        style="dim",
        highlight=False,
    )


def _table() -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    for column in _COLUMNS:
        left = column.key in ("loss", "state")
        table.add_column(
            column.heading,
            width=column.width,
            justify="left" if left else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


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
