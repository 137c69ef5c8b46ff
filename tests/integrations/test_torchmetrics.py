"""The torchmetrics metric: the columns of one pass over all samples, on any number of processes."""

import copy
import json
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.launched import TORCHRUN
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

import nc_runner
from nc_runner.collapse import ClassStatistics
from nc_runner.errors import ConfigError, MeasurementError
from nc_runner.integrations.torchmetrics import NeuralCollapse

TESTS = Path(__file__).parents[1]
CLASSES, DIM = 4, 6


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(DIM, CLASSES)

    def forward(self, x):
        return self.fc(x)


@pytest.fixture
def samples():
    """A model, features that are its inputs, and labels; 97 of them."""
    torch.manual_seed(0)
    labels = torch.arange(97) % CLASSES
    return Net(), torch.randn(97, DIM) + 2 * torch.eye(CLASSES, DIM)[labels], labels


def filled(model, features, labels, size=20, **options):
    metric = NeuralCollapse(CLASSES, DIM, model.fc, **options)
    for h, y in zip(features.split(size), labels.split(size), strict=True):
        metric.update(h, y)
    return metric


def numbers(columns):
    return {name: float(value) for name, value in columns.items()}


@pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")
def test_the_columns_are_those_of_measure(samples):
    model, features, labels = samples
    row = nc_runner.measure(
        model,
        [(features, labels)],
        metrics="all",
        weight_decay=1e-2,
        custom={"norm": lambda s, w, b: w.norm()},
    ).row
    metric = filled(
        *samples, keep_features=True, metrics="all", weight_decay=1e-2,
        custom={"norm": lambda s, w, b: w.norm()},
    )  # fmt: skip
    columns = numbers(metric.compute())
    expected = {name for name in row if not name.startswith(("train_", "test_"))}
    assert set(columns) == expected - {"epoch", "lr", "analysis_seconds"}
    assert columns == pytest.approx({name: row[name] for name in columns}, rel=1e-9, abs=1e-12, nan_ok=True)


def test_the_collapse_is_that_of_the_definition(samples):
    model, features, labels = samples
    h, weight = features.double().numpy(), model.fc.weight.detach().double().numpy()
    expected = reference.collapse_metrics(h, labels.numpy(), weight)
    columns = numbers(filled(*samples).compute())
    assert {name: columns[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_without_features_what_needs_them_is_left_out_and_the_total_comes_from_the_statistics(samples):
    lean = numbers(filled(*samples, metrics="all").compute())
    whole = numbers(filled(*samples, keep_features=True, metrics="all").compute())
    left_out = {"nc4_ncc_mismatch", "mse_residual", "nc1_numerical_rank", "ncc_accuracy", "feature_norm"}
    assert set(whole) - set(lean) == left_out
    assert lean == pytest.approx({name: whole[name] for name in lean}, rel=1e-9, nan_ok=True)


def test_without_a_classifier_its_columns_are_left_out(samples):
    _, features, labels = samples
    metric = NeuralCollapse(CLASSES, DIM)
    metric.update(features, labels)
    columns = numbers(metric.compute())
    assert not {"nc3_self_duality", "mse_perp", "nc4_ncc_mismatch"} & set(columns)
    assert columns["nc1"] == pytest.approx(numbers(filled(*samples).compute())["nc1"])
    assert columns["mse_ls"] > 0


def test_a_function_gives_the_classifier_of_today(samples):
    model, features, labels = samples
    metric = NeuralCollapse(CLASSES, DIM, lambda: (model.fc.weight, None))
    metric.update(features, labels)
    before = numbers(metric.compute())
    with torch.no_grad():
        model.fc.weight.mul_(2).add_(1)
    metric.update(features[:1], labels[:1])  # a value is kept until the next update
    assert numbers(metric.compute())["nc3_self_duality"] != pytest.approx(before["nc3_self_duality"])


def test_nc4_goes_by_the_outputs_where_they_are_given(samples):
    model, features, labels = samples
    metric = NeuralCollapse(CLASSES, DIM, model.fc, keep_features=True)
    other = nn.functional.one_hot((labels + 1) % CLASSES).float()
    metric.update(features[:50], labels[:50], other[:50])
    metric.update(features[50:], labels[50:])
    nearest = reference.nearest_class_mean(
        features.double().numpy(), reference.class_means(features.double().numpy(), labels.numpy(), CLASSES)
    )
    predicted = torch.cat([other[:50], model(features[50:])]).argmax(1).numpy()
    assert float(metric.compute()["nc4_ncc_mismatch"]) == pytest.approx(np.mean(nearest != predicted))


def test_reset_clone_pickle_and_merge(samples):
    model, features, labels = samples
    whole = numbers(filled(*samples).compute())
    first, second = filled(model, features[:30], labels[:30]), filled(model, features[30:], labels[30:])
    merged = first.clone()
    merged.merge_state(second)
    assert numbers(merged.compute()) == pytest.approx(whole, rel=1e-12, abs=1e-14)
    assert merged._classifier.classifier is model.fc
    revived = pickle.loads(pickle.dumps(first))
    assert numbers(revived.compute()) == numbers(first.compute())
    first.reset()
    assert first.statistics.equal(NeuralCollapse(CLASSES, DIM).statistics)
    first.update(features, labels)
    assert numbers(first.compute()) == pytest.approx(whole, rel=1e-12, abs=1e-14)


def test_the_copy_of_a_model_with_its_metric_has_its_own_classifier(samples):
    model = samples[0]
    model.metric = filled(*samples)
    twin = copy.deepcopy(model)
    assert twin.metric._classifier.classifier is twin.fc
    assert list(model.state_dict()) == ["fc.weight", "fc.bias"]  # the metric adds no parameter


def test_the_statistics_stay_in_float64_whatever_the_model_is_cast_to(samples):
    model = samples[0]
    model.metric = filled(*samples, keep_features=True)
    expected = model.metric.statistics.clone()
    model.half().to(torch.bfloat16).float()
    model.metric.set_dtype(torch.float16).half().to(torch.float16)
    assert model.metric.statistics.dtype == torch.float64
    assert model.metric.statistics.equal(expected)
    model.metric.reset()
    assert model.metric.statistics.dtype == torch.float64


def test_a_persistent_metric_is_saved_whole(samples, tmp_path):
    metric = filled(*samples)
    assert not metric.state_dict()
    metric.persistent(True)
    torch.save(metric.state_dict(), tmp_path / "metric.pt")
    restored = NeuralCollapse(CLASSES, DIM, samples[0].fc)
    restored.persistent(True)
    restored.load_state_dict(torch.load(tmp_path / "metric.pt"))
    assert restored.statistics.equal(metric.statistics)


def test_forward_gives_the_batch_and_adds_it(samples):
    model, features, labels = samples
    metric = NeuralCollapse(CLASSES, DIM, model.fc, keep_features=True)
    batch = numbers(metric(features[:40], labels[:40]))
    assert batch == pytest.approx(
        numbers(filled(model, features[:40], labels[:40], keep_features=True).compute()), abs=1e-12
    )
    metric(features[40:], labels[40:])
    whole = numbers(filled(*samples, keep_features=True).compute())
    assert numbers(metric.compute()) == pytest.approx(whole, rel=1e-12, abs=1e-14)


def test_updates_may_come_in_inference_mode_and_out_of_it(samples):
    model, features, labels = samples
    metric = NeuralCollapse(CLASSES, DIM, model.fc)
    with torch.inference_mode():
        metric.reset()
        metric.update(features[:50], labels[:50])
    metric.update(features[50:], labels[50:])
    assert numbers(metric.compute()) == pytest.approx(numbers(filled(*samples).compute()), abs=1e-12)


def test_it_works_in_a_collection_beside_other_metrics(samples):
    model, features, labels = samples
    collection = MetricCollection(
        {
            "nc": NeuralCollapse(CLASSES, DIM, model.fc),
            "accuracy": MulticlassAccuracy(CLASSES, average="micro"),
        },
        prefix="val/",
    )
    for h, y in zip(features.split(20), labels.split(20), strict=True):
        collection.update(features=h, labels=y, preds=model(h), target=y)
    found = collection.compute()
    assert float(found["val/nc1"]) == pytest.approx(float(filled(*samples).compute()["nc1"]))
    assert 0 < float(found["val/accuracy"]) < 1


def test_half_precision_features_are_known_to_be_coarse(samples):
    model, features, labels = samples
    metric = NeuralCollapse(CLASSES, DIM, model.fc)
    metric.update(features.bfloat16(), labels)
    stats = ClassStatistics(CLASSES, DIM)
    stats.update(features.bfloat16(), labels)
    assert float(metric.statistics[-1]) == stats.resolution == torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["ncc_accuracy"]}, "give keep_features=True"),
        ({"metrics": ["test_nc1"]}, "needs test features"),
        ({"metrics": ["nc1_cdnw"]}, "did you mean nc1_cdnv"),
        ({"ridge": "none"}, "ridge=none is unknown"),
    ],
)
def test_wrong_options_say_what_to_give(options, message):
    with pytest.raises((ConfigError, MeasurementError), match=message):
        NeuralCollapse(CLASSES, DIM, **options)


def test_outputs_of_another_shape_are_an_error(samples):
    _, features, labels = samples
    with pytest.raises(ValueError, match="outputs must have shape"):
        NeuralCollapse(CLASSES, DIM).update(features, labels, features)


@pytest.mark.slow
def test_two_processes_merge_to_what_one_has(tmp_path):
    """One of them has far more samples than the other, and in the end one has none."""
    out = tmp_path / "columns.json"
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", "-m", "helpers.metric_on_ranks", out],
        cwd=TESTS, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = json.loads(out.read_text())
    assert len(cases) == 6
    for case, (alone, *ranks) in cases.items():
        assert ranks[0] == ranks[1], case
        assert ranks[0] == pytest.approx(alone, rel=1e-12, abs=1e-14, nan_ok=True), case
