"""The archive: the one module that knows a run folder's file names and column names. Imports no torch.

A run folder holds ``metrics.csv`` (a row for each analysed epoch), ``run.json`` (state, settings, versions,
device, times, data fingerprint), ``checkpoint.pt``, ``nc-run.log`` and Hydra's own ``.hydra/``; with
``analysis.layers`` also ``layers.csv`` (a line for each layer at each analysed epoch). The lab writes
through :class:`RunWriter`; figures read through :func:`find_runs` and :func:`read_run`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_runner.errors import RunFolderError
from nc_runner.tables import Table, parse_numbers, whole_lines
from nc_runner.tables import unused_name as unused_name
from nc_runner.tables import write_atomically as write_atomically

if TYPE_CHECKING:
    import pandas as pd

METRICS_FILE = "metrics.csv"
LAYERS_FILE = "layers.csv"
RUN_FILE = "run.json"
CHECKPOINT_FILE = "checkpoint.pt"
PREVIOUS_CHECKPOINT_FILE = "checkpoint.previous.pt"
LOG_FILE = "nc-run.log"
LOCK_FILE = "run.lock"
SWEEPS_FOLDER = (
    ".sweeps"  # in an outputs folder: the lists of runs that sweeps were going to make (sweeps.py)
)
REPLACED = ".replaced-"  # NAME.replaced-1: what overwrite=true kept beside NAME

ANEW = "remove the folder, or let nc-run start anew beside it with overwrite=true"

CUT_SHORT = "its last line was cut short and is left out"

FORMAT = 1  # of the run folder; raised when an older nc-runner could misread a newer folder

# run.json's "state"
RUNNING, COMPLETE, INTERRUPTED, DIVERGED, FAILED = "running", "complete", "interrupted", "diverged", "failed"
STATES = (RUNNING, COMPLETE, INTERRUPTED, DIVERGED, FAILED)

COLUMNS = (
    "epoch", "lr",
    "train_loss", "train_loss_regularized", "train_accuracy", "test_loss", "test_accuracy",
    "nc1",
    "nc2_equinorm_means", "nc2_equinorm_classifier",
    "nc2_equiangular_means", "nc2_equiangular_classifier",
    "nc2_maxangle_means", "nc2_maxangle_classifier",
    "nc3_self_duality", "nc4_ncc_mismatch", "test_nc4_ncc_mismatch",
    "mse_total", "mse_ls", "mse_nc1", "mse_nc23", "mse_perp", "mse_residual", "ridge",
)  # fmt: skip
TIME_COLUMNS = ("train_seconds", "analysis_seconds")
PATH_COLUMNS = ("perp_share", "path_distance")  # the distance to the central path; in every run
OOD_COLUMN = "nc5_ood_orthogonality"  # the one that needs analysis.ood
WIDER_COLUMNS = (  # those that analysis.metrics chooses from
    "nc1_trace_ratio", "nc1_cdnv", "nc1_vci", "nc1_numerical_rank",
    "nc2_etf_error_means", "nc2_etf_error_classifier", "nc2_nearest_etf_means", "nc2_nearest_etf_classifier",
    "nc2_uniformity_distance", "nc2_uniformity_log", "nc2_row_sum",
    "nc3_product_error", "nc3_cosine", "nc3_uniform_duality", "nc3_subspace_angle",
    "bias_collapse", "ncc_accuracy", "test_ncc_accuracy", OOD_COLUMN, "test_nc1", "test_nc1_cdnv",
    "weight_norm", "means_norm", "global_mean_norm", "bias_norm", "rank",
)  # fmt: skip

# layers.csv: a line for each layer of analysis.layers at each analysed epoch
LAYER_COLUMNS = (
    "epoch", "layer", "depth", "features",
    "nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_maxangle_means",
    "ncc_accuracy", "test_ncc_accuracy",
)  # fmt: skip


def snr_columns(num_classes: int) -> tuple[str, ...]:
    """``snr_1`` (the largest) to ``snr_{C-1}``."""
    return tuple(f"snr_{j}" for j in range(1, num_classes))


def wider_columns(analysis: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of the wider set that a run's ``analysis`` settings choose, in the order of the header.

    ``all`` are all that the settings allow: the out-of-distribution column only with ``ood``.
    """
    chosen = analysis.get("metrics", "core")
    if chosen == "core":
        return ()
    if chosen == "all":
        return tuple(name for name in WIDER_COLUMNS if name != OOD_COLUMN or analysis.get("ood"))
    return tuple(name for name in WIDER_COLUMNS if name in chosen)


def own_columns(analysis: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of a run's own metrics (``analysis.own``), the last of the header."""
    own = analysis.get("own")
    return tuple(own) if isinstance(own, Mapping) else ()


def is_own_name(column: str) -> bool:
    """Whether an own metric may have this name: a word of letters, digits and _ that no column here has."""
    known = (*COLUMNS, *TIME_COLUMNS, *PATH_COLUMNS, *WIDER_COLUMNS)
    plain = column.isascii() and column.isidentifier()
    return plain and column not in known and re.fullmatch(r"snr_[0-9]+", column) is None


def metric_columns(num_classes: int, wider: Sequence[str] = ()) -> tuple[str, ...]:
    """The header of ``metrics.csv`` for a run with ``num_classes`` classes and these further columns."""
    return (*COLUMNS, *snr_columns(num_classes), *TIME_COLUMNS, *PATH_COLUMNS, *wider)


def folder_name(settings: Mapping[str, Any], deciding: Mapping[str, Any]) -> str:
    """The folder of a run, below the outputs folder: equal for equal deciding settings, else different.

    ``mse-resnet18-cifar10/lr0.0184-seed0-1f0c3a9b``: a part to read, then a hash of all that decides.
    """
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    cell = "-".join(str(settings[group]["name"]) for group in ("loss", "net", "data"))
    return f"{cell}/lr{settings['lr']:.6g}-seed{settings['seed']}-{digest}"


def read_run_file(folder: Path) -> dict[str, Any]:
    """``run.json`` as a dict. Raises :class:`RunFolderError` when it is missing or not one of ours."""
    path = folder / RUN_FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{folder} is not a run folder: it has no {RUN_FILE}") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise RunFolderError(f"{path} is damaged: it is not JSON\n{ANEW}") from None
    if not isinstance(content, dict) or content.get("state") not in STATES:
        raise RunFolderError(f"{path} is not an nc-run record: it names no state\n{ANEW}")
    if not isinstance(content.get("format"), int) or content["format"] > FORMAT:
        raise RunFolderError(f"{path} was made by a newer nc-runner\nupgrade this one to read it")
    for entry in ("settings", "deciding"):
        if not isinstance(content.get(entry, {}), dict):
            raise RunFolderError(f"{path} is damaged: its entry {entry} is no table of settings\n{ANEW}")
    return content


class RunWriter:
    """Writes one run folder: rows as they come, and the run's state. Used by one process at a time."""

    def __init__(self, folder: Path, num_classes: int, wider: Sequence[str] = ()) -> None:
        self.folder = folder
        self.columns = metric_columns(num_classes, wider)
        self.rows = Table(folder / METRICS_FILE, self.columns)
        self.layers = Table(folder / LAYERS_FILE, LAYER_COLUMNS)  # begun where analysis.layers asks for it
        self.record: dict[str, Any] = {"format": FORMAT}

    def update(self, **entries: Any) -> None:
        """Set entries of ``run.json``, and write it."""
        self.record.update(entries)
        text = json.dumps(self.record, indent=2, default=str)
        write_atomically(self.folder / RUN_FILE, (text + "\n").encode())

    def start_rows(self, text: str | None = None) -> Path | None:
        """Begin ``metrics.csv``: with its header, or with ``text``, the rows that a checkpoint kept.

        Rows that came after the checkpoint are dropped: they will be computed again. A file that was
        changed otherwise is first copied to the path that is returned.
        """
        return self.rows.start(text)

    def rows_text(self) -> str:
        """All that ``metrics.csv`` holds."""
        return self.rows.text()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; it is in the file, whole, when this returns. ``row`` has the columns as its keys."""
        self.rows.append(row)


def rows_digest(folder: Path) -> str | None:
    """SHA-256 of ``metrics.csv``, and of ``layers.csv`` where there is one; None where it cannot be read.

    A finished run's record holds it.
    """
    layers = folder / LAYERS_FILE
    try:
        content = (folder / METRICS_FILE).read_bytes() + (layers.read_bytes() if layers.exists() else b"")
    except OSError:
        return None
    return hashlib.sha256(content).hexdigest()


def last_row(folder: Path) -> dict[str, float]:
    """The last whole row of a run, without pandas; empty where there is none."""
    rows = last_rows(folder, 1)
    return rows[-1] if rows else {}


def last_rows(folder: Path, count: int) -> list[dict[str, float]]:
    """The last ``count`` whole rows of a run, without pandas; lines that are no row are left out."""
    try:
        text = (folder / METRICS_FILE).read_text()
    except (OSError, UnicodeDecodeError):
        return []
    header = text.partition("\n")[0].split(",")
    lines = text.partition("\n")[2].rpartition("\n")[0].rsplit("\n", count)[-count:]
    values = (parse_numbers(line.split(","), len(header)) for line in lines if line)
    return [dict(zip(header, row, strict=True)) for row in values if row]


@dataclass
class Run:
    """One run folder as read from disk.

    ``rows`` is the table of ``metrics.csv``: float columns but for an integer ``epoch``, sorted by it.
    ``warnings`` says in words what was not as it should be (a cut last line, a missing column).
    """

    folder: Path
    state: str
    settings: dict[str, Any]
    record: dict[str, Any]
    rows: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    layers: pd.DataFrame | None = (
        None  # the table of layers.csv, by epoch and depth; None where there is none
    )
    layer_warnings: list[str] = field(default_factory=list)

    @property
    def cell(self) -> tuple[str, str, str]:
        """(network, data set, loss): the run's place in a figure.

        A run on the central path is no run of its loss by gradient: its loss is called ``mse_path``.
        """
        net, data, loss = (str(self.settings[group]["name"]) for group in ("net", "data", "loss"))
        return net, data, f"{loss}_path" if self.settings.get("classifier") == "least_squares" else loss

    @property
    def variant(self) -> str:
        """Equal for runs that differ in their seed alone."""
        deciding = self.record.get("deciding") or self.settings
        return json.dumps({k: v for k, v in deciding.items() if k != "seed"}, sort_keys=True, default=str)

    @property
    def num_classes(self) -> int:
        return 1 + sum(column.startswith("snr_") for column in self.rows.columns)


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """All run folders at or below ``paths``, sorted, each once.

    Those that overwrite=true replaced are left out, unless named themselves.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if not path.is_dir():
            raise RunFolderError(f"{path} is not a folder")
        if (path / RUN_FILE).exists():
            found.add(path.resolve())
            continue
        for record in path.rglob(RUN_FILE):
            if not any(REPLACED in part for part in record.parent.relative_to(path).parts):
                found.add(record.parent.resolve())
    return sorted(found)


def read_run(folder: Path) -> Run:
    """Read one run folder. Raises :class:`RunFolderError` with the reason where it cannot be read."""
    record = read_run_file(folder)
    settings = record.get("settings")
    groups = ("net", "data", "loss")
    if not isinstance(settings, dict) or not all(
        isinstance(settings.get(group), dict) and "name" in settings[group] for group in groups
    ):
        raise RunFolderError(f"{folder / RUN_FILE} is damaged: it does not hold the run's settings")
    rows, warnings = read_rows(folder / METRICS_FILE)
    layers, layer_warnings = read_layers(folder / LAYERS_FILE)
    return Run(folder, record["state"], settings, record, rows, warnings, layers, layer_warnings)


def read_rows(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """``metrics.csv`` as a table, and what was wrong with it.

    A last line without its newline was cut and is dropped; lines that are not a row are dropped; of two
    rows for one epoch the later one holds. Raises :class:`RunFolderError` where no row can be read.
    """
    import pandas as pd

    warnings: list[str] = []
    try:
        lines, cut = whole_lines(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} has no {METRICS_FILE} yet") from None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
    if cut:
        warnings.append(CUT_SHORT)
    header = lines[0].split(",") if lines else []
    if "epoch" not in header or len(set(header)) != len(header):
        raise RunFolderError(f"{path} does not start with the header of an nc-run table")
    kept: dict[int, list[float]] = {}
    dropped = 0
    for line in lines[1:]:
        values = parse_numbers(line.split(","), len(header))
        epoch = values[header.index("epoch")] if values else -1.0
        if values is None or not epoch >= 1 or epoch != int(min(epoch, 2.0**53)):
            dropped += 1
            continue
        kept[int(epoch)] = values
    warnings += _unreadable(dropped)
    rows = pd.DataFrame([kept[epoch] for epoch in sorted(kept)], columns=header, dtype=float)
    rows["epoch"] = rows["epoch"].astype("int64")
    absent = [column for column in (*COLUMNS, *TIME_COLUMNS) if column not in header]
    for column in absent:
        rows[column] = float("nan")
    if absent:
        warnings.append(f"it lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return rows, warnings


def read_layers(path: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """``layers.csv`` as a table sorted by epoch and depth, and what was wrong with it; None without a file.

    Lines that were cut or cannot be read are left out; of two for one layer and epoch the later one holds.
    """
    import pandas as pd

    try:
        lines, cut = whole_lines(path.read_bytes())
    except FileNotFoundError:
        return None, []
    except OSError as error:
        return None, [f"it cannot be read: {error.strerror or error}"]
    if not lines or tuple(lines[0].split(",")) != LAYER_COLUMNS:
        return None, ["it does not start with the header of a table of layers"]
    rows = [_layer_row(line) for line in lines[1:]]
    kept = {(row["epoch"], row["layer"]): row for row in rows if row}
    table = pd.DataFrame(list(kept.values()), columns=list(LAYER_COLUMNS))
    table = table.sort_values(["epoch", "depth"], ignore_index=True)
    return table, [CUT_SHORT] * cut + _unreadable(rows.count(None))


def _layer_row(line: str) -> dict[str, Any] | None:
    try:
        cells = dict(zip(LAYER_COLUMNS, next(csv.reader([line])), strict=True))
        whole = {column: int(cells[column]) for column in ("epoch", "depth", "features")}
        measures = {column: float(cells[column]) for column in LAYER_COLUMNS[4:]}
    except (ValueError, StopIteration, csv.Error):
        return None
    return {**cells, **whole, **measures} if 0 < min(whole.values()) <= max(whole.values()) < 2**53 else None


def _unreadable(dropped: int) -> list[str]:
    verb = "are" if dropped > 1 else "is"
    return [f"{dropped} of its lines could not be read and {verb} left out"] if dropped else []
