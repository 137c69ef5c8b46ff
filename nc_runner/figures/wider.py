"""A figure for each column that runs have beyond those of every run: of the wider set (``analysis.metrics``),
and of settings of their own.

A column that is not in the table below is drawn all the same, under its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nc_runner.columns import ROBUSTNESS_COLUMN, WIDER_COLUMNS, describe
from nc_runner.figures.base import Curve
from nc_runner.figures.curves import CurveFigure
from nc_runner.figures.grid import LegendEntry
from nc_runner.figures.hue import Hue
from nc_runner.figures.scales import FloatArray
from nc_runner.figures.style import GREY, LINE_STYLES
from nc_runner.figures.traces import sample
from nc_runner.runs.reader import Run

_GENERALISES = " if collapse generalises"
_COS_MEANS = r"$\cos(\mu_c - \mu_G,\ \mu_{c'} - \mu_G)$"
_NETWORKS = {"train_accuracy": "train", "test_accuracy": "test"}  # drawn beside a nearest-class-mean accuracy


@dataclass(frozen=True)
class Look:
    """How a column is drawn. ``log``: None where the values decide."""

    title: str
    y_label: str
    log: bool | None = False
    note: str = ""  # a caption


_LOOKS = {
    "nc1_trace_ratio": Look("NC1: trace ratio", r"$\mathrm{Tr}\,\Sigma_W\,/\,\mathrm{Tr}\,\Sigma_B$", True),
    "nc1_cdnv": Look("NC1: class-distance normalised variance", "CDNV", True),
    "nc1_vci": Look("NC1: variability collapse index", "VCI", True),
    "nc1_numerical_rank": Look(
        "NC1: numerical rank of a class", r"mean of $(\Vert H_c\Vert_*/\Vert H_c\Vert_F)^2$", True
    ),
    "nc2_etf_error_means": Look("NC2: the means’ Gram matrix and an ETF’s", "Frobenius norm"),
    "nc2_etf_error_classifier": Look("NC2: the classifier’s Gram matrix and an ETF’s",
                                     "Frobenius norm"),
    "nc2_nearest_etf_means": Look("NC2: class means to the nearest ETF", "squared distance", True),
    "nc2_nearest_etf_classifier": Look("NC2: classifier to the nearest ETF",
                                       "squared distance", True),
    "nc2_uniformity_distance": Look("NC2: uniformity of the means’ angles", "variance of distances", True),
    "nc2_uniformity_log": Look("NC2: logarithmic uniformity of the means’ angles",
                               "variance of log distances", True),
    "nc2_row_sum": Look("NC2: sum of the classifier’s rows", r"$\Vert \Sigma_c\, w_c \Vert$", None),
    "nc3_product_error": Look("NC3: distance of W M from an ETF’s Gram matrix", "Frobenius norm"),
    "nc3_cosine": Look("NC3: alignment of classifier and means", r"mean of $\cos(w_c,\ \mu_c - \mu_G)$"),
    "nc3_uniform_duality": Look("NC3: uniform duality", r"variance of $w_c \cdot (\mu_c - \mu_G)$", True),
    "nc3_subspace_angle": Look("NC3: overlap of classifier and means", "mean cosine"),
    "bias_collapse": Look("Output at the global mean", r"$\Vert W\mu_G + b\Vert$",
                          note="0 at collapse; 1/√C under MSE with one-hot targets"),
    "ncc_accuracy": Look("Nearest class mean on the train set", "accuracy (%)"),
    "test_ncc_accuracy": Look("Nearest class mean on the test set", "accuracy (%)"),
    "nc5_ood_orthogonality": Look("NC5: class means against other data", "mean of |cos|"),
    "test_nc1": Look("NC1 of the test set", r"$\mathrm{Tr}(\Sigma_W\,\Sigma_B^{+})\,/\,C$", True),
    "test_nc1_cdnv": Look("CDNV of the test set", "CDNV", True),
    "weight_norm": Look("Norm of the classifier’s weight", r"$\Vert W\Vert_F$"),
    "means_norm": Look("Norm of the class means", r"$\Vert\dot{M}\Vert_F$"),
    "global_mean_norm": Look("Norm of the global mean", r"$\Vert\mu_G\Vert$"),
    "bias_norm": Look("Norm of the bias", r"$\Vert b\Vert$"),
    "rank": Look("Rank of the class means", "directions"),
    "effective_rank": Look("Effective rank of the features", "directions"),
    "test_effective_rank": Look("Effective rank of the test set’s features", "directions"),
    "feature_norm": Look("Norm of the features", r"mean of $\Vert h\Vert$"),
    "minority_angle": Look("Angles of the minority’s class means", f"mean of {_COS_MEANS}"),
    "majority_angle": Look("Angles of the majority’s class means", f"mean of {_COS_MEANS}"),
    "minority_angle_classifier": Look("Angles of the minority’s classifier rows",
                                      r"mean of $\cos(w_c,\ w_{c'})$"),
    "majority_angle_classifier": Look("Angles of the majority’s classifier rows",
                                      r"mean of $\cos(w_c,\ w_{c'})$"),
    "minority_ratio": Look("Classifier rows, minority to majority",
                           r"ratio of the mean $\Vert w_c\Vert$"),
    "robustness": Look("Robustness: distance to the decision boundary",
                       r"mean of $\Vert r\Vert_2\,/\,\Vert x\Vert_2$"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WiderFigure(CurveFigure):
    """One column, with a line at its value at collapse where that is a number that the axis can show."""

    collapse: str  # as the registry has it
    note: str = ""

    def shows(self, run: Run) -> bool:
        return self.curves[0].column in run.rows

    def guide(self, run: Run) -> float | None:
        value = at_collapse(self.collapse, run.num_classes)
        return None if value is None or (self.log and value <= 0) or value == 0 else value

    def caption(self, runs: Sequence[Run]) -> str:
        """What a line cannot show: that a value tends to 0."""
        zero = "0 at collapse" if self.collapse.removesuffix(_GENERALISES) == "0" else ""
        return self.note or zero

    def legend(self, runs: Sequence[Run], hue: Hue) -> Iterator[LegendEntry]:
        yield from super().legend(runs, hue)
        if at_collapse(self.collapse, 3):  # whatever C is
            value = self.collapse.removesuffix(_GENERALISES).replace("-", "−")
            yield LegendEntry(sample(GREY, LINE_STYLES["dotted"]), f"at collapse: {value}")


@dataclass(frozen=True, kw_only=True)
class RecomputedFigure(CurveFigure):
    """A number with batch norm's running statistics, and with those of ``analysis.batchnorm=both``."""

    log: bool = True

    def shows(self, run: Run) -> bool:
        return self.curves[1].column in run.rows


def _recomputed(column: str, over: str = "") -> tuple[Curve, Curve]:
    anew = f"{over}_recomputed" if over else ""
    return (
        Curve(column, "running statistics", "solid", over=over),
        Curve(f"{column}_recomputed", "recomputed", "dotted", over=anew),
    )


RECOMPUTED = (
    RecomputedFigure(
        name="perp_over_ls_recomputed",
        title="Distance from the central path, batch norm recomputed",
        y_label=r"$L_{\perp}\,/\,L_{\mathrm{LS}}$",
        curves=_recomputed("mse_perp", over="mse_ls"),
        reading="The distance of the classifier from the least-squares classifier, relative to that one’s "
        "loss: with batch norm’s running statistics, which lag behind the weights, and with statistics "
        "computed anew for the current weights.",
    ),
    RecomputedFigure(
        name="nc1_recomputed",
        title="NC1, batch norm recomputed",
        y_label=r"$\mathrm{Tr}(\Sigma_W\,\Sigma_B^{+})\,/\,C$",
        curves=_recomputed("nc1"),
        reading="Variability within classes relative to the variability between them, with batch norm’s "
        "running statistics and with statistics computed anew for the current weights.",
    ),
)


def at_collapse(text: str, num_classes: int) -> float | None:
    """A registry's value at collapse as a number; None where it is none.

    >>> at_collapse("C - 1 if collapse generalises", 10), at_collapse("-1/(C-1)", 5), at_collapse("", 5)
    (9.0, -0.25, None)
    """
    values = {"0": 0.0, "1": 1.0, "C - 1": num_classes - 1.0, "-1/(C-1)": -1 / (num_classes - 1)}
    return values.get(text.removesuffix(_GENERALISES))


def wider_figures(runs: Sequence[Run]) -> list[CurveFigure]:
    """A figure for each further column of which some run has a number."""
    found: list[CurveFigure] = []
    for column in (*WIDER_COLUMNS, ROBUSTNESS_COLUMN):
        values = [run.rows[column].to_numpy(np.float64) for run in runs if column in run.rows]
        numbers = np.concatenate([part[np.isfinite(part)] for part in values]) if values else np.empty(0)
        if len(numbers):
            found.append(_figure(column, spread=spans_decades(numbers)))
    return found + [figure for figure in RECOMPUTED if any(map(figure.shows, runs))]


def spans_decades(values: FloatArray) -> bool:
    """Whether positive values span about a hundredfold, for which a logarithmic axis is better."""
    return bool(len(values)) and bool(0 < 99 * values.min() < values.max())


def _figure(column: str, *, spread: bool) -> WiderFigure:
    known = describe(column)
    look = _LOOKS.get(column, Look(column, column, None))
    curves = [Curve(column)]
    if known.collapse in _NETWORKS:
        curves = [
            Curve(column, "nearest class mean", "solid", factor=100.0),
            Curve(known.collapse, "network", "dotted", factor=100.0),
        ]
    reading = known.meaning[:1].upper() + known.meaning[1:]
    reading += f": {known.formula}." if known.formula else "."
    return WiderFigure(
        name=column,
        title=look.title,
        y_label=look.y_label,
        curves=tuple(curves),
        log=spread if look.log is None else look.log,
        reading=f"{reading} At collapse: {known.collapse}." if known.collapse else reading,
        collapse=known.collapse,
        note=look.note,
    )
