"""The list of figures. A new figure is an entry here, or a new kind of figure in a module of its own."""

from __future__ import annotations

from nc_runner.figures.base import Curve, RunFigure
from nc_runner.figures.curves import AdvanceFigure, CurveFigure, DecompositionFigure, SpectrumFigure
from nc_runner.figures.flow import (
    FlowCurves,
    FlowFigure,
    FlowSpectrum,
    asymptote,
    exponents,
    limit_exponent,
    ratios,
    same,
)
from nc_runner.figures.layers import LayerFigure
from nc_runner.figures.style import BLACK, BLUE, GREEN, PURPLE, VERMILION


def _means_and_classifier(measure: str) -> tuple[Curve, ...]:
    return (
        Curve(f"nc2_{measure}_means", "class means", "solid"),
        Curve(f"nc2_{measure}_classifier", "classifier", "dashed"),
    )


def _percent_wrong(split: str, style: str) -> Curve:
    return Curve(f"{split}_accuracy", split, style, factor=-100.0, offset=100.0)


CATALOGUE: tuple[RunFigure, ...] = (
    CurveFigure(
        name="train_loss",
        title="Training loss",
        y_label="loss",
        curves=(Curve("train_loss"),),
        log=True,
        reading="The mean loss over the whole train set, in evaluation mode.",
    ),
    CurveFigure(
        name="errors",
        title="Train and test error",
        y_label="error (%)",
        curves=(_percent_wrong("train", "solid"), _percent_wrong("test", "dashed")),
        y_shared="data set",
        reading="The share of images that the network classifies wrongly. The terminal phase begins when "
        "the train error is almost zero.",
    ),
    CurveFigure(
        name="nc1",
        title="NC1: variability collapse",
        y_label=r"$\mathrm{Tr}(\Sigma_W\,\Sigma_B^{+})\,/\,C$",
        curves=(Curve("nc1"),),
        log=True,
        reading="Variability within classes relative to the variability between them. Tends to 0 as features "
        "collapse to their class means.",
    ),
    CurveFigure(
        name="nc2_equinorm",
        title="NC2: equal norms",
        y_label="std / mean of the norms",
        curves=_means_and_classifier("equinorm"),
        reading="Spread of the norms of the class means, and of the classifier’s rows. Tends to 0.",
    ),
    CurveFigure(
        name="nc2_equiangularity",
        title="NC2: equal angles",
        y_label="std of the cosines",
        curves=_means_and_classifier("equiangular"),
        reading="Spread of the angles between pairs of classes. Tends to 0 as all angles become equal.",
    ),
    CurveFigure(
        name="nc2_maxangle",
        title="NC2: maximal angles",
        y_label=r"mean of $|\cos + 1/(C-1)|$",
        curves=_means_and_classifier("maxangle"),
        reading="Distance of the angles from the largest possible angle, cos = −1/(C−1). Tends to 0.",
    ),
    CurveFigure(
        name="nc3_self_duality",
        title="NC3: self-duality",
        y_label=r"$\Vert\, W/\Vert W\Vert_F - \dot{M}^{T}/\Vert\dot{M}\Vert_F \,\Vert_F^2$",
        curves=(Curve("nc3_self_duality"),),
        reading="Distance between the classifier and the class means, each scaled to norm 1. Tends to 0.",
    ),
    CurveFigure(
        name="nc4_ncc_mismatch",
        title="NC4: nearest class mean",
        y_label="mismatch (%)",
        curves=(
            Curve("nc4_ncc_mismatch", "train", "solid", factor=100.0),
            Curve("test_nc4_ncc_mismatch", "test", "dashed", alpha=0.55, factor=100.0),
        ),
        y_shared="data set",
        reading="The share of images that the network and the nearest class mean classify differently. Tends "
        "to 0 on the train set.",
    ),
    DecompositionFigure(
        name="mse_decomposition",
        title="Decomposition of the MSE",
        y_label=r"$L$ and its terms",
        curves=(
            Curve("mse_total", "$L$", "solid", BLACK),
            Curve("mse_nc1", r"$L_{\mathrm{NC1}}$", "dashed", VERMILION),
            Curve("mse_nc23", r"$L_{\mathrm{NC2/3}}$", "dashdot", GREEN),
            Curve("mse_perp", r"$L_{\perp}$", "dotted", PURPLE),
        ),
        log=True,
        reading="The terms of the loss: variability within classes, positions of the class means, and the "
        "distance of the classifier from the least-squares classifier.",
    ),
    DecompositionFigure(
        name="least_squares_vs_perp",
        title="Distance from the central path",
        y_label="part of the MSE",
        curves=(
            Curve("mse_ls", r"$L_{\mathrm{LS}}$", "solid", GREEN),
            Curve("mse_perp", r"$L_{\perp}$", "dotted", PURPLE),
        ),
        log=True,
        reading="The loss of the least-squares classifier, and what the network’s own classifier adds to it. "
        "Close to the central path the second is negligible.",
    ),
    CurveFigure(
        name="perp_over_ls",
        title="Distance from the central path, relative",
        y_label=r"$L_{\perp}\,/\,L_{\mathrm{LS}}$",
        curves=(Curve("mse_perp", over="mse_ls"),),
        log=True,
        reading="The distance of the classifier from the least-squares classifier, relative to that one's "
        "loss. On the central path it is 0.",
    ),
    SpectrumFigure(
        name="snr_spectrum",
        title="SNR spectrum",
        y_label=r"$\omega_j$ of $\Sigma_W^{-1/2}\dot{M}$",
        log=True,
        reading="Singular values of the centred class means, whitened by the within-class covariance. They "
        "grow, and their ratios tend to 1, as features collapse.",
    ),
    AdvanceFigure(
        name="phi_advance",
        title="Test of the central-path law",
        y_label=r"$\Phi(\omega_j, t) - \Phi(\omega_j, t_0)$",
        log=True,
        reading="On the central path Φ advances equally for every singular value: all lines are equal.",
    ),
)

# The parts of the overview
OVERVIEW: tuple[RunFigure, ...] = tuple(
    figure
    for name in (
        "errors", "nc1", "nc2_equinorm", "nc2_equiangularity", "nc2_maxangle", "nc3_self_duality",
        "nc4_ncc_mismatch", "mse_decomposition", "least_squares_vs_perp",
    )
    for figure in CATALOGUE
    if figure.name == name
)  # fmt: skip

LAYER_CATALOGUE: tuple[RunFigure, ...] = (
    LayerFigure(
        name="layers_nc1",
        title="NC1 by layer",
        y_label=r"$\mathrm{Tr}(\Sigma_W\,\Sigma_B^{+})\,/\,C$",
        curves=(Curve("nc1"),),
        log=True,
        reading="NC1 of inner layers in forward order, one line for each of a few epochs.",
    ),
    LayerFigure(
        name="layers_nc2_maxangle",
        title="NC2 by layer: maximal angles",
        y_label=r"mean of $|\cos + 1/(C-1)|$",
        curves=(Curve("nc2_maxangle_means"),),
        reading="Distance of the angles between the class means of inner layers from the largest possible, "
        "one line for each of a few epochs.",
    ),
    LayerFigure(
        name="layers_ncc_accuracy",
        title="Nearest class mean by layer",
        y_label="accuracy (%)",
        curves=(
            Curve("ncc_accuracy", "train", "solid", factor=100.0),
            Curve("test_ncc_accuracy", "test", "dashed", factor=100.0),
        ),
        reading="The share of images that are nearest to the mean of their own class, layer by layer, one "
        "line for each of a few epochs.",
    ),
)


FLOW_CATALOGUE: tuple[FlowFigure, ...] = (
    FlowSpectrum(
        name="flow_spectrum",
        title="SNR spectrum along the flow",
        y_label=r"$\omega_j$ of $\Sigma_W^{-1/2}\dot{M}$",
        log=True,
        of_spectrum=same,
        guide=asymptote,
        guide_label="limit for late times",
        reading="The spectrum grows along the flow; simulated points lie on the closed form.",
    ),
    FlowSpectrum(
        name="flow_ratios",
        title="SNR spectrum relative to its largest value",
        y_label=r"$\omega_j\,/\,\omega_1$",
        of_spectrum=ratios,
        reading="Ratios to the largest value tend to 1: the class means tend to a simplex.",
    ),
    FlowSpectrum(
        name="flow_exponents",
        title="Local exponents of the SNR spectrum",
        y_label=r"$\mathrm{d}\,\log\,\omega_j\,/\,\mathrm{d}\,\log\,t$",
        of_spectrum=exponents,
        guide=limit_exponent,
        guide_label="1/4, raw: 1/2",
        reading="Each value grows as a power of time whose exponent tends to 1/4, along the raw flow to 1/2.",
    ),
    FlowCurves(
        name="flow_losses",
        title="Least-squares loss along the flow",
        y_label=r"$L_{\mathrm{LS}}$ and its terms",
        log=True,
        curves=(
            Curve("mse_ls", r"$L_{\mathrm{LS}}$", "solid", BLACK),
            Curve("mse_nc1", r"$L_{\mathrm{NC1}}$", "dashed", VERMILION),
            Curve("mse_nc23", r"$L_{\mathrm{NC2/3}}$", "dashdot", GREEN),
        ),
        reading="The loss of the least-squares classifier and its two terms decrease along the flow.",
    ),
    FlowCurves(
        name="flow_collapse",
        title="Neural Collapse along the flow",
        y_label="measures of collapse",
        log=True,
        curves=(
            Curve("nc1", "NC1", "solid", VERMILION),
            Curve("nc2_equinorm_means", "NC2 norms", "dashed", BLUE),
            Curve("nc2_equiangular_means", "NC2 angles", "dotted", BLUE),
            Curve("nc3_self_duality", "NC3", "dashdot", GREEN),
            Curve("nc4_ncc_mismatch", "NC4 (share)", "dashed", PURPLE),
        ),
        caption="measured on the simulated features; a line ends where its measure is 0",
        reading="The measures of Neural Collapse on the simulated features tend to 0.",
    ),
)


def custom_figure(column: str, log: bool) -> CurveFigure:
    """The figure of a custom metric (``analysis.custom``)."""
    return CurveFigure(
        name=f"custom_{column}",
        title=f"{column} (custom metric)",
        y_label=column,
        curves=(Curve(column),),
        log=log,
    )
