"""The numbers of a row, from what the forward passes gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    mse_decomposition,
    mse_loss,
    ncc_mismatch,
    snr_spectrum,
)
from nc_runner.columns import snr_columns
from nc_runner.distributed.group import Group
from nc_runner.measurement.forward import Samples

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (outputs (B, C), labels (B,)) -> mean loss


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the numbers of a row are computed from.

    ``train``, ``test``: this rank's samples. ``stats``: of the train features of all ranks. ``weight``
    (C, P), ``bias`` (C,) or None: the classifier. ``ood_features`` gives this rank's features (M, P) of
    out-of-distribution images.
    """

    train: Samples
    test: Samples
    stats: ClassStatistics
    weight: Tensor
    bias: Tensor | None
    ood_features: Callable[[], Tensor]
    group: Group

    @cached_property
    def test_stats(self) -> ClassStatistics:
        """Of the test features of all ranks."""
        stats = ClassStatistics(self.stats.num_classes, self.stats.dim, self.stats.device)
        stats.update(self.test.features, self.test.labels)
        return self.group.merge(stats)


def core_row(inputs: Inputs, ridge: float, loss_function: LossFunction) -> dict[str, float]:
    """The columns of every run, but for those that are known without samples."""
    train, test, stats, group = inputs.train, inputs.test, inputs.stats, inputs.group
    train_loss, train_accuracy, train_predicted = _fit(train, loss_function, group)
    test_loss, test_accuracy, test_predicted = _fit(test, loss_function, group)
    sampled = mse_loss(train.features, train.labels, inputs.weight, inputs.bias, ridge)
    sampled = group.mean(sampled, len(train))
    terms = mse_decomposition(stats, inputs.weight, inputs.bias, ridge)
    spectrum = snr_spectrum(stats).tolist()
    mismatch = ncc_mismatch(train.features, train_predicted, stats.means)
    test_mismatch = ncc_mismatch(test.features, test_predicted, stats.means)
    return {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        **collapse_metrics(stats, inputs.weight),
        "nc4_ncc_mismatch": group.mean(mismatch, len(train)),
        "test_nc4_ncc_mismatch": group.mean(test_mismatch, len(test)),
        **terms,
        "mse_total": sampled,
        "mse_residual": sampled - (terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"]),
        "ridge": ridge,
        **dict(zip(snr_columns(stats.num_classes), spectrum, strict=True)),
    }


def _fit(samples: Samples, loss_function: LossFunction, group: Group) -> tuple[float, float, Tensor]:
    """Mean loss over the whole split, accuracy, and the classes predicted for this rank's samples (N,)."""
    outputs = group.gather(samples.outputs)  # a loss need not be a mean over images
    labels = group.gather(samples.labels).to(outputs.device)
    correct = int((outputs.argmax(dim=1) == labels).sum())
    return float(loss_function(outputs, labels)), correct / len(labels), samples.outputs.argmax(dim=1)
