"""The columns of every run's metrics.csv, in the order of the header."""

from __future__ import annotations

from nc_runner.columns.entry import (
    ANGLES,
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

_EVAL_MODE = "Measured in eval mode over the whole split after the epoch, not averaged over training batches."
_UNCENTRED = "The rows are taken as they are; some codes subtract their mean first. "
_NOTEBOOK = (
    "The authors' notebook weighs classes by 1/C, this column by $n_c/N$: equal for balanced classes. "
)
_DESCRIBES = "With a loss other than MSE it describes the features, not the objective."
_LARGEST = (
    "$-1/(C-1)$ is the smallest cosine that all pairs of C directions can have. With $P < C - 1$ they cannot "
    "reach it, and the column stays above 0."
)


def _spread(rows: str) -> str:
    size = rf"\lVert {rows} \rVert"
    return rf"\frac{{{over('std', 'c', size)}}}{{{over('mean', 'c', size)}}}"


def _largest(cosine: str) -> str:
    return over("mean", PAIRS, rf"\left\lvert {cosine} + \frac{{1}}{{C-1}} \right\rvert")


TRAINING = (
    Column("epoch", "epochs done: the row describes the network after that epoch; 0: at initialisation, "
           "before the first step"),
    Column("lr", "learning rate of the epoch's last step", nan="epoch is 0: there was no step yet",
           traps="With a schedule that changes it within an epoch, the first step had another rate."),
    Column("train_loss", "the chosen loss, over the measured train samples in eval mode",
           traps=f"{_EVAL_MODE} A training loop's running loss is another number."),
    Column("train_loss_regularized", "with the penalty of weight decay; wd is the weight decay of each "
           "parameter", "train_loss + sum over all parameters of wd/2 · their squares",
           nan="weight decay is no part of an objective: decoupled (`adamw`), or of a custom optimizer; "
           "features of a file with weight decay: it lacks the other parameters",
           latex=r"\mathtt{train}\ \mathtt{loss} + \sum_\theta \frac{\mathrm{wd}_\theta}{2} \theta^2",
           traps="The sum goes over all parameters of the network, not over the classifier alone."),
    Column("train_accuracy", "share of train samples classified right",
           traps=f"{_EVAL_MODE} With augmentation, training itself sees other images."),
    Column("test_loss", "the chosen loss, over the measured test samples in eval mode"),
    Column("test_accuracy", "share of test samples classified right"),
)  # fmt: skip
COLLAPSE = (
    Column("nc1", "variability within the classes, in the directions of the class means",
           "Tr(Sigma_W Sigma_B^+) / C", f"{PHD}; {HPD}", "0", MEANS, latex=TRACE,
           traps="Other codes leave out the division by C, or call a ratio of traces NC1 "
           "([`nc1_trace_ratio`](#nc1_trace_ratio)). The pseudo-inverse counts the directions of the class "
           "means alone, at most $C - 1$ of them: variation in other directions is not seen. Near collapse, "
           "features that were rounded to bfloat16 make it several times too large."),
    Column("nc2_equinorm_means", "spread of the norms of the class means",
           "std (over C - 1) / mean over c of ‖mu_c - mu_G‖", PHD, "0", MEANS, latex=_spread(MEAN),
           traps="The standard deviation divides by $C - 1$; others divide by C. $\\mu_G$ is the mean of the "
           "class means, which is not the mean of all samples when classes are unequal."),
    Column("nc2_equinorm_classifier", "spread of the norms of the classifier's rows, not centred",
           "std (over C - 1) / mean over c of ‖w_c‖", PHD, "0", "W = 0", latex=_spread("w_c"),
           traps=f"{_UNCENTRED}The standard deviation divides by $C - 1$."),
    Column("nc2_equiangular_means", "spread of the angles between the class means",
           "std (over the count) over pairs of cos(mu_c - mu_G, mu_c' - mu_G)", PHD, "0", ANGLES,
           latex=over("std", PAIRS, COS_MEANS),
           traps="0 says that all angles are equal, not that they are the largest possible; that is "
           "[`nc2_maxangle_means`](#nc2_maxangle_means). The standard deviation divides by the number of "
           "pairs."),
    Column("nc2_equiangular_classifier", "spread of the angles between the classifier's rows, not centred",
           "std (over the count) over pairs of cos(w_c, w_c')", PHD, "0", ROWS,
           latex=over("std", PAIRS, COS_ROWS),
           traps=f"{_UNCENTRED}The standard deviation divides by the number of pairs."),
    Column("nc2_maxangle_means", "distance of those angles from the largest possible",
           "mean over pairs of abs(cos(mu_c - mu_G, mu_c' - mu_G) + 1/(C-1))", PHD, "0", ANGLES,
           latex=_largest(COS_MEANS), traps=_LARGEST),
    Column("nc2_maxangle_classifier", "distance of those angles from the largest possible",
           "mean over pairs of abs(cos(w_c, w_c') + 1/(C-1))", PHD, "0", ROWS, latex=_largest(COS_ROWS),
           traps=f"{_UNCENTRED}{_LARGEST}"),
    Column("nc3_self_duality", "distance between classifier and class means, both at unit norm",
           "‖W/‖W‖ - M^T/‖M‖‖², Frobenius norms", PHD, "0", f"{MEANS}; W = 0",
           latex=r"\left\lVert \frac{W}{\lVert W \rVert_F} "
           r"- \frac{M^\top}{\lVert M \rVert_F} \right\rVert_F^2",
           traps="The norm is squared here; others report it unsquared, or take "
           "[`nc3_product_error`](#nc3_product_error). It lies between 0 and 4."),
    Column("nc4_ncc_mismatch", "share of train samples whose nearest class mean is not the predicted class",
           "argmax_c (W h + b)_c != argmin_c ‖h - mu_c‖", f"{PHD}; {HPD}", "0",
           latex=share(rf"\arg\max_c (W h_i + b)_c \neq {NEAREST}"),
           traps="The bias is part of the prediction; some codes leave it out. It compares with the network, "
           "not with the labels: that is [`ncc_accuracy`](#ncc_accuracy). Zhu et al. (2021) call another "
           "number NC4: [`bias_collapse`](#bias_collapse)."),
    Column("test_nc4_ncc_mismatch", "the same share of test samples, with the train set's class means",
           "argmax_c (W h + b)_c != argmin_c ‖h - mu_c‖", PHD, "0",
           latex=share(rf"\arg\max_c (W h_i + b)_c \neq {NEAREST}"),
           traps="$h_i$ are test features, $\\mu_c$ the means of the train features."),
)  # fmt: skip
DECOMPOSITION = (
    Column("mse_total", "L, the ridge MSE loss of the classifier, measured on the train samples; its "
           "targets are M y where the loss asks M of the true class",
           "1/2 Ave ‖W h + b - y‖² + ridge/2 (‖W‖² + ‖b‖²)", HPD, nan=NO_RIDGE,
           latex=r"L = \frac{1}{2N} \sum_i \lVert W h_i + b - y_i \rVert^2 "
           r"+ \frac{\lambda}{2} \left( \lVert W \rVert_F^2 + \lVert b \rVert^2 \right)",
           traps="It is C/2 times `nn.MSELoss()`, which averages over the classes too, plus the penalty. "
           "The weight decay of the other layers is no part of it."),
    Column("mse_ls", "L of the least-squares classifier V_LS of the same features; it has a bias where the "
           "layer has one", "mse_nc1 + mse_nc23", HPD, nan=NO_RIDGE,
           latex=r"L_{LS} = \min_V L(V) = L_{NC1} + L_{NC2/3}", traps=_DESCRIBES),
    Column("mse_nc1", "L_NC1, its part from variability within the classes",
           "1/2 Tr(W_LS Sigma_W W_LS^T) + ridge/2 ‖V_LS‖²", HPD, nan=NO_RIDGE,
           latex=r"L_{NC1} = \frac{1}{2}\mathrm{Tr}\left(W_{LS} \Sigma_W W_{LS}^\top\right) "
           r"+ \frac{\lambda}{2} \lVert V_{LS} \rVert_F^2",
           traps="It holds the ridge's penalty of the least-squares classifier, so it does not fall to 0 "
           "with [`nc1`](#nc1)."),
    Column("mse_nc23", "L_NC2/3, its part from the class means",
           "1/2 sum_c pi_c ‖W_LS mu_c + b_LS - e_c‖²", HPD, nan=NO_RIDGE,
           latex=r"L_{NC2/3} = \frac{1}{2} \sum_c \pi_c \lVert W_{LS} \mu_c + b_{LS} - e_c \rVert^2",
           traps=f"{_NOTEBOOK}With a ridge above 0 it does not reach 0."),
    Column("mse_perp", "L_perp, what the classifier loses against the least-squares one",
           "1/2 Tr((V - V_LS) (Ave [h; 1][h; 1]^T + ridge I) (V - V_LS)^T)", HPD, "0", NO_RIDGE,
           latex=r"L_\perp = \frac{1}{2}\mathrm{Tr}\left((V - V_{LS}) A (V - V_{LS})^\top\right), "
           r"\quad A = \frac{1}{N} \sum_i x_i x_i^\top + \lambda I",
           traps="In networks with batch norm a part of it can be the lag of batch norm's running "
           "statistics: `analysis.batchnorm=both` shows how much. It depends on the ridge that is chosen."),
    Column("mse_residual", "what the terms leave of the total: rounding only",
           "mse_total - (mse_nc1 + mse_nc23 + mse_perp)", "", "0", NO_RIDGE,
           latex=r"L - \left(L_{NC1} + L_{NC2/3} + L_\perp\right)",
           traps="L is measured on the samples, the terms on the class statistics: a residual that is not "
           "tiny beside L says that one of the two is wrong."),
    Column("ridge", "lambda of the decomposition; that of W, where the bias has another",
           nan=NO_RIDGE, latex=r"\lambda",
           traps="$C \\cdot \\mathrm{wd} / 2$ of the objective, or $\\mathrm{wd} / 2$ of the authors' "
           "notebook: [which ridge](#which-ridge)."),
)  # fmt: skip
CORE = (*TRAINING, *COLLAPSE, *DECOMPOSITION)
SNR = Column("snr_j", "signal-to-noise spectrum, j = 1 ... C-1, largest first; inf where classes differ and "
             "no sample varies", "singular values of Sigma_W^(-1/2) M", HPD, "inf", EMPTY,
             latex=r"\omega_j = \sigma_j\left(\Sigma_W^{-1/2} M\right)",
             traps="The spectrum is not squared. Equal values mean NC2, growing ones NC1. Directions in "
             "which the features vary by rounding errors alone are left out "
             "([more](#directions-that-hold-rounding-errors-alone)).")  # fmt: skip
TIME = (
    Column("train_seconds", "seconds of training since the row before; 0 in the row of epoch 0",
           traps="It includes all epochs since the last analysed one."),
    Column("analysis_seconds", "seconds of this measurement"),
)  # fmt: skip
PATH = (
    Column("perp_share", "share of the loss that is off the central path", "mse_perp / mse_total", HPD, "0",
           f"mse_total is 0; {NO_RIDGE}", latex=r"\frac{L_\perp}{L}",
           traps="Late in training both L and $L_\\perp$ are small; the share can rise while both fall."),
    Column("path_distance", "distance to the central path, where V = V_LS; without a ridge, to the V_LS of "
           "least norm", "‖V - V_LS‖ / ‖V_LS‖, Frobenius norms", HPD, "0",
           f"V_LS = 0; {NO_RIDGE}", latex=r"\frac{\lVert V - V_{LS} \rVert_F}{\lVert V_{LS} \rVert_F}",
           traps="It counts all directions alike, $L_\\perp$ those in which the features vary most: one can "
           "be large while the other is small."),
)  # fmt: skip
LAYERS = (
    Column("layer", "name of the module"),
    Column("depth", "place in forward order, from 1"),
    Column("features", "P of the layer: its width, or its number of maps",
           traps="Maps are averaged over their positions before they are measured."),
)  # fmt: skip
