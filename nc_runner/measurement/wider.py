"""The wider columns that need more than the train set's class statistics and the classifier.

Each is a function of the name of its column, of :class:`Inputs`. The others are in ``nc_runner.collapse``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from nc_runner import collapse
from nc_runner.collapse.statistics import float64_blocks
from nc_runner.columns import WIDER_COLUMNS
from nc_runner.measurement.row import Inputs


def wider_row(inputs: Inputs, names: Sequence[str]) -> dict[str, float]:
    """The wider columns of these names, NaN where one needs a classifier and there is none.

    Raises ValueError for a name that no function has, or for one that needs samples that are not there.
    """
    of_statistics = [name for name in names if name not in MEASURES]
    if inputs.weight is None:
        absent = [name for name in of_statistics if collapse.needs_classifier(name)]
        row = dict.fromkeys(absent, math.nan)
        of_statistics = [name for name in of_statistics if name not in absent]
        row |= collapse.wider_metrics(inputs.stats, inputs.stats.means, None, of_statistics)
    else:
        row = collapse.wider_metrics(inputs.stats, inputs.weight, inputs.bias, of_statistics)
    row |= {name: MEASURES[name](inputs) for name in names if name in MEASURES}
    return {name: row[name] for name in names}


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
    if test is None:
        raise ValueError("test_ncc_accuracy needs test samples")
    accuracy = collapse.ncc_accuracy(test.features, test.labels, inputs.stats.means)
    return inputs.group.mean(accuracy, len(test))


def feature_norm(inputs: Inputs) -> float:
    """See :func:`nc_runner.collapse.feature_norm`, of the train set."""
    train = inputs.train
    return inputs.group.mean(collapse.feature_norm(train.features), len(train))


def nc5_ood_orthogonality(inputs: Inputs) -> float:
    """See :func:`nc_runner.collapse.nc5_ood_orthogonality`."""
    features, stats, group = inputs.ood_features(), inputs.stats, inputs.group
    blocks = float64_blocks(features, stats.num_classes, stats.device)
    total = group.sum(torch.stack([block.sum(dim=0) for block in blocks]).sum(dim=0))
    count = group.sum(torch.tensor(len(features)))
    return collapse.nc5_ood_orthogonality(stats.means, total / int(count))


def test_nc1(inputs: Inputs) -> float:
    """NC1 of the test features and their own class means."""
    return collapse.collapse_metrics(inputs.test_stats, inputs.test_stats.means)["nc1"]


def test_nc1_cdnv(inputs: Inputs) -> float:
    """nc1_cdnv of the test features and their own class means."""
    stats = inputs.test_stats
    return collapse.wider_metrics(stats, stats.means, None, ["nc1_cdnv"])["nc1_cdnv"]


def test_effective_rank(inputs: Inputs) -> float:
    """effective_rank of the test features and their own class means."""
    stats = inputs.test_stats
    return collapse.wider_metrics(stats, stats.means, None, ["effective_rank"])["effective_rank"]


MEASURES: dict[str, Callable[[Inputs], float]] = {
    name: function for name, function in globals().items() if name in WIDER_COLUMNS
}
