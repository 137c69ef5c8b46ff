"""Sufficient statistics of last-layer features: class counts, means and spreads, within-class scatter."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nc_runner.collapse.checks import check_features, check_labels

EPS64 = torch.finfo(torch.float64).eps
ROWS = 8192  # features converted to float64 at a time, at most
CELLS = 2**20  # numbers of a table with one column for each class that are held at a time
CACHED_CELLS = 2**19  # float64 numbers, 4 MiB: such a block of features stays in a CPU's cache
FEWEST_ROWS = 256
STRIP = 128  # rows of a symmetric product that are computed at a time
FEWEST_CACHED_ROWS = 512  # below this many rows a product X^T X of blocks is slower than one of all
ROWS_PER_CLASS = 10  # a block's class means cost a product too: so it is at most a tenth of that of its rows


def rows_at_a_time(width: int) -> int:
    """How many rows of ``width`` numbers make a block: at most ROWS, about CELLS numbers, and not too few:
    a matrix product of few rows waits for memory."""
    return max(FEWEST_ROWS, min(ROWS, CELLS // max(width, 1)))


def feature_rows(dim: int, device: torch.device) -> int:
    """How many rows of features (B, P) are worked on at a time: few on a CPU, which has a cache to keep."""
    return min(ROWS, max(CACHED_CELLS // dim, FEWEST_CACHED_ROWS)) if device.type == "cpu" else ROWS


def float64_blocks(features: Tensor, classes: int, device: torch.device) -> Iterator[Tensor]:
    """``features`` (N, P) in float64 on ``device``, in blocks (B, P) so small that (B, ``classes``) is too.

    The blocks share their memory: each is gone when the next one comes, and may be changed.
    """
    count, dim = features.shape
    size = min(feature_rows(dim, device), rows_at_a_time(max(classes, dim)), max(count, 1))
    memory = torch.empty(size, dim, dtype=torch.float64, device=device)
    for part in torch.split(features.detach(), size):
        yield memory[: len(part)].copy_(part)


def _add_upper(total: Tensor, rows: Tensor) -> None:
    """Add the upper triangle of X^T X, X = ``rows`` (B, P), to that of ``total`` (P, P); not all below it.

    Strip by strip, from each one's diagonal on: 3/4 of the time of the whole product at P = 512, 2/3 at 1024.
    """
    for start in range(0, len(total), STRIP):
        strip = slice(start, start + STRIP)
        total[strip, start:].addmm_(rows[:, strip].T, rows[:, start:])


class ClassStatistics:
    """Counts, means, spreads and pooled within-class scatter of C classes of features in R^P, in float64.

    Memory is O(P^2 + C P) whatever the number of samples. Batches are combined by the update of
    Chan, Golub & LeVeque (1983), which never subtracts large squares from each other: a one-pass
    E[x^2] - E[x]^2 loses all digits in deep collapse. A class mean is held as its first sample plus a
    small offset: differences of samples and means of one class are then exact but for the last digit of the
    difference itself, and parts merged in any order agree to 1e-12 however deep the collapse.

    Args:
        num_classes: C, at least 2.
        dim: P, the number of features.
        device: where the statistics live; the features' device by default (the CPU for MPS, which has no
            float64).
        resolution: how coarse the features are, as :attr:`resolution` says; by default as their dtype. To be
            given for float64 features that hold values rounded to another dtype.

    >>> stats = ClassStatistics(num_classes=2, dim=1)
    >>> stats.update(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> stats.update(torch.tensor([[5.0], [5.0]]), torch.tensor([1, 0]))
    >>> stats.means.tolist(), stats.within_covariance.tolist()
    ([[3.0], [5.0]], [[2.0]])
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        device: torch.device | str | None = None,
        resolution: float | None = None,
    ) -> None:
        if num_classes < 2 or dim < 1:
            raise ValueError(f"at least 2 classes and 1 feature are needed, not {num_classes} and {dim}")
        if resolution is not None and not 0 < resolution < 1:
            raise ValueError(f"the resolution must be a number between 0 and 1, not {resolution}")
        self.num_classes = num_classes
        self.dim = dim
        self._device = None if device is None else torch.device(device)
        self._counts = torch.zeros(num_classes, dtype=torch.float64, device=self._device)
        self._spreads = torch.zeros_like(self._counts)  # sums of ‖h - mu_y‖^2
        self._anchors = torch.zeros(
            num_classes, dim, dtype=torch.float64, device=self._device
        )  # first samples
        self._offsets = torch.zeros_like(self._anchors)  # class means less anchors
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64, device=self._device)
        self._given = resolution is not None
        self._resolution = torch.full_like(self._counts[:1], resolution or EPS64)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch: ``features`` (B, P) of any floating dtype, ``labels`` (B,) of integers in 0..C-1.

        Raises ValueError when a shape or a label does not fit, and for features that are NaN, infinite or
        above 1e150 in size; nothing of the batch is then added.
        """
        check_features(features, self.dim)
        check_labels(labels, len(features), self.num_classes)
        self._settle(features.device)
        labels = labels.detach().to(self.device, torch.int64)
        if not self._given:
            self._resolution.clamp_(min=torch.finfo(features.dtype).eps)
        size = max(feature_rows(self.dim, self.device), min(ROWS, ROWS_PER_CLASS * self.num_classes))
        # Two blocks of memory for all: to ask for new ones takes longer than to work on them.
        memory = self._scatter.new_empty(2, min(size, len(labels)), self.dim)
        for h, y in zip(torch.split(features.detach(), size), torch.split(labels, size), strict=True):
            centred, of_rows = memory[:, : len(y)]
            centred.copy_(h)
            classes, y = torch.unique(y, return_inverse=True)
            counts = torch.bincount(y, minlength=len(classes)).to(torch.float64)
            rows = torch.arange(len(y), device=self.device)
            first = rows.new_full(classes.shape, len(y)).scatter_reduce_(0, y, rows, "amin")
            known = self._counts[classes] > 0
            anchors = self._anchors[classes].where(known[:, None], centred[first])
            centred -= torch.index_select(anchors, 0, y, out=of_rows)
            offsets = torch.zeros_like(anchors).index_add_(0, y, centred) / counts[:, None]
            centred -= torch.index_select(offsets, 0, y, out=of_rows)
            _add_upper(self._scatter, centred)
            squares = torch.mul(centred, centred, out=of_rows).sum(dim=1)
            spreads = torch.zeros_like(counts).index_add_(0, y, squares)
            self._absorb(classes, counts, anchors, offsets, spreads)
        self._scatter.copy_(self._scatter.triu() + self._scatter.triu(1).T)

    def merge(self, other: ClassStatistics) -> None:
        """Add the samples that ``other`` has seen. Exact but for rounding, in any order.

        Raises ValueError when C or P differ.
        """
        if (other.num_classes, other.dim) != (self.num_classes, self.dim):
            raise ValueError("only statistics of the same number of classes and features can be merged")
        self._settle(other.device)
        self._resolution = self._resolution.maximum(other._resolution.to(self.device))
        classes = (other._counts > 0).nonzero()[:, 0]
        of_classes = (other._counts, other._anchors, other._offsets, other._spreads)
        counts, anchors, offsets, spreads = (part[classes].to(self.device) for part in of_classes)
        self._scatter += other._scatter.to(self.device)
        self._absorb(classes.to(self.device), counts, anchors, offsets, spreads)

    def _absorb(
        self, classes: Tensor, counts: Tensor, anchors: Tensor, offsets: Tensor, spreads: Tensor
    ) -> None:
        """Add samples of the K classes in ``classes`` (K,), given by their own statistics; the scatter around
        their own means has been added before."""
        before = self._counts[classes]
        self._anchors[classes] = self._anchors[classes].where((before > 0)[:, None], anchors)
        shift = (anchors - self._anchors[classes]) + (offsets - self._offsets[classes])
        share = counts / (before + counts)
        weighted = shift * (before * share)[:, None]
        self._scatter.addmm_(shift.T, weighted)
        self._spreads[classes] += spreads + (shift * weighted).sum(dim=1)
        self._offsets[classes] += shift * share[:, None]
        self._counts[classes] = before + counts

    def _settle(self, device: torch.device) -> None:
        if self._device is None:
            self._device = torch.device("cpu") if device.type == "mps" else device
            for name in ("_counts", "_anchors", "_offsets", "_spreads", "_scatter", "_resolution"):
                setattr(self, name, getattr(self, name).to(self._device))

    @property
    def device(self) -> torch.device:
        return self._counts.device

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that the statistics hold, in float64: filled with those of another object they are its copy."""
        return self._counts, self._anchors, self._offsets, self._spreads, self._scatter, self._resolution

    @property
    def counts(self) -> Tensor:
        """(C,) samples of each class, float64."""
        return self._counts

    @property
    def complete(self) -> bool:
        """Whether every class has a sample; without, most numbers of the class means do not exist."""
        return bool((self._counts > 0).all())

    @property
    def total(self) -> float:
        """N, the number of samples."""
        return float(self._counts.sum())

    @property
    def means(self) -> Tensor:
        """(C, P) class means mu_c; NaN for a class without samples."""
        return (self._anchors + self._offsets).where((self._counts > 0)[:, None], torch.nan)

    @property
    def global_mean(self) -> Tensor:
        """(P,) mu_G, the mean of the class means (not of the samples: they differ for unequal classes)."""
        return self.means.mean(dim=0)

    @property
    def centred_means(self) -> Tensor:
        """(C, P) mu_c - mu_G, the transpose of the paper's M-dot."""
        means = self.means
        return means - means.mean(dim=0)

    @property
    def within_covariance(self) -> Tensor:
        """(P, P) Sigma_W = Ave_i (h_i - mu_y)(h_i - mu_y)^T over all samples; NaN without samples."""
        return self._scatter / self._counts.sum()

    @property
    def within_traces(self) -> Tensor:
        """(C,) V_c = Ave_{i in c} ‖h_i - mu_c‖^2 of each class; NaN for a class without samples."""
        return self._spreads / self._counts

    @property
    def resolution(self) -> float:
        """How coarse the features are, as a share of their size.

        The machine epsilon of the coarsest dtype that was added (1.2e-7 for float32), or the number that was
        given. Merging keeps the coarser.
        """
        return float(self._resolution)
