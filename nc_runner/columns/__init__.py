"""The registry: every column of metrics.csv and layers.csv, once. Imports no torch.

What is true of a column is written here and nowhere else: meaning, formula, source, value at collapse, when
it is NaN, and what to know before it is compared. The reference in docs/metrics.md is made from it by
``python scripts/docs.py``.

A new metric of class statistics and a classifier is an entry in :mod:`nc_runner.columns.wider`, and a
function of that name in ``nc_runner.collapse``: see ``nc_runner/collapse/wider.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from nc_runner.columns.core import COLLAPSE, CORE, DECOMPOSITION, LAYERS, PATH, SNR, TIME, TRAINING
from nc_runner.columns.entry import Column
from nc_runner.columns.wider import ASKED, GEOMETRY, MINORITY, SIZES, VARIABILITY, WIDER

COLUMNS = tuple(column.name for column in CORE)
TIME_COLUMNS = tuple(column.name for column in TIME)
PATH_COLUMNS = tuple(column.name for column in PATH)  # in every run, after the times
WIDER_COLUMNS = tuple(column.name for column in WIDER)  # those that analysis.metrics chooses from
ASKED_COLUMNS = tuple(column.name for column in ASKED)  # those that settings of their own add
ROBUSTNESS_COLUMN, RECOMPUTED_COLUMNS = ASKED_COLUMNS[0], ASKED_COLUMNS[1:]
OOD_COLUMN = "nc5_ood_orthogonality"  # the one that needs analysis.ood
LAYER_COLUMNS = (  # layers.csv: a line for each layer of analysis.layers at each analysed epoch
    "epoch", *(column.name for column in LAYERS),
    "nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_maxangle_means",
    "ncc_accuracy", "test_ncc_accuracy",
)  # fmt: skip
GROUPS = {  # every column once, by what it is about
    "training": TRAINING,
    "collapse": COLLAPSE,
    "decomposition": (*DECOMPOSITION, *PATH),
    "spectrum": (SNR,),
    "times": TIME,
    "variability": VARIABILITY,
    "geometry": GEOMETRY,
    "sizes": SIZES,
    "minority": MINORITY,
    "asked": ASKED,
    "layers": LAYERS,
}


def describe(name: str) -> Column:
    """The registry's entry of a column. Raises ValueError when there is none of this name."""
    if re.fullmatch(r"snr_[1-9][0-9]*", name):
        return replace(SNR, name=name)
    for group in GROUPS.values():
        for column in group:
            if column.name == name and column is not SNR:
                return column
    raise ValueError(f"there is no column {name}")


def snr_columns(num_classes: int) -> tuple[str, ...]:
    """``snr_1`` (the largest) to ``snr_{C-1}``."""
    return tuple(f"snr_{j}" for j in range(1, num_classes))


def wider_columns(metrics: str | Sequence[str], ood: bool) -> tuple[str, ...]:
    """The columns of the wider set that ``analysis.metrics`` chooses, in the order of the header.

    ``all`` are all that the settings allow: the out-of-distribution column only with ``ood``.
    """
    if metrics == "core":
        return ()
    if metrics == "all":
        return tuple(name for name in WIDER_COLUMNS if name != OOD_COLUMN or ood)
    return tuple(name for name in WIDER_COLUMNS if name in metrics)


def asked_columns(robustness: int, batchnorm: str) -> tuple[str, ...]:
    """The columns that ``analysis.robustness`` and ``analysis.batchnorm`` add, in the order of the header."""
    recomputed = RECOMPUTED_COLUMNS if batchnorm == "both" else ()
    return (ROBUSTNESS_COLUMN, *recomputed) if robustness else recomputed


def is_custom_name(column: str) -> bool:
    """Whether a custom metric may have this name: a word of letters, digits and _ that no column here has."""
    known = (*COLUMNS, *TIME_COLUMNS, *PATH_COLUMNS, *WIDER_COLUMNS, *ASKED_COLUMNS)
    plain = column.isascii() and column.isidentifier()
    return plain and column not in known and re.fullmatch(r"snr_[0-9]+", column) is None


def metric_columns(num_classes: int, wider: Sequence[str] = ()) -> tuple[str, ...]:
    """The header of ``metrics.csv`` for a run with ``num_classes`` classes and these further columns."""
    return (*COLUMNS, *snr_columns(num_classes), *TIME_COLUMNS, *PATH_COLUMNS, *wider)
