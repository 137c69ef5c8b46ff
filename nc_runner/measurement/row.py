"""The numbers of a row, from what the forward passes gave."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    least_squares_classifier,
    mse_decomposition,
    mse_loss,
    ncc_mismatch,
    snr_spectrum,
)
from nc_runner.collapse.ridges import Ridge
from nc_runner.columns import snr_columns
from nc_runner.distributed.group import Group
from nc_runner.measurement.samples import Fit, Samples

CLASSIFIER_COLUMNS = (  # those that do not exist without a classifier, nor does the fit of its outputs
    "nc2_equinorm_classifier", "nc2_equiangular_classifier", "nc2_maxangle_classifier", "nc3_self_duality",
    "mse_total", "mse_perp", "mse_residual", "perp_share", "path_distance",
)  # fmt: skip
DECOMPOSITION_COLUMNS = (  # those that do not exist without a ridge
    "mse_total", "mse_ls", "mse_nc1", "mse_nc23", "mse_perp", "perp_share", "path_distance", "mse_residual",
    "ridge",
)  # fmt: skip
_NO_FIT = Fit(math.nan, math.nan, torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the numbers of a row are computed from.

    ``train``, ``test``: this rank's samples, no test samples where there is no test set. ``stats``: of the
    train features of all ranks. ``weight`` (C, P), ``bias`` (C,) or None: the classifier, no weight where
    there is none. ``ood_features`` gives this rank's features (M, P) of out-of-distribution images.
    ``target``: output that the loss asks of the true class, in place of 1.
    """

    train: Samples
    test: Samples | None
    stats: ClassStatistics
    weight: Tensor | None
    bias: Tensor | None
    ood_features: Callable[[], Tensor]
    group: Group
    target: float = 1.0

    @cached_property
    def test_stats(self) -> ClassStatistics:
        """Of the test features of all ranks."""
        if self.test is None:
            raise ValueError("there are no test samples")
        stats = ClassStatistics(self.stats.num_classes, self.stats.dim, self.stats.device)
        stats.update(self.test.features, self.test.labels)
        return self.group.merge(stats)


def core_row(
    inputs: Inputs, ridge: Ridge | None, train_fit: Fit | None, test_fit: Fit | None
) -> dict[str, float]:
    """The columns of every run, but for those that are known without samples.

    A fit is None where there is no classifier or no such split; what cannot be known then is NaN, and so is
    the decomposition where there is no ridge.
    """
    train, test, stats, group = inputs.train, inputs.test, inputs.stats, inputs.group
    weight, bias = inputs.weight, inputs.bias
    if weight is None:  # any classifier will do for the other columns
        weight, bias = least_squares_classifier(stats, 0.0 if ridge is None else ridge)
    row = {
        "train_loss": (train_fit or _NO_FIT).loss,
        "train_accuracy": (train_fit or _NO_FIT).accuracy,
        "test_loss": (test_fit or _NO_FIT).loss,
        "test_accuracy": (test_fit or _NO_FIT).accuracy,
        **collapse_metrics(stats, weight),
        "nc4_ncc_mismatch": math.nan if train_fit is None else _mismatch(train, train_fit, stats, group),
        "test_nc4_ncc_mismatch": math.nan
        if test is None or test_fit is None
        else _mismatch(test, test_fit, stats, group),
        **decomposition(inputs, weight, bias, ridge),
        **dict(zip(snr_columns(stats.num_classes), snr_spectrum(stats).tolist(), strict=True)),
    }
    return row if inputs.weight is not None else row | dict.fromkeys(CLASSIFIER_COLUMNS, math.nan)


def decomposition(
    inputs: Inputs, weight: Tensor, bias: Tensor | None, ridge: Ridge | None
) -> dict[str, float]:
    """The terms of the MSE with targets M y: M^2 times those of V/M with targets y."""
    if ridge is None:
        return dict.fromkeys(DECOMPOSITION_COLUMNS, math.nan)
    M, train = inputs.target, inputs.train
    if M != 1:
        weight, bias = weight.double() / M, None if bias is None else bias.double() / M
    sampled = math.nan
    if inputs.weight is not None:
        sampled = mse_loss(train.features, train.labels, weight, bias, ridge)
        sampled = M**2 * inputs.group.mean(sampled, len(train))
    terms = mse_decomposition(inputs.stats, weight, bias, ridge)
    terms |= {name: M**2 * term for name, term in terms.items() if name.startswith("mse_")}
    return terms | {
        "mse_total": sampled,
        "mse_residual": sampled - (terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"]),
        "ridge": ridge[0] if isinstance(ridge, tuple) else ridge,
    }


def _mismatch(samples: Samples, fit: Fit, stats: ClassStatistics, group: Group) -> float:
    return group.mean(ncc_mismatch(samples.features, fit.predicted, stats.means), len(samples))
