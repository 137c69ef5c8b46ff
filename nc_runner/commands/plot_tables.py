"""The tables of ``nc-plot`` on the terminal: the essential numbers of each run, verdicts on claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from rich.text import Text

from nc_runner.commands.grid import Column, Grid, Row
from nc_runner.commands.settings_columns import SEED, SettingsColumns
from nc_runner.figures.claims import PHASE
from nc_runner.figures.judging import CLAIMS_FILE, HOLDS, Overall
from nc_runner.figures.seeds import SeedGroup
from nc_runner.figures.style import data_set_name, loss_name, network_name
from nc_runner.figures.summary import SUMMARY_FILE, TERMINAL_ACCURACY, Summary, displayed
from nc_runner.runs.reader import Run
from nc_runner.runs.varying import Varying

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class _Number:
    """An entry of the summary, times ``factor``, in the format ``form``. ``leaves``: its turn to give way."""

    heading: str
    key: str
    form: str = ""
    factor: float = 1.0
    leaves: int | None = None

    def text(self, line: Summary) -> str:
        value = line[self.key]
        if value is None:
            return "-"
        if self.form and not isinstance(value, str):
            return format(self.factor * value, self.form).removesuffix(".")
        return str(value)


_NUMBERS = (
    _Number("state", "state"),
    _Number("epoch", "epochs_done", leaves=2),
    _Number("test%", "test_accuracy", ".2f", 100.0),
    _Number("NC1", "nc1", "#.2g"),
    _Number("NC2", "nc2_maxangle_means", "#.2g"),
    _Number("NC3", "nc3_self_duality", "#.2g"),
    _Number("perp/LS", "perp_over_ls", "#.2g", leaves=3),
    _Number("TPT", "terminal_phase_epoch", leaves=1),
)
_ONCE = "epochs_done"  # only in the first line of a group


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
    """The essential numbers of each run, below a heading for each network, data set and loss in common."""
    groups = [list(members) for _, members in groupby(runs, key=_place)]
    settings = SettingsColumns(Varying(runs), groups)
    columns = settings.columns(beside=3)
    numbers = [
        Column(number.heading, right=number.key != "state", leaves=number.leaves) for number in _NUMBERS
    ]
    rows = [[row for run in group for row in _rows(run, settings)] for group in groups]
    grid = Grid([*columns, *numbers], [row for some in rows for row in some], styled=len(columns))
    layout = grid.fitted(console.width, indent=2)
    lines = layout.lines()
    console.print(layout.header(), no_wrap=True, overflow="ellipsis")
    for group, some in zip(groups, rows, strict=True):
        console.print(Text(_heading(group), style="bold"))
        for row in some:
            line = next(lines)
            if row.style:
                line.stylize(row.style)
            console.print(line, no_wrap=True, overflow="ellipsis")
    hidden = f" Not shown for want of room: {', '.join(layout.hidden)}." if layout.hidden else ""
    console.print(
        "test%: accuracy at the end. NC2: mean |cos + 1/(C-1)| of the class means.\n"
        f"perp/LS: L_perp / L_LS, only for MSE. All metrics: {SUMMARY_FILE}.{hidden}\n"
        f"TPT: first epoch of the terminal phase ({100 * TERMINAL_ACCURACY:g} % train accuracy).",
        style="dim",
        highlight=False,
    )


def _place(run: Run) -> tuple[str, str]:
    return run.cell[:2]


def _heading(group: Sequence[Run]) -> str:
    """Such as "ResNet8 on Digits, MSE": the loss where all runs have the same."""
    net, data, loss = group[0].cell
    name = f"{network_name(net)} on {data_set_name(data)}"
    alike = len({run.cell[2] for run in group}) == 1
    return f"{name}, {loss_name(loss)}" if alike else name


def _rows(run: Run, settings: SettingsColumns) -> Iterator[Row]:
    """The lines of a run, or of a group of seeds."""
    named = settings.cells(run)
    for i, line in enumerate(spread(run)):
        cells = [""] * len(named) if i else list(named)
        if not i:
            cells[settings.keys.index(SEED)] = str(line["seed"])
        shown = line if not i else {**line, _ONCE: ""}
        yield Row([*cells, *(number.text(shown) for number in _NUMBERS)], style="dim" if i else "")


def print_claims(overalls: Sequence[Overall], console: Console) -> None:
    """Print each claim's verdict over all runs; nothing where nothing was judged."""
    from rich.table import Table

    if not overalls:
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("the paper's claims", width=30, no_wrap=True, overflow="ellipsis")
    table.add_column("over training, at the end", width=25, no_wrap=True)
    table.add_column("in the terminal phase", width=21, no_wrap=True)
    for subject, group in groupby(overalls, key=lambda line: line.claim.subject):
        cells = {line.claim.aspect != PHASE: line for line in group}
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
    if line is None:
        return Text("")
    conclusive = line.holds + line.fails
    if not conclusive:
        return Text(line.verdict, style="dim")
    number = "" if line.median is None else f"  {line.median:#.2g}".removesuffix(".")
    style = "green" if line.verdict == HOLDS else "red"
    return Text.assemble((f"{line.verdict:<5}", style), f" {line.holds}/{conclusive}{number}")
