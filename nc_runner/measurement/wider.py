"""The wider columns that need more than the train set's class statistics and the classifier.

Each is a function of the name of its column, of :class:`Inputs`. The others are in ``nc_runner.collapse``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from nc_runner import collapse
from nc_runner.collapse.statistics import float64_blocks
from nc_runner.columns import WIDER_COLUMNS
from nc_runner.measurement.row import Inputs


def wider_row(inputs: Inputs, names: Sequence[str]) -> dict[str, float]:
    """The wider columns of these names. Raises ValueError for a name that no function has."""
    row = collapse.wider_metrics(
        inputs.stats, inputs.weight, inputs.bias, [name for name in names if name not in MEASURES]
    )
    return row | {name: MEASURES[name](inputs) for name in names if name in MEASURES}


def nc1_numerical_rank(inputs: Inputs) -> float:
    """See :func:`nc_runner.collapse.nc1_numerical_rank`; each rank computes some of the classes."""
    group, train, num_classes = inputs.group, inputs.train, inputs.stats.num_classes
    owners = train.labels % group.world_size
    features, labels = group.exchange(train.features, owners), group.exchange(train.labels, owners)
    classes = len(range(group.rank, num_classes, group.world_size))
    rank = 0.0
    if classes:
        rank = collapse.nc1_numerical_rank(features, labels // group.world_size, classes)
    share = classes / num_classes
    return float(group.sum(torch.tensor(share * rank, dtype=torch.float64)))


def ncc_accuracy(inputs: Inputs) -> float:
    """See :func:`nc_runner.collapse.ncc_accuracy`, of the train set."""
    train = inputs.train
    accuracy = collapse.ncc_accuracy(train.features, train.labels, inputs.stats.means)
    return inputs.group.mean(accuracy, len(train))


def test_ncc_accuracy(inputs: Inputs) -> float:
    """See :func:`nc_runner.collapse.ncc_accuracy`, of the test set with the train set's class means."""
    test = inputs.test
    accuracy = collapse.ncc_accuracy(test.features, test.labels, inputs.stats.means)
    return inputs.group.mean(accuracy, len(test))


def nc5_ood_orthogonality(inputs: Inputs) -> float:
    """See :func:`nc_runner.collapse.nc5_ood_orthogonality`."""
    features, stats, group = inputs.ood_features(), inputs.stats, inputs.group
    blocks = float64_blocks(features, stats.num_classes, stats.device)
    total = group.sum(torch.stack([block.sum(dim=0) for block in blocks]).sum(dim=0))
    count = group.sum(torch.tensor(len(features)))
    return collapse.nc5_ood_orthogonality(stats.means, total / int(count))


def test_nc1(inputs: Inputs) -> float:
    """NC1 of the test features and their own class means."""
    return collapse.collapse_metrics(inputs.test_stats, inputs.weight)["nc1"]


def test_nc1_cdnv(inputs: Inputs) -> float:
    """nc1_cdnv of the test features and their own class means."""
    row = collapse.wider_metrics(inputs.test_stats, inputs.weight, inputs.bias, ["nc1_cdnv"])
    return row["nc1_cdnv"]


MEASURES: dict[str, Callable[[Inputs], float]] = {
    name: function for name, function in globals().items() if name in WIDER_COLUMNS
}
