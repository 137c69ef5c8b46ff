"""The table of ``nc-run --plan``, for terminals of any size and for files; and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from nc_runner.commands.grid import Column, Grid, Row, printable
from nc_runner.commands.plan import (
    ANEW,
    BUSY,
    CONTINUES,
    DONE,
    FAILS,
    NEW,
    RESUMES,
    TRAINED,
    Plan,
    PlannedRun,
)
from nc_runner.commands.settings_columns import SettingsColumns, settings_data
from nc_runner.commands.status_table import duration, nearby, short
from nc_runner.runs.record import FAILED
from nc_runner.runs.varying import Varying
from nc_runner.status import WAITING
from nc_runner.training.progress import show

_STYLES = {NEW: "bold cyan", CONTINUES: "cyan", RESUMES: "yellow", DONE: "green", FAILS: "red", BUSY: "red"}
_OTHERS = (
    Column("plan", right=False), Column("before", right=False, leaves=101), Column("epochs", leaves=100),
    Column("time", leaves=102), Column("folder", right=False, leaves=103),
)  # fmt: skip
_COUNTED = {CONTINUES: "to continue", RESUMES: "to resume", ANEW: "to train anew", FAILS: "that would fail"}
_BESIDE = 102  # so many turns come before the settings that go last
_MOST_REASONS = 5


def show_plan(plan: Plan, *, for_machines: bool = False) -> None:
    """Print the plan: as wide as the terminal, or whole and plain, or as JSON."""
    console = Console(highlight=False)
    if for_machines:
        show(json.dumps(as_data(plan), indent=2))
    elif not console.is_terminal:
        show("\n".join(line.plain for line in render(plan)))
    else:
        with console.capture() as lines:
            console.print(Group(*render(plan, console.width)), end="")
        show(lines.get().rstrip("\n"))


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan in plain dicts, lists and numbers."""
    varying = Varying([run.record for run in plan.runs])
    runs = [
        {
            "folder": str(run.folder),
            "plan": run.action,
            "before": run.before or None,
            "epoch": run.epoch,
            "epochs": run.epochs,
            "seconds": run.seconds,
            "reason": run.reason,
            "settings": settings_data(varying, run.record),
        }
        for run in plan.runs
    ]
    return {"runs": runs, "counts": plan.counts, "at_a_time": plan.at_a_time, "seconds": plan.seconds}


def render(plan: Plan, width: int | None = None) -> list[Text]:
    """A line for each run, and what all of them come to."""
    records = [run.record for run in plan.runs]
    settings = SettingsColumns(Varying(records), [records])
    columns = [*settings.columns(_BESIDE), *_OTHERS]
    grid = Grid(columns, [_row(run, settings, width) for run in plan.runs], styled=len(settings.keys))
    layout = grid.fitted(width)
    foot = [Text(line) for line in _foot(plan, width)]
    if layout.hidden:
        foot.insert(0, Text(f"the window is too narrow for {', '.join(layout.hidden)}", style="dim"))
    return [layout.header(), *layout.lines(), *foot]


def _row(run: PlannedRun, settings: SettingsColumns, width: int | None) -> Row:
    epochs = f"{run.epoch}/{run.epochs}" if run.epoch else str(run.epochs)
    cells = (
        run.action,
        run.before or "-",
        epochs,
        duration(run.seconds) if run.seconds is not None else "-" if run.action not in TRAINED else "?",
        nearby(run.folder) if width is None else short(run.folder),
    )
    return Row([*settings.cells(run.record), *cells], _STYLES.get(run.action, ""))


def _foot(plan: Plan, width: int | None) -> Iterator[str]:
    """Counts, time, and what there is to say of runs that would not just be trained."""
    count = len(plan.runs)
    counts = plan.counts
    words = ", ".join(f"{n} {_COUNTED.get(action, action)}" for action, n in counts.items())
    yield f"{count} run{'s' * (count != 1)}: {words}"
    yield _time(plan)
    told = [run for run in plan.runs if run.before == FAILED or run.action == FAILS]
    for run in told[:_MOST_REASONS]:
        name = printable(run.folder.name) if width is None else short(run.folder)
        reason = (run.reason or "no reason was recorded").splitlines()[0]
        yield f"{run.before} before: {name}: {printable(reason)}"
    if len(told) > _MOST_REASONS:
        yield f"{len(told) - _MOST_REASONS} more reasons: --json prints all"
    if FAILS in counts:
        yield "fails: it diverged before, and is not trained again; overwrite=true trains all anew"
    if BUSY in counts:
        yield "busy: another process writes it now; the sweep waits for it, and resumes what is left of it"
    if any(run.before == WAITING for run in plan.runs):
        yield "waiting: another sweep is going to start it, too"
    if CONTINUES in counts:
        yield "continues: begins where a finished run with fewer epochs ended, if its data are the same"
    if lacking := sum(run.lacks_weights for run in plan.runs):
        yield f"done without weights that keep_checkpoints asks for: {lacking}"
    untold = sum(run.lacks_tracker for run in plan.runs)
    if untold:
        yield f"done and not in the tracker yet: {untold}"
    begins = bool(plan.trained or untold)
    yield "nothing was started" + ("; the same command without --plan starts it" if begins else "")


def _time(plan: Plan) -> str:
    trained, known = len(plan.trained), plan.known
    if not trained:
        return "nothing to train"
    if not known:
        return "time: not known, as no run of the same network and data set is in the outputs folder yet"
    whole, pace = _long(sum(known)), "by the pace of the runs so far"
    if len(known) < trained:
        return f"time: {whole} for {len(known)} of {trained} runs, {pace}; not known for the others"
    text = f"time: {whole} of training, {pace}"
    if plan.at_a_time is None:
        return f"{text}; how many go on at a time is not known"
    if plan.at_a_time > 1:
        text += f"; {_long(plan.seconds or 0.0)} with {plan.at_a_time} at a time"
    return text


def _long(seconds: float) -> str:
    """A duration; one of days in hours too, as computing time is counted."""
    words = duration(seconds)
    return f"{words} ({seconds / 3600:,.0f} h)" if words.endswith("d") else words
