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
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from nc_runner import __version__
from nc_runner.figures.about import columns, with_settings
from nc_runner.figures.catalogue import FLOW_CATALOGUE
from nc_runner.figures.choice import Job
from nc_runner.figures.claims import Thresholds
from nc_runner.figures.draw import PICTURE_DPI
from nc_runner.figures.judging import INCONCLUSIVE, VERDICTS, Judgement
from nc_runner.figures.report_claims import claim_rows
from nc_runner.figures.report_runs import (
    flow_name,
    number_text,
    packed,
    records,
    run_name,
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
from nc_runner.runs.varying import Varying

REPORT_FILE = "report.html"
MANY = 60  # runs, from which the page shows less of each, so that it stays small
_MOST_NAMES = 8  # in the list of networks or data sets at the head of the page
_MOST_VERDICTS = 30  # of a claim, where there are many runs
_MOST_VALUES = 150_000  # in all rows, about a megabyte when packed: more are left to nc_runner.read_runs
_USUAL_SIZE = (245, 190)  # of a figure in points, where its file does not say


@dataclass(frozen=True)
class Content:
    """What is in a report. ``jobs``: the figures, which the folder ``pictures`` holds as SVG or PNG."""

    runs: Sequence[Run]
    flows: Sequence[FlowRun]
    judgements: Sequence[Judgement]
    jobs: Sequence[Job]
    pictures: Path
    thresholds: Thresholds = field(default_factory=Thresholds)


def write_report(content: Content, out: Path) -> Path:
    """Write ``report.html`` into ``out``. Raises :class:`OSError` where a file cannot be read or written."""
    path = out / REPORT_FILE
    write_atomically(path, render(content).encode("utf-8", errors="backslashreplace"))
    return path


def render(content: Content) -> str:
    """The page as text. Runs and flows are listed in the given order."""
    runs, flows, thresholds = content.runs, content.flows, content.thresholds
    names = short_folders([run.folder for run in runs] + [flow.folder for flow in flows])
    varying, many = Varying(runs), len(runs) > MANY
    summaries = [displayed(run) | {"folder": names[run.folder]} for run in runs]
    lines = with_settings(varying, runs, summaries)
    headings = columns(varying, summaries[0]) if runs else {}
    shown = {name: varying.heading(key) for key, name in headings.items()}
    table_columns = summary_columns(lines, shown, many) if runs else []
    table = tidy_table(runs, names) if sum(run.rows.size for run in runs) <= _MOST_VALUES else None
    common, entries_of_runs = records(runs, flows, names, varying)
    style, script = _source("report.css"), _source("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number_text, "printable": printable}
    claims = claim_rows(content.judgements, _MOST_VERDICTS if many else None)
    pictures_found = list(_figures(content.jobs, content.pictures))
    lead = [picture for picture in pictures_found if picture.leads] or pictures_found[:1]
    return environment.from_string(_source("report.html")).render(
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=_title(runs, flows),
        facts=list(_facts(runs, flows, varying)),
        claims=claims,
        alone=all(len(claim.judgements) == 1 and not claim.more for claim in claims),
        numbers={run: number for number, run in enumerate(runs, start=1)},
        run_names={run: run_name(run, varying) for run in runs},
        tally=Counter(claim.over.verdict for claim in claims),
        verdicts=VERDICTS,
        inconclusive=INCONCLUSIVE,
        terminal=f"{100 * TERMINAL_ACCURACY:g} %",
        negligible=f"{thresholds.negligible:g}",
        comparable=f"{thresholds.comparable:g}",
        columns=table_columns,
        many=many,
        lines=[[column.cell(line) for column in table_columns] for line in lines],
        lead=lead,
        figures=[picture for picture in pictures_found if picture not in lead],
        common=common,
        records=entries_of_runs,
        rows=sum(len(run.rows) for run in runs),
        width=0 if table is None else len(table.columns),
        table="" if table is None else _base64(packed(table)),
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


def _facts(runs: Sequence[Run], flows: Sequence[FlowRun], varying: Varying) -> Iterator[tuple[str, str]]:
    """(what, which) for the head of the page."""
    places = (("Networks", 0, network_name), ("Data", 1, data_set_name), ("Losses", 2, loss_name))
    for heading, i, in_words in places if runs else ():
        yield heading, _listed(in_words(run.cell[i]) for run in runs)
    if runs:
        values = {key: len({varying.text(run, key) for run in runs}) for key in varying.telling()}
        differing = [f"{varying.heading(key)} ({count} values)" for key, count in values.items()]
        seeds = len({run.seed for run in runs})
        if differing or seeds > 1:
            yield "Varied", _listed(iter([*differing, *([f"seed ({seeds} values)"] if seeds > 1 else [])]))
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
class _Picture:
    """A figure in the page: its words, its size in points, and the picture itself as a data URL.

    ``leads``: it is an overview, with which the page begins.
    """

    title: str
    reading: str
    width: int
    height: int
    source: str
    leads: bool


def _figures(jobs: Sequence[Job], pictures: Path) -> Iterator[_Picture]:
    """Every figure that ``pictures`` holds."""
    known = [(job.name, job.title, job.figure.reading) for job in jobs]
    known += [(figure.name, figure.title, figure.reading) for figure in FLOW_CATALOGUE]
    for name, title, reading in known:
        found = next(filter(Path.exists, (pictures / f"{name}.{kind}" for kind in ("svg", "png"))), None)
        if found is None:
            continue
        content = found.read_bytes()
        size = _size(content)
        kind = "svg+xml" if found.suffix == ".svg" else "png"
        source = f"data:image/{kind};base64,{_base64(content)}"
        yield _Picture(printable(title), reading, *size, source, name.startswith("overview"))


def _size(content: bytes) -> tuple[int, int]:
    """Width and height of an SVG or PNG picture in points."""
    if content.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", content[16:24])
        return math.ceil(72 * width / PICTURE_DPI), math.ceil(72 * height / PICTURE_DPI)
    found = re.search(rb'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', content)
    return (math.ceil(float(found[1])), math.ceil(float(found[2]))) if found else _USUAL_SIZE
