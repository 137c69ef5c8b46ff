"""What the report says of each run: a line of the table of runs, its settings, and all its rows."""

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
from nc_runner.runs.flows import FlowRun
from nc_runner.runs.reader import Run
from nc_runner.runs.record import COMPLETE, read_run_file

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("net", "data", "loss", "run_lr", "seed", "folder")  # what a row of the tidy table begins with

# Shown at first: the summary's column with its heading, its factor and its format.
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
_OWN = ("pid", "started", "ended", "seconds", "rows_digest")  # each run has its own: no difference to mark
_LARGEST = 2**63  # a whole number above is text: a browser could not sort by it


@dataclass(frozen=True)
class Column:
    """A column of the table of runs: an entry of the summary, how it is called and written."""

    key: str
    label: str
    factor: float
    form: str
    shown: bool
    numeric: bool


def columns_of(lines: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Those that are shown at first, then all others of the summary's ``lines``, under their own names."""
    keys = dict.fromkeys((*_SHOWN, *(key for line in lines for key in line)))
    result = []
    for key in keys:
        label, factor, form = _SHOWN.get(key, (printable(key), 1.0, ".4g"))
        values = [line[key] for line in lines if line.get(key) is not None]
        numeric = key not in _WORDS and all(map(_is_number, values))
        result.append(Column(key, label, factor, form, key in _SHOWN, numeric))
    return result


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= _LARGEST)


def cell(column: Column, line: Mapping[str, Any]) -> tuple[str, str]:
    """(what is shown, what is sorted by: empty where there is no value)."""
    value = line.get(column.key)
    if value is None or value != value:
        return "–", ""
    if not column.numeric:
        text = _NAMES.get(column.key, printable)(str(value))
        return text, text
    text = number_text(column.factor * value, column.form) if column.form else str(value)
    if column.key == "epochs_done" and line.get("epochs") != value:
        text += f" of {printable(str(line.get('epochs')))}"
    return text, repr(value)


def number_text(value: float | None, form: str = ".3g") -> str:
    if value is None:
        return "–"
    return format(value, form) if math.isfinite(value) else ("∞" if value > 0 else "−∞")


def short_folders(folders: Sequence[Path]) -> dict[Path, str]:
    """Each folder as seen from where they all lie: the page may be given away."""
    root = os.path.commonpath([folder.parent for folder in folders])
    return {folder: printable(os.path.relpath(folder, root)) for folder in folders}


def records(runs: Sequence[Run], flows: Sequence[FlowRun], names: Mapping[Path, str]) -> list[dict[str, Any]]:
    """Each run's settings, versions and circumstances, with a mark at those that differ between the runs."""
    found = [(run_name(run), run.folder, run.state, entries(run.record)) for run in runs]
    differing = _differing([table for *_, table in found])
    found += [(flow_name(flow), flow.folder, COMPLETE, entries(read_run_file(flow.folder))) for flow in flows]
    return [
        {
            "name": name,
            "folder": names[folder],
            "state": state,
            "groups": {
                group: [(key, value, (group, key) in differing) for key, value in pairs.items()]
                for group, pairs in groups.items()
            },
        }
        for name, folder, state, groups in found
    ]


def _differing(tables: Sequence[Mapping[str, Mapping[str, str]]]) -> set[tuple[str, str]]:
    """(group, name) of the entries that some runs have otherwise, or not at all."""
    values: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for group, pairs in table.items():
            for key, value in pairs.items():
                values.setdefault((group, key), []).append(value)
    return {
        (group, key)
        for (group, key), found in values.items()
        if key not in _OWN and (len(set(found)) > 1 or len(found) < len(tables))
    }


def run_name(run: Run) -> str:
    net, data, loss = run.cell
    lr, seed = run.settings.get("lr"), run.settings.get("seed")
    place = f"{network_name(net)} on {data_set_name(data)}"
    return printable(f"{place}, {loss_name(loss)}, lr {lr}, seed {seed}")


def flow_name(flow: FlowRun) -> str:
    return "Flow, C = {}, P = {}, n = {}".format(*flow.sizes)


def entries(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What run.json says, by group, under dotted names as on nc-run's command line.

    Left out is ``deciding``, the settings' part that the folder's name is made from.
    """
    groups: dict[str, dict[str, str]] = {"Settings": {}, "Versions": {}, "Run": {}}
    pending: list[tuple[tuple[str, ...], Any]] = [
        ((str(key),), value) for key, value in record.items() if key not in ("format", "deciding")
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

    ``lr`` is that of the epoch, as in metrics.csv; ``run_lr`` the run's setting.
    """
    import pandas as pd

    parts = [pd.DataFrame(columns=list(IDENTITY))]
    for run in runs:
        settings = run.settings
        values = (*run.cell, settings.get("lr"), settings.get("seed"), names[run.folder])
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
