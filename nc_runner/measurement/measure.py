"""``nc_runner.measure``: the row of metrics.csv for any model and any batches."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from nc_runner.config.plugins import reason
from nc_runner.errors import MeasurementError, MeasurementWarning
from nc_runner.measurement.batches import IGNORED, Batch
from nc_runner.measurement.batchnorm import recomputed
from nc_runner.measurement.capture import Capture, SplitCollector
from nc_runner.measurement.cautions import coarse, unshifted
from nc_runner.measurement.custom import CustomMetric
from nc_runner.measurement.features import Features, FeaturesPlan, chosen_columns, measure_features
from nc_runner.measurement.layers import InnerLayers, find_layers
from nc_runner.measurement.losses import LOSSES
from nc_runner.measurement.measurer import sum_of_squares
from nc_runner.measurement.objective import Objective
from nc_runner.measurement.result import Measurement
from nc_runner.measurement.samples import LossFunction
from nc_runner.measurement.undisturbed import undisturbed
from nc_runner.networks.finding import check_linear, chosen_classifier, find_classifier, unwrapped


def measure(
    model: nn.Module,
    batches: Iterable[object],
    *,
    test: Iterable[object] | None = None,
    ood: Iterable[object] | None = None,
    metrics: str | Sequence[str] = "core",
    custom: Mapping[str, CustomMetric] | None = None,
    layers: Sequence[str] = (),
    classifier: nn.Module | str | None = None,
    loss: str | LossFunction = "ce",
    ridge: str | float = "objective",
    weight_decay: float = 0.0,
    objective: Objective | None = None,
    min_samples: int | None = None,
    shift: bool = False,
    batchnorm: str | Iterable[object] = "running",
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Measurement:
    """Measure the Neural Collapse of a model: one pass over the batches, in eval mode, in its own precision.

    The model is left as it was: its modes, hooks, gradients, buffers and device, and the random state.

    Args:
        model: ends in a linear layer, whose output it returns: as a tensor, as ``.logits``, or as the first
            entry of a tuple. What is inside DataParallel, DistributedDataParallel or torch.compile is
            measured.
        batches: of the train set: (x, y), tuples with more, or dicts with ``labels``. Labels are integers in
            0..C-1, one for each feature vector that the classifier sees; samples labelled -100 are left out.
            Iterated once.
        test: batches of the test set; without, its columns are NaN.
        ood: batches of out-of-distribution data, whose labels do not matter, for nc5_ood_orthogonality.
        metrics: ``core``, ``all`` that the data allow, or a list of further columns (docs/metrics.md).
        custom: custom metrics, column -> function of (stats, weight, bias).
        layers: inner layers to measure too: names or globs of modules, as ``analysis.layers`` has them.
        classifier: the last linear layer, as a module or by its name; by default it is found. Its own output
            is then what counts, whatever the model makes of it.
        loss: of train_loss and test_loss: ``ce``, ``mse``, or a function (outputs, labels) -> mean loss.
        ridge: lambda of the decomposition: a number; ``objective``, the one that training with MSE loss and
            this weight decay asks for, C * weight_decay / 2; or ``notebook``, weight_decay / 2.
        weight_decay: of the training, for ``ridge`` and train_loss_regularized.
        objective: what training asks of the last layer, where that is not MSE with this weight decay: see
            :class:`nc_runner.measurement.objective.Objective`.
        min_samples: measure only the classes that have so many train samples; losses and accuracies are of
            all samples. By default a class without samples makes most numbers NaN.
        shift: labels (B, T) are the inputs of a language model: each position's label is the next token.
        batchnorm: statistics of batch norm: ``running``, or ``recomputed`` for the current weights, by a pass
            over the train batches before the measurement, which iterates them twice; or batches of which
            they are computed. They should be shuffled, and of training's size: docs/metrics.md.
        device: where to compute; by default where the model is. It is moved there, and back.
        progress: show a progress bar on stderr.

    Returns:
        ``row``: the columns of metrics.csv, NaN for those that are not known (epoch, lr, train_seconds);
        ``layers``: the lines of layers.csv; ``cautions``: what to beware of, also given as warnings.

    Raises:
        MeasurementError: the model has no such layer, or it fails; batches, labels or shapes do not fit; a
            feature is not finite; or an argument is invalid.
        ConfigError: a pattern of ``layers`` finds nothing that can be measured.
    """
    began = time.perf_counter()
    wider = chosen_columns(metrics, test=test is not None, ood=ood is not None)
    plan = FeaturesPlan(wider, custom or {}, ridge, weight_decay, min_samples, objective)
    if layers and min_samples is not None:
        raise MeasurementError(
            "layers and min_samples cannot be combined\nmeasure the layers in a call without it"
        )
    for name, given in (("train", batches), ("test", test), ("ood", ood)):
        _check_iterable(name, given)
    check_batchnorm(batchnorm, batches)
    loss_function = loss_of(loss)
    inner = unwrapped(model)
    with undisturbed(inner, device) as place, _statistics(inner, batchnorm, batches, place):
        first, batches = _peeked(batches)
        probe = _Probe(inner, first.few().to(place))
        layer = chosen_classifier(inner, classifier) if classifier is not None else probe.find()
        check_linear(inner, layer, probe)
        capture = Capture(inner, layer, place, shift)
        inner_layers = find_layers(
            inner, [layers] if isinstance(layers, str) else layers, probe, probe.count, "layers"
        )
        train = SplitCollector(capture, "train", loss_function)
        with inner_layers.listen("train"):
            train.collect(_shown(batches, "train", progress))
        tested, other = None, None
        if test is not None:
            collector = SplitCollector(capture, "test", loss_function)
            with inner_layers.listen("test"):
                collector.collect(_shown(test, "test", progress))
            tested = collector.split()
        if ood is not None:
            collector = SplitCollector(capture, "ood", None)
            collector.collect(_shown(ood, "ood", progress))
            other = collector.features
        features = Features(
            train.split(), tested, layer.out_features, layer.weight.detach().clone(),
            None if layer.bias is None else layer.bias.detach().clone(), other, train.resolution,
        )  # fmt: skip
        measured = measure_features(features, plan)
        rows = _layer_rows(inner_layers, features)
    row = dict(measured.row)
    penalty = weight_decay / 2 * sum_of_squares(inner.parameters())
    row["train_loss_regularized"] = row["train_loss"] + penalty
    row["analysis_seconds"] = time.perf_counter() - began
    found = (*measured.cautions, *([] if shift else unshifted(first)), *coarse(train.dtype))
    for caution in found:
        warnings.warn(caution, MeasurementWarning, stacklevel=2)
    return Measurement(row, rows, found, measured.title)


def loss_of(loss: str | LossFunction) -> LossFunction:
    """The loss of this name, or the function itself, whose errors become MeasurementErrors.

    Raises MeasurementError for another name, and for what is no function.
    """
    if callable(loss):
        function = loss

        def checked(outputs: Tensor, labels: Tensor) -> Tensor:
            try:
                return torch.tensor(float(function(outputs, labels)), dtype=torch.float64)
            except Exception as error:  # a custom function may raise anything
                raise MeasurementError(
                    f"the loss failed with {reason(error)}\n"
                    "it gets outputs (B, C) and labels (B,), and returns their mean loss"
                ) from error

        return checked
    if loss not in LOSSES:
        raise MeasurementError(
            f"loss={loss} is unknown\ngive ce, mse, or a function (outputs, labels) -> mean loss"
        )
    return LOSSES[loss]


def check_batchnorm(batchnorm: str | Iterable[object], batches: Iterable[object] = ()) -> None:
    """Raise MeasurementError for an unknown choice, and for batches that cannot be iterated as it asks."""
    if not isinstance(batchnorm, str):
        _check_iterable("batchnorm", batchnorm)
    elif batchnorm not in ("running", "recomputed"):
        raise MeasurementError(
            f"batchnorm={batchnorm} is unknown\ngive running, recomputed, or batches to compute statistics of"
        )
    elif batchnorm == "recomputed" and isinstance(batches, Iterator):
        raise MeasurementError(
            "batchnorm=recomputed iterates the train batches twice, and an iterator is then used up\n"
            "give a list or DataLoader"
        )


@contextmanager
def _statistics(
    model: nn.Module, batchnorm: str | Iterable[object], batches: Iterable[object], place: torch.device
) -> Iterator[None]:
    """Inside, the model's batch norms have the statistics that ``batchnorm`` asks for."""
    if batchnorm == "running":
        yield
        return
    chosen = batches if isinstance(batchnorm, str) else batchnorm

    def passes() -> Iterator[Callable[[], object]]:
        for number, raw in enumerate(chosen, start=1):
            yield partial(_pass, model, Batch.of(raw, labelled=False), place, number)

    with recomputed(model, passes()):
        yield


def _pass(model: nn.Module, batch: Batch, place: torch.device, number: int) -> object:
    try:
        return batch.to(place).call(model)
    except Exception as error:  # a model may raise anything
        raise MeasurementError(
            f"batch norm's statistics cannot be computed: the model fails on batch {number}: {reason(error)}"
        ) from error


class _Probe:
    """Calls a model with a few samples, to learn how it is built."""

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        self.model = model
        self.batch = batch
        self.count = batch.count

    def __call__(self) -> object:
        try:
            return self.batch.call(self.model)
        except Exception as error:  # a model may raise anything
            raise MeasurementError(f"the model fails on the first batch: {reason(error)}") from error

    def find(self) -> nn.Linear:
        return find_classifier(self.model, self)


def _check_iterable(name: str, batches: object) -> None:
    if batches is None and name != "train":
        return
    # what is indexed only, as a data set, can be iterated too
    if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        raise MeasurementError(
            f"the {name} batches are an object of type {type(batches).__name__}\n"
            "give a list of batches or a DataLoader"
        )


def _peeked(batches: Iterable[object]) -> tuple[Batch, Iterable[object]]:
    """The first batch with samples, and all batches: what is iterated twice may be another draw, or gone."""
    try:
        size = len(batches)  # type: ignore[arg-type]
    except TypeError:
        size = None
    iterator, taken = iter(batches), []
    for raw in iterator:
        taken.append(raw)
        labels = (first := Batch.of(raw)).labels
        if labels is None or len(labels):  # of an empty batch nothing can be learnt
            return first, _Sized(itertools.chain(taken, iterator), size)
    raise MeasurementError(
        f"there are no train {'samples' if taken else 'batches'}\n"
        "give a list or DataLoader; an iterator that was used before is empty"
    )


class _Sized:
    """An iterable that may know its length, for the progress bar."""

    def __init__(self, batches: Iterable[object], size: int | None) -> None:
        self.batches = batches
        self.size = size

    def __iter__(self) -> Iterator[object]:
        return iter(self.batches)


def _shown(batches: Iterable[object], name: str, progress: bool) -> Iterable[object]:
    """The batches, with a bar on stderr while they are iterated."""
    if not progress:
        return batches
    from rich.console import Console
    from rich.progress import track

    size = batches.size if isinstance(batches, _Sized) else getattr(batches, "__len__", lambda: None)()
    return track(batches, f"{name} batches", size, transient=True, console=Console(stderr=True))


def _layer_rows(layers: InnerLayers, features: Features) -> list[dict[str, float | str]]:
    if not layers.modules:
        return []
    labels = {"train": features.train.samples.labels}
    if features.test is not None:
        labels["test"] = features.test.samples.labels
    for split, of_split in labels.items():  # a layer has one feature vector for each sample, labelled or not
        if (count := layers.count(split)) != len(of_split):
            raise MeasurementError(
                f"layers: there are {len(of_split)} {split} labels for {count} samples\n"
                f"each sample needs one label of its own, and no {IGNORED}"
            )
    return layers.rows(labels["train"], labels.get("test"), features.num_classes)
