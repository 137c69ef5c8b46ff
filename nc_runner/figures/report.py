"""``report.html``: claims, runs, figures, settings and all rows in one page that needs nothing else.

``page/`` holds the page as a template, a style sheet and a script. Names come from disk and may contain
anything: the template escapes all text, and the page's security policy allows its own script and style sheet
and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from nc_runner import __version__
from nc_runner.figures.catalogue import FLOW_CATALOGUE
from nc_runner.figures.choice import Job
from nc_runner.figures.claims import (
    COMPARABLE,
    INCONCLUSIVE,
    NEGLIGIBLE,
    VERDICTS,
    Judgement,
    Overall,
    overall,
)
from nc_runner.figures.report_runs import (
    flow_name,
    number_text,
    packed,
    records,
    short_folders,
    summary_columns,
    tidy_table,
)
from nc_runner.figures.style import data_set_name, loss_name, network_name, printable
from nc_runner.figures.summary import TERMINAL_ACCURACY, displayed
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.reader import Run
from nc_runner.runs.record import STATES
from nc_runner.runs.tables import write_atomically

REPORT_FILE = "report.html"
_MOST_NAMES = 8  # in the list of networks or data sets at the head of the page
_USUAL_SIZE = (245, 190)  # of a figure in points, where its file does not say


def write_report(
    runs: Sequence[Run],
    flows: Sequence[FlowRun],
    judgements: Sequence[Judgement],
    jobs: Sequence[Job],
    out: Path,
    pictures: Path,
) -> Path:
    """Write ``report.html`` into ``out``. ``pictures``: the folder that holds the figures ``jobs`` as SVG.

    Raises :class:`OSError` where a file cannot be read or written.
    """
    path = out / REPORT_FILE
    page = render(runs, flows, judgements, jobs, pictures)
    write_atomically(path, page.encode("utf-8", errors="backslashreplace"))
    return path


def render(
    runs: Sequence[Run],
    flows: Sequence[FlowRun],
    judgements: Sequence[Judgement],
    jobs: Sequence[Job],
    pictures: Path,
) -> str:
    """The page as text. ``runs`` and ``flows`` are listed in the given order."""
    names = short_folders([run.folder for run in runs] + [flow.folder for flow in flows])
    lines = [displayed(run) | {"folder": names[run.folder]} for run in runs]
    columns = summary_columns(lines)
    table = tidy_table(runs, names)
    style, script = _source("report.css"), _source("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number_text, "printable": printable}
    claims = [
        _ClaimRow(over, [one for one in judgements if one.claim is over.claim])
        for over in overall(judgements)
    ]
    return environment.from_string(_source("report.html")).render(
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=_title(runs, flows),
        facts=list(_facts(runs, flows)),
        claims=claims,
        alone=all(len(claim.judgements) == 1 for claim in claims),
        numbers={run: number for number, run in enumerate(runs, start=1)},
        tally=Counter(claim.over.verdict for claim in claims),
        verdicts=VERDICTS,
        inconclusive=INCONCLUSIVE,
        terminal=f"{100 * TERMINAL_ACCURACY:g} %",
        negligible=f"{NEGLIGIBLE:g}",
        comparable=f"{COMPARABLE:g}",
        columns=columns,
        lines=[[column.cell(line) for column in columns] for line in lines],
        figures=list(_figures(jobs, pictures)),
        records=records(runs, flows, names),
        rows=len(table),
        width=len(table.columns),
        table=_base64(packed(table)),
    )


def _source(name: str) -> str:
    return (files("nc_runner.figures") / "page" / name).read_text(encoding="utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _hash(text: str) -> str:
    """How a content security policy names an inline script or style sheet."""
    return "sha256-" + _base64(hashlib.sha256(text.encode()).digest())


def _title(runs: Sequence[Run], flows: Sequence[FlowRun]) -> str:
    counts = {"run": len(runs), "flow": len(flows)}
    parts = [f"{count} {word}{'s' * (count > 1)}" for word, count in counts.items() if count]
    return f"Neural Collapse in {' and '.join(parts)}"


def _facts(runs: Sequence[Run], flows: Sequence[FlowRun]) -> Iterator[tuple[str, str]]:
    """(what, which) for the head of the page."""
    places = (("Networks", 0, network_name), ("Data", 1, data_set_name), ("Losses", 2, loss_name))
    for heading, i, in_words in places if runs else ():
        yield heading, _listed(in_words(run.cell[i]) for run in runs)
    if runs:
        states = Counter(run.state for run in runs)
        yield "State", ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    days = sorted(time.date() for run in runs for time in (run.started, run.ended) if time)
    if days:
        yield "Trained", f"{days[0]} to {days[-1]}" if days[0] < days[-1] else f"{days[0]}"
    if flows:
        yield "Flows", _listed(flow_name(flow).removeprefix("Flow, ") for flow in flows)


def _listed(names: Iterator[str]) -> str:
    different = list(dict.fromkeys(names))
    more = len(different) - _MOST_NAMES
    return ", ".join(different[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class _ClaimRow:
    """A claim with its verdict over all runs, and the judgements that it follows from."""

    over: Overall
    judgements: list[Judgement]

    @property
    def holds_in(self) -> str:
        count = len(self.judgements)
        kind = "run" if self.judgements[0].run else "comparison"
        return f"{self.over.holds} of {count} {kind}{'s' * (count > 1)}"

    @property
    def others(self) -> list[str]:
        fail = "fails" if self.over.fails == 1 else "fail"
        counts = ((self.over.fails, fail), (self.over.inconclusive, INCONCLUSIVE))
        return [f"{count} {word}" for count, word in counts if count]


@dataclass(frozen=True)
class _Picture:
    """A figure in the page: its words, its size in points, and the picture itself as a data URL."""

    title: str
    reading: str
    width: int
    height: int
    source: str


def _figures(jobs: Sequence[Job], pictures: Path) -> Iterator[_Picture]:
    """Every figure that ``pictures`` holds."""
    known = [(job.name, job.title, job.figure.reading) for job in jobs]
    known += [(figure.name, figure.title, figure.reading) for figure in FLOW_CATALOGUE]
    for name, title, reading in known:
        picture = pictures / f"{name}.svg"
        if not picture.exists():
            continue
        content = picture.read_bytes()
        size = re.search(rb'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', content)
        width, height = (math.ceil(float(side)) for side in size.groups()) if size else _USUAL_SIZE
        source = f"data:image/svg+xml;base64,{_base64(content)}"
        yield _Picture(printable(title), reading, width, height, source)
