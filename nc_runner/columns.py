"""The registry: every column of metrics.csv and layers.csv, once. Imports no torch.

What is true of a column is written here and nowhere else: meaning, formula, source, value at collapse, and
when it is NaN. ``python -m nc_runner.columns`` prints the tables of docs/metrics.md, and
``python -m nc_runner.columns docs/metrics.md`` writes them into it.

A new metric of class statistics and a classifier is a line of the wider set here, and a function of that name
in ``nc_runner.collapse``: see ``nc_runner/collapse/wider.py``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Column:
    """One column. All fields are text as the documentation prints it; empty where there is nothing to say.

    In formulas: N samples, C classes of n_c samples, pi_c = n_c/N, P features; h features, y one-hot labels;
    mu_c class means, mu_G their mean, M = [mu_c - mu_G]; W (rows w_c) and b the classifier, V = [W, b];
    Sigma_W the within-class covariance, Sigma_B = M M^T / C, Sigma_T = Sigma_W + Sigma_B;
    V_c = Ave ‖h - mu_c‖² in class c; E* = (I - 11^T/C) / sqrt(C-1).
    """

    name: str
    meaning: str
    formula: str = ""
    source: str = ""
    collapse: str = ""  # the value at collapse
    nan: str = ""  # when it is NaN
    needs: str = ""  # what a wider metric needs beyond the train set's class statistics and the classifier


# When a number does not exist.
_EMPTY = "a class has no samples"
_MEANS = f"{_EMPTY}; all class means coincide"
_ANGLES = f"{_EMPTY}; a class mean is mu_G"
_ROWS = "a row of W is 0"
_NO_RIDGE = "the objective has no ridge ([which ridge](#which-ridge))"
_MINORITY = f"{_EMPTY}; all classes are equally large"
_ANEW = "with batch norm's statistics computed anew for the current weights"
_HPD = "Han et al. 2022"
_PHD = "Papyan et al. 2020"
_ZHU, _LIU, _MARKOU = "Zhu et al. 2021", "Liu et al. 2023", "Markou et al. 2024"
_ROY, _FANG = "Roy & Vetterli 2007", "Fang et al. 2021"

_CORE = (
    Column("epoch", "epochs done: the row describes the network after that epoch; 0: at initialisation, "
           "before the first step"),
    Column("lr", "learning rate of the epoch's last step", nan="epoch is 0: there was no step yet"),
    Column("train_loss", "the chosen loss, over the measured train samples in eval mode"),
    Column("train_loss_regularized", "with the penalty of weight decay; wd is the weight decay of each "
           "parameter", "train_loss + sum over all parameters of wd/2 · their squares",
           nan="weight decay is no part of an objective: decoupled (`adamw`), or of a custom optimizer; "
           "features of a file with weight decay: it lacks the other parameters"),
    Column("train_accuracy", "share of train samples classified right"),
    Column("test_loss", "the chosen loss, over the measured test samples in eval mode"),
    Column("test_accuracy", "share of test samples classified right"),
    Column("nc1", "variability within the classes, in the directions of the class means",
           "Tr(Sigma_W Sigma_B^+) / C", f"{_PHD}; {_HPD}", "0", _MEANS),
    Column("nc2_equinorm_means", "spread of the norms of the class means",
           "std (over C - 1) / mean over c of ‖mu_c - mu_G‖", _PHD, "0", _MEANS),
    Column("nc2_equinorm_classifier", "spread of the norms of the classifier's rows, not centred",
           "std (over C - 1) / mean over c of ‖w_c‖", _PHD, "0", "W = 0"),
    Column("nc2_equiangular_means", "spread of the angles between the class means",
           "std (over the count) over pairs of cos(mu_c - mu_G, mu_c' - mu_G)", _PHD, "0", _ANGLES),
    Column("nc2_equiangular_classifier", "spread of the angles between the classifier's rows, not centred",
           "std (over the count) over pairs of cos(w_c, w_c')", _PHD, "0", _ROWS),
    Column("nc2_maxangle_means", "distance of those angles from the largest possible",
           "mean over pairs of abs(cos(mu_c - mu_G, mu_c' - mu_G) + 1/(C-1))", _PHD, "0", _ANGLES),
    Column("nc2_maxangle_classifier", "distance of those angles from the largest possible",
           "mean over pairs of abs(cos(w_c, w_c') + 1/(C-1))", _PHD, "0", _ROWS),
    Column("nc3_self_duality", "distance between classifier and class means, both at unit norm",
           "‖W/‖W‖ - M^T/‖M‖‖², Frobenius norms", _PHD, "0", f"{_MEANS}; W = 0"),
    Column("nc4_ncc_mismatch", "share of train samples whose nearest class mean is not the predicted class",
           "argmax_c (W h + b)_c != argmin_c ‖h - mu_c‖", f"{_PHD}; {_HPD}", "0"),
    Column("test_nc4_ncc_mismatch", "the same share of test samples, with the train set's class means",
           "argmax_c (W h + b)_c != argmin_c ‖h - mu_c‖", _PHD, "0"),
    Column("mse_total", "L, the ridge MSE loss of the classifier, measured on the train samples; its "
           "targets are M y where the loss asks M of the true class",
           "1/2 Ave ‖W h + b - y‖² + ridge/2 (‖W‖² + ‖b‖²)", _HPD, nan=_NO_RIDGE),
    Column("mse_ls", "L of the least-squares classifier V_LS of the same features; it has a bias where the "
           "layer has one", "mse_nc1 + mse_nc23", _HPD, nan=_NO_RIDGE),
    Column("mse_nc1", "L_NC1, its part from variability within the classes",
           "1/2 Tr(W_LS Sigma_W W_LS^T) + ridge/2 ‖V_LS‖²", _HPD, nan=_NO_RIDGE),
    Column("mse_nc23", "L_NC2/3, its part from the class means",
           "1/2 sum_c pi_c ‖W_LS mu_c + b_LS - e_c‖²", _HPD, nan=_NO_RIDGE),
    Column("mse_perp", "L_perp, what the classifier loses against the least-squares one",
           "1/2 Tr((V - V_LS) (Ave [h; 1][h; 1]^T + ridge I) (V - V_LS)^T)", _HPD, "0", _NO_RIDGE),
    Column("mse_residual", "what the terms leave of the total: rounding only",
           "mse_total - (mse_nc1 + mse_nc23 + mse_perp)", "", "0", _NO_RIDGE),
    Column("ridge", "lambda of the decomposition; that of W, where the bias has another",
           nan=_NO_RIDGE),
)  # fmt: skip
_SNR = Column("snr_j", "signal-to-noise spectrum, j = 1 ... C-1, largest first; inf where classes differ and "
              "no sample varies", "singular values of Sigma_W^(-1/2) M", _HPD, "inf", _EMPTY)  # fmt: skip
_TIME = (
    Column("train_seconds", "seconds of training since the row before; 0 in the row of epoch 0"),
    Column("analysis_seconds", "seconds of this measurement"),
)
_PATH = (
    Column("perp_share", "share of the loss that is off the central path", "mse_perp / mse_total", _HPD, "0",
           f"mse_total is 0; {_NO_RIDGE}"),
    Column("path_distance", "distance to the central path, where V = V_LS; without a ridge, to the V_LS of "
           "least norm", "‖V - V_LS‖ / ‖V_LS‖, Frobenius norms", _HPD, "0",
           f"V_LS = 0; {_NO_RIDGE}"),
)  # fmt: skip
_WIDER = (
    Column("nc1_trace_ratio", "variability within against between the classes", "Tr Sigma_W / Tr Sigma_B",
           "Tirer et al. 2023", "0", _MEANS),
    Column("nc1_cdnv", "class-distance normalised variance",
           "mean over pairs of (V_c + V_c') / (2 ‖mu_c - mu_c'‖²)", "Galanti et al. 2021", "0",
           f"{_EMPTY}; two class means coincide"),
    Column("nc1_vci", "variability collapse index", "1 - Tr(Sigma_T^+ Sigma_B) / min(P, C-1)",
           "Xu & Liu 2023", "0", f"{_EMPTY}; no feature varies"),
    Column("nc1_numerical_rank", "numerical rank of each class's features H_c, not centred",
           "mean over c of (‖H_c‖_* / ‖H_c‖_F)²", _MARKOU, "1", f"{_EMPTY}, or only features that are 0",
           needs="train features"),
    Column("nc2_etf_error_means", "distance of the means' Gram matrix from a simplex ETF's",
           "‖M^T M / ‖M^T M‖ - E*‖, Frobenius norms", f"{_ZHU}; Kothapalli 2023", "0", _MEANS),
    Column("nc2_etf_error_classifier", "distance of the classifier's Gram matrix from a simplex ETF's",
           "‖W W^T / ‖W W^T‖ - E*‖, Frobenius norms", f"{_ZHU}; Kothapalli 2023", "0", "W = 0"),
    Column("nc2_nearest_etf_means", "squared distance of the class means, at unit norm, to the nearest "
           "simplex ETF", "min over orthonormal Q of ‖Y - Q E*‖² = 2 - 2 ‖Y E*‖_*, Y = M/‖M‖", _MARKOU, "0",
           _MEANS),
    Column("nc2_nearest_etf_classifier", "squared distance of the classifier, at unit norm, to the nearest "
           "simplex ETF", "the same with Y = W^T/‖W‖", _MARKOU, "0", "W = 0"),
    Column("nc2_uniformity_distance", "spread of the distances d between the class means' directions",
           "variance (over the count) over pairs of d", _LIU, "0", _ANGLES),
    Column("nc2_uniformity_log", "spread of the logarithms of those distances",
           "variance (over the count) over pairs of log(1/d)", _LIU, "0",
           f"{_ANGLES}; two directions coincide"),
    Column("nc2_row_sum", "how far the classifier's rows are from centred", "‖sum_c w_c‖", "", "0"),
    Column("nc3_product_error", "distance of the product of classifier and class means from a simplex ETF's",
           "‖W M / ‖W M‖ - E*‖, Frobenius norms", _ZHU, "0", f"{_EMPTY}; W M = 0"),
    Column("nc3_cosine", "alignment of the classifier's rows with the class means",
           "mean over c of cos(w_c, mu_c - mu_G)", "", "1", f"{_ANGLES}; {_ROWS}"),
    Column("nc3_uniform_duality", "spread of their products; depends on scale",
           "variance (over C - 1) over c of w_c · (mu_c - mu_G)", "Wu & Papyan 2024", "0", _EMPTY),
    Column("nc3_subspace_angle", "overlap of the spaces that classifier and class means span",
           "sum of the cosines of the principal angles / (C-1)", "Rangamani et al. 2023", "1",
           f"{_MEANS}; W = 0"),
    Column("bias_collapse", "output at the global mean; under MSE loss with one-hot targets it tends to "
           "1/sqrt(C)", "‖W mu_G + b‖", _ZHU, "0", _EMPTY),
    Column("ncc_accuracy", "accuracy of the nearest class mean on the train set",
           "share with argmin_c ‖h - mu_c‖ = label", _PHD, "train_accuracy", needs="train features"),
    Column("test_ncc_accuracy", "accuracy of the nearest of the train set's class means on the test set",
           "share with argmin_c ‖h - mu_c‖ = label", _PHD, "test_accuracy", needs="test features"),
    Column("nc5_ood_orthogonality", "angles of the class means, not centred, with the mean feature of "
           "out-of-distribution data", "mean over c of abs(cos(mu_c, mean feature))", "Ammar et al. 2024",
           "0", f"{_EMPTY}; a mean is 0", needs="out-of-distribution features"),
    Column("test_nc1", "nc1 of the test set's features and their own class means",
           "Tr(Sigma_W Sigma_B^+) / C", _PHD, "0 if collapse generalises", _MEANS, needs="test features"),
    Column("test_nc1_cdnv", "nc1_cdnv of the test set's features and their own class means",
           "mean over pairs of (V_c + V_c') / (2 ‖mu_c - mu_c'‖²)", "Galanti et al. 2021",
           "0 if collapse generalises", f"{_EMPTY}; two class means coincide", needs="test features"),
    Column("weight_norm", "size of the classifier's weight", "‖W‖_F"),
    Column("means_norm", "size of the centred class means", "‖M‖_F", nan=_EMPTY),
    Column("global_mean_norm", "size of the global mean", "‖mu_G‖", nan=_EMPTY),
    Column("bias_norm", "size of the bias; 0 without one", "‖b‖"),
    Column("rank", "directions of the class means that nc1 counts, at most C - 1",
           "singular values of M above 1e-10 of the largest", collapse="C - 1", nan=_EMPTY),
    Column("effective_rank", "how many directions the features fill, between 1 and P",
           "exp(-sum_j p_j log p_j), p_j the eigenvalues of Sigma_T / Tr Sigma_T", _ROY, "C - 1",
           f"{_EMPTY}; no feature varies"),
    Column("test_effective_rank", "the same of the test set's features and their own class means",
           "exp(-sum_j p_j log p_j), p_j the eigenvalues of Sigma_T / Tr Sigma_T", _ROY,
           "C - 1 if collapse generalises", f"{_EMPTY}; no feature varies", needs="test features"),
    Column("feature_norm", "size of the train features, not centred", "Ave ‖h‖", "arXiv 2604.00230",
           needs="train features"),
    Column("minority_angle", "angles between the means of minority classes: those with fewer samples than "
           "the geometric mean of the largest and the smallest class",
           "mean over pairs of them of cos(mu_c - mu_G, mu_c' - mu_G)", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 minority classes; the mean of one is mu_G"),
    Column("majority_angle", "angles between the means of the other classes",
           "mean over pairs of them of cos(mu_c - mu_G, mu_c' - mu_G)", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 majority classes; the mean of one is mu_G"),
    Column("minority_angle_classifier", "angles between the classifier's rows of minority classes, not "
           "centred; 1 at minority collapse", "mean over pairs of them of cos(w_c, w_c')", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 minority classes; a row of W is 0"),
    Column("majority_angle_classifier", "angles between the classifier's rows of the other classes",
           "mean over pairs of them of cos(w_c, w_c')", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 majority classes; a row of W is 0"),
    Column("minority_ratio", "size of the classifier's rows of minority classes against the others",
           "mean of ‖w_c‖ over minority classes / over the others", _FANG, "1", f"{_MINORITY}; W = 0"),
)  # fmt: skip
_ASKED = (
    Column("robustness", "how far test inputs are from the decision boundary, relative to their size; r, "
           "the smallest change that DeepFool finds to change the decision of x, has its overshoot of 2 %",
           "Ave ‖r‖ / ‖x‖ over the chosen inputs x, normalised",
           f"Moosavi-Dezfooli et al. 2016; {_PHD}; {_HPD}", nan="an input is 0, or no output depends on it"),
    Column("mse_ls_recomputed", f"mse_ls {_ANEW}", source=_HPD, nan=_NO_RIDGE),
    Column("mse_perp_recomputed", f"mse_perp {_ANEW}", "", _HPD, "0", _NO_RIDGE),
    Column("nc1_recomputed", f"nc1 {_ANEW}", "", _PHD, "0", _MEANS),
)  # fmt: skip
_LAYERS = (
    Column("layer", "name of the module"),
    Column("depth", "place in forward order, from 1"),
    Column("features", "P of the layer: its width, or its number of maps"),
)

COLUMNS = tuple(column.name for column in _CORE)
TIME_COLUMNS = tuple(column.name for column in _TIME)
PATH_COLUMNS = tuple(column.name for column in _PATH)  # in every run, after the times
WIDER_COLUMNS = tuple(column.name for column in _WIDER)  # those that analysis.metrics chooses from
ASKED_COLUMNS = tuple(column.name for column in _ASKED)  # those that settings of their own add
ROBUSTNESS_COLUMN, RECOMPUTED_COLUMNS = ASKED_COLUMNS[0], ASKED_COLUMNS[1:]
OOD_COLUMN = "nc5_ood_orthogonality"  # the one that needs analysis.ood
LAYER_COLUMNS = (  # layers.csv: a line for each layer of analysis.layers at each analysed epoch
    "epoch", *(column.name for column in _LAYERS),
    "nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_maxangle_means",
    "ncc_accuracy", "test_ncc_accuracy",
)  # fmt: skip
_TABLES = {"core": (*_CORE, _SNR, *_TIME, *_PATH), "wider": _WIDER, "asked": _ASKED, "layers": _LAYERS}


def describe(name: str) -> Column:
    """The registry's entry of a column. Raises ValueError when there is none of this name."""
    if re.fullmatch(r"snr_[1-9][0-9]*", name):
        return replace(_SNR, name=name)
    for column in (*_CORE, *_TIME, *_PATH, *_WIDER, *_ASKED, *_LAYERS):
        if column.name == name:
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


def markdown_table(group: str) -> str:
    """The table of a group (a key of ``_TABLES``) in Markdown, without the fields that none of it has."""
    columns = _TABLES[group]
    fields = {"collapse": "at collapse", "nan": "NaN when", "source": "source"}
    fields = {field: title for field, title in fields.items() if any(getattr(c, field) for c in columns)}
    rows = [("column", "meaning", *fields.values()), ("---",) * (2 + len(fields))]
    for column in columns:
        meaning = f"{column.meaning}: `{column.formula}`" if column.formula else column.meaning
        rows.append((f"`{column.name}`", meaning, *(getattr(column, field) for field in fields)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def with_tables(text: str) -> str:
    """``text`` in Markdown with the registry's tables put between its lines ``<!-- table: GROUP -->`` and
    ``<!-- end -->``."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{markdown_table(match[1])}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n(?:.*\n)*?<!-- end -->", table, text)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
    if not sys.argv[1:]:
        print("\n\n".join(markdown_table(group) for group in _TABLES))
