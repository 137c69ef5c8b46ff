"""The columns of metrics.csv and layers.csv. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def wider_columns(metrics: str | Sequence[str], ood: bool) -> tuple[str, ...]:
    """The columns of the wider set that ``analysis.metrics`` chooses, in the order of the header.

    ``all`` are all that the settings allow: the out-of-distribution column only with ``ood``.
    """
    if metrics == "core":
        return ()
    if metrics == "all":
        return tuple(name for name in WIDER_COLUMNS if name != OOD_COLUMN or ood)
    return tuple(name for name in WIDER_COLUMNS if name in metrics)


def is_custom_name(column: str) -> bool:
    """Whether a custom metric may have this name: a word of letters, digits and _ that no column here has."""
    known = (*COLUMNS, *TIME_COLUMNS, *PATH_COLUMNS, *WIDER_COLUMNS)
    plain = column.isascii() and column.isidentifier()
    return plain and column not in known and re.fullmatch(r"snr_[0-9]+", column) is None


def metric_columns(num_classes: int, wider: Sequence[str] = ()) -> tuple[str, ...]:
    """The header of ``metrics.csv`` for a run with ``num_classes`` classes and these further columns."""
    return (*COLUMNS, *snr_columns(num_classes), *TIME_COLUMNS, *PATH_COLUMNS, *wider)
