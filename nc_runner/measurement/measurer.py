"""One measurement of a network: an fp32 forward pass over each split, then all numbers of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nc_runner.collapse import (
    ClassStatistics,
    collapse_metrics,
    least_squares_classifier,
    mse_decomposition,
    mse_loss,
    nc1_numerical_rank,
    nc5_ood_orthogonality,
    ncc_accuracy,
    ncc_mismatch,
    snr_spectrum,
    wider_metrics,
)
from nc_runner.collapse.statistics import float64_blocks
from nc_runner.columns import OOD_COLUMN, snr_columns, wider_columns
from nc_runner.data.dataset import AnySplit, Dataset, Split
from nc_runner.distributed.group import ALONE, Processes
from nc_runner.measurement.custom import own_metrics
from nc_runner.measurement.layers import InnerLayers
from nc_runner.measurement.tables import Rows
from nc_runner.networks import Network
from nc_runner.training.devices import float32_products, float64_device, images_at_a_time

LossFunction = Callable[[Tensor, Tensor], Tensor]


class Responses(NamedTuple):
    """What a network makes of a split, or of this process's part: ``features`` (N, P), ``outputs`` (N, C)."""

    features: Tensor
    outputs: Tensor


def ridge_value(rule: str | float, num_classes: int, weight_decay: float) -> float:
    """lambda of the decomposition.

    Training minimises (2/C) * 1/2 Ave ‖V x - y‖^2 + (wd/2) ‖V‖^2, so its own ridge is C*wd/2 (``objective``);
    the authors' notebook takes wd/2 (``notebook``). A number is taken as it is.
    """
    if rule == "objective":
        return num_classes * weight_decay / 2
    return weight_decay / 2 if rule == "notebook" else float(rule)


@torch.inference_mode()
def respond(
    network: Network,
    dataset: Dataset,
    split: AnySplit,
    settings: dict[str, Any],
    pause: Callable[[], None],
    processes: Processes = ALONE,
) -> Responses:
    """One forward pass in eval mode, float32 with TF32 off, whatever the precision of training.

    Of several processes each passes its part. ``pause`` is called before each batch, equally often on all of
    them; it may raise to stop the measurement.
    """
    network.model.eval()
    own = processes.part(split)
    features, outputs = Rows(len(own)), Rows(len(own))
    at_a_time = images_at_a_time(dataset.image_size, split.device)
    # a process without a part passes one image, for the shapes, and keeps nothing of it
    source = own if len(own) else split.part(slice(0, 1))
    with float32_products(tf32=False):
        passes = 0
        for block in source.blocks(settings["analysis"]["batch_size"]):
            pause()
            passes += 1
            for images in torch.tensor_split(block, -(-len(block) // at_a_time)):
                batch = dataset.normalise(images, channels_last=settings["channels_last"])
                batch_outputs, batch_features = network.forward_with_features(batch)
                features.append(batch_features)
                outputs.append(batch_outputs)
        if processes.size > 1:
            for _ in range(passes, processes.passes(len(split))):
                pause()
    return Responses(features.table, outputs.table)


def measure(
    network: Network,
    dataset: Dataset,
    loss_function: LossFunction,
    settings: dict[str, Any],
    pause: Callable[[], None],
    layers: InnerLayers | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """All measured columns of a row; the caller adds epoch, lr and times. ``layers`` listen to both passes.

    With ``classifier=least_squares`` the last layer is first refitted to these train features. Of several
    ``processes`` each passes its part of both splits, and all of them return the whole row.
    """
    layers = layers or InnerLayers({})
    with layers.listen("train"):
        train = respond(network, dataset, dataset.train, settings, pause, processes)
    with layers.listen("test"):
        test = respond(network, dataset, dataset.test, settings, pause, processes)
    train_labels, test_labels = (processes.part(split).labels for split in (dataset.train, dataset.test))
    num_classes, classifier = dataset.num_classes, network.classifier
    stats = ClassStatistics(num_classes, classifier.in_features, float64_device(classifier.weight.device))
    stats.update(train.features, train_labels)
    stats = processes.merge(stats)
    ridge = ridge_value(settings["analysis"]["ridge"], num_classes, settings["weight_decay"])
    if settings["classifier"] == "least_squares":
        train, test = _refit(network, stats, ridge, train, test, settings, processes)
    weight, bias = classifier.weight.detach(), classifier.bias
    train_loss, train_accuracy, train_predicted = _fit(train, dataset.train, loss_function, processes)
    test_loss, test_accuracy, test_predicted = _fit(test, dataset.test, loss_function, processes)
    squares = _sum_of_squares(network.model.parameters())
    sampled = processes.mean(mse_loss(train.features, train_labels, weight, bias, ridge), len(train_labels))
    terms = mse_decomposition(stats, weight, bias, ridge)
    spectrum = snr_spectrum(stats).tolist()
    return {
        "train_loss": train_loss,
        "train_loss_regularized": train_loss + settings["weight_decay"] / 2 * squares,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        **collapse_metrics(stats, weight),
        "nc4_ncc_mismatch": processes.mean(
            ncc_mismatch(train.features, train_predicted, stats.means), len(train_labels)
        ),
        "test_nc4_ncc_mismatch": processes.mean(
            ncc_mismatch(test.features, test_predicted, stats.means), len(test_labels)
        ),
        **terms,
        "mse_total": sampled,
        "mse_residual": sampled - (terms["mse_nc1"] + terms["mse_nc23"] + terms["mse_perp"]),
        "ridge": ridge,
        **dict(zip(snr_columns(num_classes), spectrum, strict=True)),
        **_wider(network, dataset, settings, pause, stats, train.features, test.features, processes),
        **own_metrics(settings["analysis"], stats, weight, bias),
    }


def _wider(
    network: Network,
    dataset: Dataset,
    settings: dict[str, Any],
    pause: Callable[[], None],
    stats: ClassStatistics,
    train: Tensor,
    test: Tensor,
    processes: Processes,
) -> dict[str, float]:
    """The columns that ``analysis.metrics`` adds; ``train``, ``test``: this process's features (N, P)."""
    chosen = wider_columns(settings["analysis"]["metrics"], bool(settings["analysis"]["ood"]))
    weight, bias = network.classifier.weight.detach(), network.classifier.bias
    train_labels, test_labels = (processes.part(split).labels for split in (dataset.train, dataset.test))
    test_stats = ClassStatistics(stats.num_classes, stats.dim, stats.device)
    if {"test_nc1", "test_nc1_cdnv"} & set(chosen):
        test_stats.update(test, test_labels)
        test_stats = processes.merge(test_stats)

    def ood() -> float:
        if dataset.ood is None:
            raise ValueError(f"{OOD_COLUMN} needs a data set with out-of-distribution images")
        split = Split(dataset.ood, torch.zeros(len(dataset.ood), dtype=torch.int64))
        features = respond(network, dataset, split, settings, pause, processes).features
        blocks = float64_blocks(features, stats.num_classes, stats.device)
        total = processes.sum(torch.stack([block.sum(dim=0) for block in blocks]).sum(dim=0))
        return nc5_ood_orthogonality(stats.means, total / len(split))

    def numerical_rank() -> float:
        features, labels, classes = processes.by_class(train, train_labels, stats.num_classes)
        share = classes / stats.num_classes
        rank = nc1_numerical_rank(features, labels, classes) if classes else 0.0
        return float(processes.sum(torch.tensor(share * rank, dtype=torch.float64)))

    # What needs more than the train set's statistics; the rest is in wider_metrics.
    measures: dict[str, Callable[[], float]] = {
        "nc1_numerical_rank": numerical_rank,
        "ncc_accuracy": lambda: processes.mean(
            ncc_accuracy(train, train_labels, stats.means), len(train_labels)
        ),
        "test_ncc_accuracy": lambda: processes.mean(
            ncc_accuracy(test, test_labels, stats.means), len(test_labels)
        ),
        OOD_COLUMN: ood,
        "test_nc1": lambda: collapse_metrics(test_stats, weight)["nc1"],
        "test_nc1_cdnv": lambda: wider_metrics(test_stats, weight, bias, ["nc1_cdnv"])["nc1_cdnv"],
    }
    from_statistics = [name for name in chosen if name not in measures]
    row = wider_metrics(stats, weight, bias, from_statistics)
    return row | {name: measures[name]() for name in chosen if name in measures}


@torch.no_grad()
def _refit(
    network: Network,
    stats: ClassStatistics,
    ridge: float,
    train: Responses,
    test: Responses,
    settings: dict[str, Any],
    processes: Processes,
) -> tuple[Responses, Responses]:
    classifier = network.classifier
    weight, bias = least_squares_classifier(stats, ridge)
    classifier.weight.copy_(weight)
    if classifier.bias is not None:
        classifier.bias.copy_(bias)
    processes.align(classifier.parameters())
    with torch.inference_mode(), float32_products(tf32=False):
        for features, outputs in (train, test):
            size = settings["analysis"]["batch_size"]
            for h, out in zip(torch.split(features, size), torch.split(outputs, size), strict=True):
                out.copy_(classifier(h.to(classifier.weight.device)))
    return train, test


def _fit(
    responses: Responses, split: AnySplit, loss_function: LossFunction, processes: Processes
) -> tuple[float, float, Tensor]:
    """Mean loss over the split, accuracy, and predicted classes (N,) of this process's part."""
    outputs = processes.gather(responses.outputs, len(split))  # a loss need not be a mean over images
    labels = split.labels.to(outputs.device)
    correct = int((outputs.argmax(dim=1) == labels).sum())
    predicted = responses.outputs.argmax(dim=1)
    return float(loss_function(outputs, labels)), correct / len(split), predicted


def _sum_of_squares(parameters: Iterable[Tensor]) -> float:
    """Of all numbers of all parameters, in float64; waits for the device once."""
    there = [p.detach().to(float64_device(p.device)) for p in parameters]
    norms = [torch.linalg.vector_norm(p, dtype=torch.float64) for p in there]
    return float(torch.stack(norms).square().sum())
