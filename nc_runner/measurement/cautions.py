"""What to beware of in a measurement: few samples, labels not shifted, coarse features."""

from __future__ import annotations

import torch
from torch import Tensor

from nc_runner.collapse import ClassStatistics
from nc_runner.collapse.metrics import principal_directions
from nc_runner.measurement.batches import IGNORED, Batch

BIAS_TO_TELL = 0.05  # a share of NC1


def nc1_bias(stats: ClassStatistics) -> float:
    """By which share NC1 is about too low, because the class means are those of few samples.

    With n samples of a class, the within-class covariance is (n - 1)/n of that of the class, and its mean is
    off by Tr(Sigma_W)/n in square, which makes the class means seem further apart: along a direction of the
    means with singular value s, and E ‖error‖^2 = Tr(Sigma_W)/n for each class, s^2 grows to about
    s^2 + Tr(Sigma_W)/n. Both make NC1 smaller:

        measured / true = (1 - 1/n) (1 - mean over directions of Tr(Sigma_W) / (n s^2)), s as measured,

    with the harmonic mean of the class sizes for n. docs/measure.md compares it with simulations: it is right
    to about a tenth up to a half, and too small beyond.

    The statistics must hold samples of all classes.
    """
    n = float(1 / (1 / stats.counts).mean())
    s, _ = principal_directions(stats.centred_means)
    if not len(s):
        return 0.0
    errors = float(stats.within_covariance.diagonal().sum()) / n / s.square()
    kept = (1 - 1 / n) * (1 - errors.clamp(max=1)).mean()
    return 1 - float(kept)


def cautions(stats: ClassStatistics) -> list[str]:
    """What to beware of in the numbers of these statistics, in a line each."""
    found = []
    absent = int((stats.counts == 0).sum())
    if absent:
        found.append(
            f"{absent} of {stats.num_classes} classes have no samples, so most numbers are NaN; "
            "min_samples=1 leaves such classes out"
        )
    elif (bias := nc1_bias(stats)) > BIAS_TO_TELL:
        smallest = int(stats.counts.min())
        size = (
            f"about {bias:.0%} too low"
            if bias < 0.5
            else "less than half of what it would be with many samples"
        )
        found.append(
            f"NC1 is {size}: class means of few samples (smallest class: {smallest}) "
            "seem further apart than they are"
        )
    if stats.total - stats.num_classes < stats.dim:
        found.append(
            f"{stats.total:.0f} samples are too few for {stats.dim} features: the within-class covariance "
            "has directions without variance, so L_LS fits the samples too well and the signal-to-noise "
            "spectrum may be infinite"
        )
    return found


def unshifted(batch: Batch) -> list[str]:
    """What to beware of in token labels that are the inputs themselves, of a batch measured without shift."""
    labels = batch.labels
    if labels is None or labels.ndim < 2 or not bool((counted := labels != IGNORED).any()):
        return []
    for tokens in (*batch.args, *batch.kwargs.values()):
        if (
            isinstance(tokens, Tensor)
            and not tokens.is_floating_point()
            and tokens.shape == labels.shape
            and bool((tokens == labels.to(tokens.device))[counted.to(tokens.device)].all())
        ):
            return ["labels look like the input ids themselves: shift=True measures next-token prediction"]
    return []


def coarse(dtype: torch.dtype, which: str = "the model computes in") -> list[str]:
    """What to beware of in features of this dtype; ``which``: what has it."""
    if (eps := torch.finfo(dtype).eps) <= torch.finfo(torch.float32).eps:
        return []
    return [
        f"{which} {str(dtype)[6:]}: numbers are rounded to {eps:.0e} of their size, which "
        "hides deep collapse; measure model.float()"
    ]
