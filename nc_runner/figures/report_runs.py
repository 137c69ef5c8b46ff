"""The runs in the report: a line of the table of runs, their settings, and all their rows."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.figures.style import data_set_name, loss_name, network_name, printable
from nc_runner.figures.summary import Summary, Value, run_title
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.groups import legible
from nc_runner.runs.reader import Run
from nc_runner.runs.varying import Varying

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("net", "data", "loss", "run_lr", "seed", "folder")  # the first columns of the tidy table

# The summary's columns that are shown at first: heading, factor, format.
_SHOWN = {
    "net": ("Network", 1.0, ""),
    "data": ("Data", 1.0, ""),
    "loss": ("Loss", 1.0, ""),
    "lr": ("lr", 1.0, ".4g"),
    "seed": ("Seed", 1.0, ""),
    "state": ("State", 1.0, ""),
    "epochs_done": ("Epochs", 1.0, ""),
    "terminal_phase_epoch": ("Terminal phase", 1.0, ""),
    "test_accuracy": ("Test accuracy (%)", 100.0, ".2f"),
    "nc1": ("NC1", 1.0, ".3g"),
    "nc2_equinorm_means": ("NC2 norms", 1.0, ".3g"),
    "nc2_maxangle_means": ("NC2 angles", 1.0, ".3g"),
    "nc3_self_duality": ("NC3", 1.0, ".3g"),
    "nc4_ncc_mismatch": ("NC4 (%)", 100.0, ".3g"),
    "perp_over_ls": ("L⊥ / L_LS", 1.0, ".3g"),
}
_NAMES = {"net": network_name, "data": data_set_name, "loss": loss_name}
_WORDS = (*_NAMES, "state", "folder")
_ALIKE = ("data", "loss")
_LARGEST = 2**63  # a whole number above is text: a browser could not sort by it


@dataclass(frozen=True)
class Column:
    """A column of the table of runs: an entry of the summary, how it is named and written."""

    key: str
    label: str
    factor: float
    form: str
    shown: bool
    numeric: bool

    def cell(self, line: Summary) -> tuple[str, str]:
        """(what is shown, what is sorted by: empty where there is no value)."""
        value = line.get(self.key)
        if value is None:
            return "–", ""
        if not self.numeric or isinstance(value, str):
            text = _NAMES.get(self.key, printable)(str(value))
            return text, text
        text = number_text(self.factor * value, self.form) if self.form else str(value)
        if self.key == "epochs_done" and line.get("epochs") != value:
            text += f" of {line.get('epochs') or '–'}"
        return text, repr(value)


def summary_columns(lines: Sequence[Summary], varying: Mapping[str, str], many: bool) -> list[Column]:
    """The columns of the table of runs: those that are shown at first, then the summary's others.

    ``varying``: the heading of each column that holds a setting in which the runs differ; they are shown.
    ``many``: there are so many runs that the page does without the others.
    """
    usual = list(_SHOWN)
    place = usual.index("lr") + 1
    keys = dict.fromkeys((*usual[:place], *varying, *usual[place:]))
    if not many:
        keys |= dict.fromkeys(key for line in lines for key in line)
    result = []
    for key in keys:
        label, factor, form = _SHOWN.get(key, (printable(varying.get(key, key)), 1.0, ".4g"))
        values = [line[key] for line in lines if line.get(key) is not None]
        numeric = key not in _WORDS and all(map(_is_number, values))
        alike = key in _ALIKE and len(lines) > 1 and len(set(values)) == 1  # the head of the page says it
        shown = key in varying or (key in _SHOWN and not alike)
        result.append(Column(key, label, factor, form, shown, numeric))
    return result


def _is_number(value: Value) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LARGEST)


def number_text(value: float | None, form: str = ".3g") -> str:
    if value is None:
        return "–"
    return format(value, form) if math.isfinite(value) else ("∞" if value > 0 else "−∞")


def short_folders(folders: Sequence[Path]) -> dict[Path, str]:
    """Each folder relative to the folder above all of them: nothing above it is in the page."""
    root = os.path.commonpath([folder.parent for folder in folders])
    return {folder: printable(os.path.relpath(folder, root)) for folder in folders}


Groups = dict[str, dict[str, str]]  # the text of each entry, by group and dotted name


@dataclass(frozen=True)
class RunEntries:
    """The settings, versions and circumstances of a run or a flow, as the page lists them."""

    name: str
    folder: str
    state: str
    groups: Groups


def records(
    runs: Sequence[Run], flows: Sequence[FlowRun], names: Mapping[Path, str], varying: Varying
) -> tuple[Groups, list[RunEntries]]:
    """What all runs have in common, where there are several, and the other entries of each run and flow.

    ``names``: their folders as they are shown.
    """
    groups = [entries(run.content) for run in runs]
    common = _common(groups) if len(runs) > 1 else {}
    found = [
        RunEntries(run_name(run, varying), names[run.folder], run.state, _without(group, common))
        for run, group in zip(runs, groups, strict=True)
    ]
    for flow in flows:
        record = flow.record
        found.append(RunEntries(flow_name(flow), names[flow.folder], record.state, entries(record.content)))
    return common, found


def _common(tables: Sequence[Groups]) -> Groups:
    """The entries that are the same in all runs."""
    first, *others = tables
    same = {
        group: {
            key: value
            for key, value in pairs.items()
            if all(other.get(group, {}).get(key) == value for other in others)
        }
        for group, pairs in first.items()
    }
    return {group: pairs for group, pairs in same.items() if pairs}


def _without(table: Groups, common: Groups) -> Groups:
    rest = {
        group: {key: value for key, value in pairs.items() if key not in common.get(group, {})}
        for group, pairs in table.items()
    }
    return {group: pairs for group, pairs in rest.items() if pairs}


def run_name(run: Run, varying: Varying) -> str:
    """Such as "ResNet8 on Digits, MSE, lr 0.1, weight_decay 0.001, seed 0": with what varies."""
    return run_title(run, *(varying.label(run, [key]) for key in varying.telling() if key != "lr"))


def flow_name(flow: FlowRun) -> str:
    return "Flow, C = {}, P = {}, n = {}".format(*flow.sizes)


def entries(record: Mapping[str, Any]) -> Groups:
    """The entries of run.json by group, under dotted names as on nc-run's command line.

    Left out is the run's identity, which repeats settings.
    """
    groups: Groups = {"Settings": {}, "Versions": {}, "Run": {}}
    pending: list[tuple[tuple[str, ...], Any]] = [
        ((str(key),), value) for key, value in record.items() if key not in ("format", "identity", "deciding")
    ]
    while pending:
        path, value = pending.pop(0)
        if isinstance(value, dict) and value:
            pending[:0] = [((*path, str(key)), inner) for key, inner in value.items()]
            continue
        group = {"settings": "Settings", "versions": "Versions"}.get(path[0], "Run")
        name = ".".join(path if group == "Run" else path[1:] or path)
        if isinstance(value, str):
            text = value
        elif group == "Run" and isinstance(value, float):
            text = number_text(value, ".4g")  # seconds
        else:
            text = json.dumps(value, ensure_ascii=False, default=str)
        groups[group][printable(name)] = printable(text)
    return {group: pairs for group, pairs in groups.items() if pairs}


def tidy_table(runs: Sequence[Run], names: Mapping[Path, str]) -> pd.DataFrame:
    """All rows of all runs: :data:`IDENTITY`, then the columns of metrics.csv, empty where a run lacks one.

    ``lr`` is the learning rate of the epoch, as in metrics.csv; ``run_lr`` is the run's setting.
    """
    import pandas as pd

    parts = [pd.DataFrame(columns=list(IDENTITY))]
    for run in runs:
        values = map(legible, (*run.cell, run.lr, run.seed, names[run.folder]))
        identity = {key: [value] * len(run.rows) for key, value in zip(IDENTITY, values, strict=True)}
        metrics = run.rows.drop(columns=list(IDENTITY), errors="ignore")
        parts.append(pd.DataFrame(identity, index=metrics.index).join(metrics))
    filled: list[pd.DataFrame] = [part for part in parts if len(part)] or parts[:1]
    table: pd.DataFrame = pd.concat(filled, ignore_index=True)
    return table


def packed(table: pd.DataFrame) -> bytes:
    """``table`` as gzipped CSV, every number with all its digits; the same bytes for the same rows."""
    text = table.to_csv(index=False, lineterminator="\n")
    return gzip.compress(text.encode("utf-8", errors="backslashreplace"), mtime=0)
