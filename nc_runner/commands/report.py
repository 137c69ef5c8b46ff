"""The last lines of a sweep: every run with its state and numbers, read from the archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from nc_runner.commands.attempt import is_finished, nearby, result_line
from nc_runner.errors import NCRunnerError
from nc_runner.runs.record import COMPLETE, INTERRUPTED, RUNNING
from nc_runner.runs.sweeps import ELSEWHERE, Attempt, SweepArchive
from nc_runner.training.progress import show

LOST, NOT_STARTED = "lost", "not started"


@dataclass(frozen=True)
class Line:
    """How one run of a sweep ended."""

    folder: Path
    state: str
    detail: str
    exit_code: int


def lines_of(
    sweep: SweepArchive, planned: list[Path], elsewhere: Mapping[Path, str] | None = None
) -> list[Line]:
    """Every run of a sweep: those of its plan in order, then those that a search chose.

    ``elsewhere``: who has the runs that go on without the command, by their folders.
    """
    others = {folder.resolve(): who for folder, who in (elsewhere or {}).items()}
    attempts = {Path(attempt.folder): attempt for attempt in sweep.attempts()}
    folders = dict.fromkeys([*(folder.resolve() for folder in planned), *attempts])
    lines = [_line(folder, attempts.get(folder)) for folder in folders]
    return [
        Line(line.folder, ELSEWHERE, f"({others[line.folder]})", 1)
        if line.folder in others and line.state != COMPLETE
        else line
        for line in lines
    ]


def report(lines: list[Line]) -> int:
    """Print the runs of a sweep with their states. Returns the exit code of the whole command."""
    failed = [line for line in lines if line.exit_code]
    counts = Counter(line.state for line in lines)
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    text = [f"\n{len(lines)} run{'s' * (len(lines) != 1)}: {words}"]
    text += [f"  {line.state:<11} {nearby(line.folder)}  {line.detail}".rstrip() for line in lines]
    show("\n".join(text))
    return 1 if failed else 0


def best_of_search(folder: Path, objective: str) -> str:
    """What a search found best, in a line."""
    path = folder / "optimization_results.yaml"
    try:
        found = yaml.safe_load(path.read_text())
        best = " ".join(f"{key}={value}" for key, value in found["best_params"].items())
        return f"best: {best}  ({objective} {found['best_value']:.6g}; {path})"
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError):
        return f"the search's result, as its sweeper wrote it, is in {folder}"


def _line(folder: Path, attempt: Attempt | None) -> Line:
    try:
        finished = is_finished(folder)
    except NCRunnerError as error:
        return Line(folder, "failed", str(error).splitlines()[0], 1)
    if attempt is None or attempt.state == ELSEWHERE:
        if finished:
            return Line(folder, COMPLETE, result_line(folder), 0)
        return Line(folder, NOT_STARTED, "", 1)
    if attempt.state == RUNNING:
        where = f"its process {attempt.pid} on {attempt.host} ended without a word: killed, or out of memory?"
        return Line(folder, LOST, where, 1)
    if attempt.state == COMPLETE:
        return Line(folder, COMPLETE, result_line(folder), 0)
    reason = attempt.message.splitlines()[0] if attempt.message and attempt.state != INTERRUPTED else ""
    return Line(folder, attempt.state, reason, attempt.exit_code or 1)
