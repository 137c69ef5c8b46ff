"""The list of figures: what each draws, on which scale, under which words. Drawing is draw.py's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nc_runner.figures.style import BLACK, GREEN, PURPLE, VERMILION


@dataclass(frozen=True)
class Curve:
    """One column of ``metrics.csv`` as a line; what is drawn is ``offset + factor * value``.

    ``colour`` None takes the loss's; ``style`` None takes the loss's too.
    """

    column: str
    label: str = ""
    style: str | None = None
    colour: str | None = None
    alpha: float = 1.0
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Entry:
    """One figure.

    ``per_loss``: the lines' colours tell terms apart, so each loss gets a figure of its own: ``name`` for
    MSE, ``name_LOSS`` for the others. ``spectrum``: draws all SNR columns in place of ``curves``;
    ``advance``: how far Phi of each has come since the terminal phase began, see advance.py.
    ``by_layer``: draws ``layers.csv`` against depth (layers.py), of the runs that have one.
    ``y_shared``: whether all panels have one y axis, or those of each data set. ``reading`` says below the
    figure in the report what it shows.
    """

    name: str
    title: str
    y_label: str
    curves: tuple[Curve, ...] = ()
    log: bool = False
    y_shared: Literal["all", "data set"] = "all"
    per_loss: bool = False
    spectrum: bool = False
    advance: bool = False
    by_layer: bool = False
    says_ridge: bool = False
    reading: str = ""


def _means_and_classifier(measure: str) -> tuple[Curve, ...]:
    return (
        Curve(f"nc2_{measure}_means", "class means", "solid"),
        Curve(f"nc2_{measure}_classifier", "classifier", "dashed"),
    )


def _percent_wrong(split: str, style: str) -> Curve:
    return Curve(f"{split}_accuracy", split, style, factor=-100.0, offset=100.0)


def own_entry(column: str, log: bool) -> Entry:
    """The figure of an own metric (``analysis.own``); nothing is known of it but its name."""
    return Entry(f"own_{column}", f"{column} (own metric)", column, (Curve(column),), log)


CATALOGUE = (
    Entry(
        "train_loss",
        "Training loss",
        "loss",
        (Curve("train_loss"),),
        log=True,
        reading="The mean loss over the whole train set, in evaluation mode.",
    ),
    Entry(
        "errors",
        "Train and test error",
        "error (%)",
        (_percent_wrong("train", "solid"), _percent_wrong("test", "dashed")),
        y_shared="data set",
        reading="The share of images that the network gets wrong. The terminal phase begins where hardly "
        "any train image is.",
    ),
    Entry(
        "nc1",
        "NC1: variability collapse",
        r"$\mathrm{Tr}(\Sigma_W\,\Sigma_B^{+})\,/\,C$",
        (Curve("nc1"),),
        log=True,
        reading="Spread within classes against spread between them. Tends to 0 as features collapse to "
        "their class means.",
    ),
    Entry(
        "nc2_equinorm",
        "NC2: equal norms",
        "std / mean of the norms",
        _means_and_classifier("equinorm"),
        reading="How unequal the norms of the class means are, and those of the classifier’s rows. Tends "
        "to 0.",
    ),
    Entry(
        "nc2_equiangularity",
        "NC2: equal angles",
        "std of the cosines",
        _means_and_classifier("equiangular"),
        reading="How unequal the angles between classes are. Tends to 0 as all pairs come to stand at one "
        "angle.",
    ),
    Entry(
        "nc2_maxangle",
        "NC2: maximal angles",
        r"mean of $|\cos + 1/(C-1)|$",
        _means_and_classifier("maxangle"),
        reading="How far the angles are from the widest that C classes can have, cos = −1/(C−1). Tends to 0.",
    ),
    Entry(
        "nc3_self_duality",
        "NC3: self-duality",
        r"$\Vert\, W/\Vert W\Vert_F - \dot{M}^{T}/\Vert\dot{M}\Vert_F \,\Vert_F^2$",
        (Curve("nc3_self_duality"),),
        reading="Distance between the classifier and the class means, each scaled to norm 1. Tends to 0.",
    ),
    Entry(
        "nc4_ncc_mismatch",
        "NC4: network against nearest class mean",
        "mismatch (%)",
        (
            Curve("nc4_ncc_mismatch", "train", "solid", factor=100.0),
            Curve("test_nc4_ncc_mismatch", "test", "dashed", alpha=0.55, factor=100.0),
        ),
        y_shared="data set",
        reading="Images that the network and the nearest class mean put into different classes. Tends to "
        "0 on train.",
    ),
    Entry(
        "mse_decomposition",
        "Decomposition of the MSE",
        r"$L$ and its terms",
        (
            Curve("mse_total", "$L$", "solid", BLACK),
            Curve("mse_nc1", r"$L_{\mathrm{NC1}}$", "dashed", VERMILION),
            Curve("mse_nc23", r"$L_{\mathrm{NC2/3}}$", "dashdot", GREEN),
            Curve("mse_perp", r"$L_{\perp}$", "dotted", PURPLE),
        ),
        log=True,
        per_loss=True,
        says_ridge=True,
        reading="What the loss is made of: spread within classes, places of the class means, and the "
        "distance of the classifier from the least-squares one.",
    ),
    Entry(
        "least_squares_vs_perp",
        "Distance from the central path",
        "part of the MSE",
        (
            Curve("mse_ls", r"$L_{\mathrm{LS}}$", "solid", GREEN),
            Curve("mse_perp", r"$L_{\perp}$", "dotted", PURPLE),
        ),
        log=True,
        per_loss=True,
        says_ridge=True,
        reading="Loss of the least-squares classifier, and what the network’s own classifier adds to it. "
        "Close to the central path that is negligible.",
    ),
    Entry(
        "snr_spectrum",
        "SNR spectrum",
        r"$\omega_j$ of $\Sigma_W^{-1/2}\dot{M}$",
        log=True,
        per_loss=True,
        spectrum=True,
        reading="Singular values of the centred class means, seen through the covariance within classes. "
        "They grow and draw together as features collapse.",
    ),
    Entry(
        "phi_advance",
        "Clock-free test of the central-path law",
        r"$\Phi(\omega_j, t) - \Phi(\omega_j, t_0)$",
        log=True,
        per_loss=True,
        spectrum=True,
        advance=True,
        reading="On the central path every direction of the spectrum advances equally: all lines would be "
        "one.",
    ),
)
