"""The columns that settings add: those of ``analysis.metrics``, of robustness and of batch norm."""

from __future__ import annotations

from nc_runner.columns.entry import (
    ANGLES,
    CDNV,
    COS_MEANS,
    COS_ROWS,
    EMPTY,
    HPD,
    MEAN,
    MEANS,
    NEAREST,
    NO_RIDGE,
    PAIRS,
    PHD,
    ROWS,
    TRACE,
    Column,
    over,
    share,
)

_MINORITY = f"{EMPTY}; all classes are equally large"
_ANEW = "with batch norm's statistics computed anew for the current weights"
_ZHU, _LIU, _MARKOU = "Zhu et al. 2021", "Liu et al. 2023", "Markou et al. 2024"
_ROY, _FANG = "Roy & Vetterli 2007", "Fang et al. 2021"

_RANK = r"\exp\left(-\sum_j p_j \log p_j\right), \quad p_j = \frac{\lambda_j(\Sigma_T)}{\mathrm{Tr} \Sigma_T}"
_DISTANCE = (
    r"\quad d_{cc'} = \left\lVert \frac{\mu_c - \mu_G}{\lVert \mu_c - \mu_G \rVert} "
    r"- \frac{\mu_{c'} - \mu_G}{\lVert \mu_{c'} - \mu_G \rVert} \right\rVert"
)
_OWN_MEANS = "The class means are those of the test features, not of the train set."
_SIZE = "It depends on the scale of the features: compare it within a run, not between networks."
_UNCENTRED = "The rows are taken as they are, not centred. "
_FEW = (
    "Which classes are the minority is read from the counts of the measured images "
    "([minority classes](#minority-classes)); counts that differ a little make a minority, too."
)
_NEEDS_DIMENSIONS = "With $P < C - 1$ there is no simplex ETF of C points, and the column stays above 0."


def _etf_error(gram: str) -> str:
    return (
        rf"\left\lVert \frac{{{gram}}}{{\lVert {gram} \rVert_F}} - E^\star \right\rVert_F, \quad "
        r"E^\star = \frac{I - \frac{1}{C} 1 1^\top}{\sqrt{C-1}}"
    )


def _nearest_etf(rows: str) -> str:
    return (
        r"\min_{Q^\top Q = I} \lVert Y - Q E^\star \rVert_F^2 = 2 - 2 \lVert Y E^\star \rVert_*, \quad "
        rf"Y = \frac{{{rows}}}{{\lVert {rows} \rVert_F}}"
    )


def _among(group: str, cosine: str) -> str:
    return over("mean", rf"c \neq c' \in \mathrm{{{group}}}", cosine)


VARIABILITY = (
    Column("nc1_trace_ratio", "variability within against between the classes", "Tr Sigma_W / Tr Sigma_B",
           "Tirer et al. 2023", "0", MEANS, latex=r"\frac{\mathrm{Tr} \Sigma_W}{\mathrm{Tr} \Sigma_B}",
           traps="Some papers call it NC1. It weighs all directions alike, [`nc1`](#nc1) the weak directions "
           "of the class means most."),
    Column("nc1_cdnv", "class-distance normalised variance",
           "mean over pairs of (V_c + V_c') / (2 ‖mu_c - mu_c'‖²)", "Galanti et al. 2021", "0",
           f"{EMPTY}; two class means coincide", latex=CDNV,
           traps="$v_c$ is the mean of $\\lVert h - \\mu_c \\rVert^2$ over class c. Classes count equally, "
           "whatever their sizes; one pair of near class means can outweigh all others."),
    Column("nc1_vci", "variability collapse index", "1 - Tr(Sigma_T^+ Sigma_B) / min(P, C-1)",
           "Xu & Liu 2023", "0", f"{EMPTY}; no feature varies",
           latex=r"1 - \frac{\mathrm{Tr}\left(\Sigma_T^{+} \Sigma_B\right)}{\min(P,\ C-1)}",
           traps="It lies between 0 and 1 and does not change when all features go through one invertible "
           "linear map. Written as a difference it loses its digits near 0; here it is computed without "
           "one."),
    Column("nc1_numerical_rank", "numerical rank of each class's features H_c, not centred",
           "mean over c of (‖H_c‖_* / ‖H_c‖_F)²", _MARKOU, "1", f"{EMPTY}, or only features that are 0",
           needs="train features",
           latex=over("mean", "c", r"\left( \frac{\lVert H_c \rVert_*}{\lVert H_c \rVert_F} \right)^2"),
           traps="Features are not centred, so the class mean is one of the directions: 1, not 0, at "
           "collapse."),
)  # fmt: skip
GEOMETRY = (
    Column("nc2_etf_error_means", "distance of the means' Gram matrix from a simplex ETF's",
           "‖M^T M / ‖M^T M‖ - E*‖, Frobenius norms", f"{_ZHU}; Kothapalli 2023", "0", MEANS,
           latex=_etf_error(r"M^\top M"), traps=_NEEDS_DIMENSIONS),
    Column("nc2_etf_error_classifier", "distance of the classifier's Gram matrix from a simplex ETF's",
           "‖W W^T / ‖W W^T‖ - E*‖, Frobenius norms", f"{_ZHU}; Kothapalli 2023", "0", "W = 0",
           latex=_etf_error(r"W W^\top"), traps=f"{_UNCENTRED}{_NEEDS_DIMENSIONS}"),
    Column("nc2_nearest_etf_means", "squared distance of the class means, at unit norm, to the nearest "
           "simplex ETF", "min over orthonormal Q of ‖Y - Q E*‖² = 2 - 2 ‖Y E*‖_*, Y = M/‖M‖", _MARKOU, "0",
           MEANS, latex=_nearest_etf("M"),
           traps="A Q with orthonormal columns needs $P \\geq C - 1$; below, the closed form is taken as it "
           "stands, and its least value is above 0."),
    Column("nc2_nearest_etf_classifier", "squared distance of the classifier, at unit norm, to the nearest "
           "simplex ETF", "the same with Y = W^T/‖W‖", _MARKOU, "0", "W = 0", latex=_nearest_etf(r"W^\top"),
           traps="The rows are not centred: a common part of all rows counts as distance."),
    Column("nc2_uniformity_distance", "spread of the distances d between the class means' directions",
           "variance (over the count) over pairs of d", _LIU, "0", ANGLES,
           latex=over("var", PAIRS, r"d_{cc'},") + _DISTANCE,
           traps="0 for two classes, which have one pair. The variance divides by the number of pairs."),
    Column("nc2_uniformity_log", "spread of the logarithms of those distances",
           "variance (over the count) over pairs of log(1/d)", _LIU, "0",
           f"{ANGLES}; two directions "
           "coincide", latex=over("var", PAIRS, r"\log \frac{1}{d_{cc'}},") + _DISTANCE,
           traps="The variance divides by the number of pairs. Nearly equal directions dominate it."),
    Column("nc2_row_sum", "how far the classifier's rows are from centred", "‖sum_c w_c‖", "", "0",
           latex=r"\left\lVert \sum_c w_c \right\rVert",
           traps="arXiv 2602.16642 calls it NC0. It depends on the scale of W."),
    Column("nc3_product_error", "distance of the product of classifier and class means from a simplex ETF's",
           "‖W M / ‖W M‖ - E*‖, Frobenius norms", _ZHU, "0", f"{EMPTY}; W M = 0", latex=_etf_error("W M"),
           traps="Zhu et al. call it NC3; it is not [`nc3_self_duality`](#nc3_self_duality), and it can be 0 "
           "where that is not: the product can be right with neither factor on a simplex ETF."),
    Column("nc3_cosine", "alignment of the classifier's rows with the class means",
           "mean over c of cos(w_c, mu_c - mu_G)", "", "1", f"{ANGLES}; {ROWS}",
           latex=over("mean", "c", rf"\cos(w_c,\ {MEAN})"),
           traps="It does not see the norms: rows of unequal size can have a cosine of 1."),
    Column("nc3_uniform_duality", "spread of their products; depends on scale",
           "variance (over C - 1) over c of w_c · (mu_c - mu_G)", "Wu & Papyan 2024", "0", EMPTY,
           latex=over("var", "c", rf"w_c^\top ({MEAN})"),
           traps="The variance divides by $C - 1$, and it depends on the scale of W and of the features: a "
           "small value may be a small scale."),
    Column("nc3_subspace_angle", "overlap of the spaces that classifier and class means span",
           "sum of the cosines of the principal angles / (C-1)", "Rangamani et al. 2023", "1",
           f"{MEANS}; W = 0", latex=r"\frac{1}{C-1} \sum_j \cos \theta_j",
           traps="The authors' code takes class means that are not centred, and divides by C: it gave 0.7585 "
           "where this column was 0.8175. With $P < C - 1$ there are only P angles, and the sum is still "
           "divided by $C - 1$."),
    Column("bias_collapse", "output at the global mean; under MSE loss with one-hot targets it tends to "
           "1/sqrt(C)", "‖W mu_G + b‖", _ZHU, "0", EMPTY, latex=r"\lVert W \mu_G + b \rVert",
           traps="Zhu et al. call it NC4; the nearest-class-mean NC4 is "
           "[`nc4_ncc_mismatch`](#nc4_ncc_mismatch). Under MSE loss with one-hot targets the output at "
           "$\\mu_G$ tends to the mean target, of norm $1/\\sqrt{C}$, not to 0."),
    Column("ncc_accuracy", "accuracy of the nearest class mean on the train set",
           "share with argmin_c ‖h - mu_c‖ = label", PHD, "train_accuracy", needs="train features",
           latex=share(rf"{NEAREST} = \mathrm{{label}}_i"),
           traps="Against the labels. The share that agrees with the network is 1 - "
           "[`nc4_ncc_mismatch`](#nc4_ncc_mismatch)."),
    Column("test_ncc_accuracy", "accuracy of the nearest of the train set's class means on the test set",
           "share with argmin_c ‖h - mu_c‖ = label", PHD, "test_accuracy", needs="test features",
           latex=share(rf"{NEAREST} = \mathrm{{label}}_i"),
           traps="$h_i$ are test features, $\\mu_c$ the means of the train features."),
    Column("nc5_ood_orthogonality", "angles of the class means, not centred, with the mean feature of "
           "out-of-distribution data", "mean over c of abs(cos(mu_c, mean feature))", "Ammar et al. 2024",
           "0", f"{EMPTY}; a mean is 0", needs="out-of-distribution features",
           latex=over("mean", "c", r"\left\lvert \cos(\mu_c,\ \bar h_{\mathrm{ood}}) \right\rvert"),
           traps="Nothing is centred, and the centre of the other data is the mean of its samples; a public "
           "library takes the mean of its class means."),
    Column("test_nc1", "nc1 of the test set's features and their own class means",
           "Tr(Sigma_W Sigma_B^+) / C", PHD, "0 if collapse generalises", MEANS, needs="test features",
           latex=TRACE, traps=_OWN_MEANS),
    Column("test_nc1_cdnv", "nc1_cdnv of the test set's features and their own class means",
           "mean over pairs of (V_c + V_c') / (2 ‖mu_c - mu_c'‖²)", "Galanti et al. 2021",
           "0 if collapse generalises", f"{EMPTY}; two class means coincide", needs="test features",
           latex=CDNV, traps=_OWN_MEANS),
)  # fmt: skip
SIZES = (
    Column("weight_norm", "size of the classifier's weight", "‖W‖_F", latex=r"\lVert W \rVert_F",
           traps="Without the bias."),
    Column("means_norm", "size of the centred class means", "‖M‖_F", nan=EMPTY, latex=r"\lVert M \rVert_F",
           traps=_SIZE),
    Column("global_mean_norm", "size of the global mean", "‖mu_G‖", nan=EMPTY, latex=r"\lVert \mu_G \rVert",
           traps="$\\mu_G$ is the mean of the class means, not of the samples."),
    Column("bias_norm", "size of the bias; 0 without one", "‖b‖", latex=r"\lVert b \rVert"),
    Column("rank", "directions of the class means that nc1 counts, at most C - 1",
           "singular values of M above 1e-10 of the largest", collapse="C - 1", nan=EMPTY,
           latex=r"\#\left\lbrace j : \sigma_j(M) > 10^{-10} \sigma_1(M) \right\rbrace",
           traps="A threshold of 1e-10 counts every direction that is not a rounding error: it is C - 1 long "
           "before collapse. [`effective_rank`](#effective_rank) weighs the directions."),
    Column("effective_rank", "how many directions the features fill, between 1 and P",
           "exp(-sum_j p_j log p_j), p_j the eigenvalues of Sigma_T / Tr Sigma_T", _ROY, "C - 1",
           f"{EMPTY}; no feature varies", latex=_RANK,
           traps="Of the eigenvalues of a covariance; Roy & Vetterli take the singular values of a matrix, "
           "which are their roots."),
    Column("test_effective_rank", "the same of the test set's features and their own class means",
           "exp(-sum_j p_j log p_j), p_j the eigenvalues of Sigma_T / Tr Sigma_T", _ROY,
           "C - 1 if collapse generalises", f"{EMPTY}; no feature varies", needs="test features", latex=_RANK,
           traps=_OWN_MEANS),
    Column("feature_norm", "size of the train features, not centred", "Ave ‖h‖", "arXiv 2604.00230",
           needs="train features", latex=r"\frac{1}{N} \sum_i \lVert h_i \rVert", traps=_SIZE),
)  # fmt: skip
MINORITY = (
    Column("minority_angle", "angles between the means of minority classes: those with fewer samples than "
           "the geometric mean of the largest and the smallest class",
           "mean over pairs of them of cos(mu_c - mu_G, mu_c' - mu_G)", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 minority classes; the mean of one is mu_G",
           latex=_among("minority", COS_MEANS), traps=_FEW),
    Column("majority_angle", "angles between the means of the other classes",
           "mean over pairs of them of cos(mu_c - mu_G, mu_c' - mu_G)", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 majority classes; the mean of one is mu_G",
           latex=_among("majority", COS_MEANS), traps=_FEW),
    Column("minority_angle_classifier", "angles between the classifier's rows of minority classes, not "
           "centred; 1 at minority collapse", "mean over pairs of them of cos(w_c, w_c')", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 minority classes; a row of W is 0",
           latex=_among("minority", COS_ROWS), traps=f"{_UNCENTRED}{_FEW}"),
    Column("majority_angle_classifier", "angles between the classifier's rows of the other classes",
           "mean over pairs of them of cos(w_c, w_c')", _FANG, "-1/(C-1)",
           f"{_MINORITY}; fewer than 2 majority classes; a row of W is 0",
           latex=_among("majority", COS_ROWS), traps=f"{_UNCENTRED}{_FEW}"),
    Column("minority_ratio", "size of the classifier's rows of minority classes against the others",
           "mean of ‖w_c‖ over minority classes / over the others", _FANG, "1", f"{_MINORITY}; W = 0",
           latex=r"\frac{\underset{c \in \mathrm{minority}}{\mathrm{mean}}\ \lVert w_c \rVert}"
           r"{\underset{c \in \mathrm{majority}}{\mathrm{mean}}\ \lVert w_c \rVert}", traps=_FEW),
)  # fmt: skip
WIDER = (*VARIABILITY, *GEOMETRY, *SIZES, *MINORITY)
ASKED = (
    Column("robustness", "how far test inputs are from the decision boundary, relative to their size; r, "
           "the smallest change that DeepFool finds to change the decision of x, has its overshoot of 2 %",
           "Ave ‖r‖ / ‖x‖ over the chosen inputs x, normalised",
           f"Moosavi-Dezfooli et al. 2016; {PHD}; {HPD}", nan="an input is 0, or no output depends on it",
           latex=over("mean", "x", r"\frac{\lVert r(x) \rVert}{\lVert x \rVert}"),
           traps="It has no value at collapse; it is expected to rise. DeepFool finds a small change, not "
           "the smallest one, so the number is in general above the distance to the boundary."),
    Column("mse_ls_recomputed", f"mse_ls {_ANEW}", source=HPD, nan=NO_RIDGE, latex=r"L_{LS}",
           traps="[Batch norm's statistics](#batch-norms-statistics-analysisbatchnorm) says how."),
    Column("mse_perp_recomputed", f"mse_perp {_ANEW}", "", HPD, "0", NO_RIDGE, latex=r"L_\perp",
           traps="The difference to [`mse_perp`](#mse_perp) is the lag of the running statistics."),
    Column("nc1_recomputed", f"nc1 {_ANEW}", "", PHD, "0", MEANS, latex=TRACE,
           traps="The difference to [`nc1`](#nc1) is the lag of the running statistics."),
)  # fmt: skip
