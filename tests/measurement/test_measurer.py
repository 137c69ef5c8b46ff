from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.lab import few_images, trainer_of

from nc_runner.columns import TIME_COLUMNS, metric_columns, snr_columns, wider_columns
from nc_runner.data.dataset import Split
from nc_runner.errors import DivergedError
from nc_runner.measurement.losses import cross_entropy, mse
from nc_runner.measurement.measurer import ridge_value


def measurer_of(*overrides, **ingredients):
    return trainer_of(*overrides, **ingredients).measurer


def measured_and_reference(loss):
    """A row, and the same numbers by definition from the samples."""
    measurer = measurer_of("analysis.batch_size=20", dataset=few_images(count=47), loss=loss)
    row = measurer.measure().row
    network, data = measurer.network, measurer.dataset
    features, labels, outputs = {}, {}, {}
    for name, split in (("train", data.train), ("test", data.test)):
        samples = measurer.forward.respond(split)
        features[name], labels[name] = samples.features.double().numpy(), split.labels.numpy()
        outputs[name] = samples.outputs.double().numpy()
    W = network.classifier.weight.detach().double().numpy()
    b = network.classifier.bias.detach().double().numpy()
    h, y = features["train"], labels["train"]
    ridge = 10 * 5e-4 / 2
    expected = reference.collapse_metrics(h, y, W) | reference.mse_decomposition(h, y, W, b, ridge)
    means = reference.class_means(h, y, 10)
    for prefix, name in (("", "train"), ("test_", "test")):
        nearest = reference.nearest_class_mean(features[name], means)
        predicted = outputs[name].argmax(axis=1)
        expected[f"{prefix}nc4_ncc_mismatch"] = np.mean(nearest != predicted)
        expected[f"{name}_accuracy"] = np.mean(predicted == labels[name])
        out, one_hot = outputs[name], np.eye(10)[labels[name]]
        if loss is mse:
            expected[f"{name}_loss"] = np.mean((out - one_hot) ** 2)
        else:
            chosen = out[np.arange(len(out)), labels[name]]
            expected[f"{name}_loss"] = np.mean(np.log(np.exp(out).sum(axis=1)) - chosen)
    squares = sum((p.detach().double() ** 2).sum().item() for p in network.model.parameters())
    expected["train_loss_regularized"] = expected["train_loss"] + 5e-4 / 2 * squares
    expected["ridge"] = ridge
    return row, expected, (h, y)


@pytest.mark.parametrize("loss", [mse, cross_entropy])
def test_a_row_equals_the_definitions_on_the_samples(loss):
    row, expected, _ = measured_and_reference(loss)
    for name, value in expected.items():
        tolerance = 1e-5 if "loss" in name else 1e-9  # losses are float32 means of the network's own outputs
        assert row[name] == pytest.approx(value, rel=tolerance, abs=1e-12), name
    assert abs(row["mse_residual"]) < 1e-10 * row["mse_total"]


def test_the_wider_columns_equal_the_definitions_on_the_samples():
    dataset = few_images(count=47)
    dataset = replace(dataset, ood=few_images(count=33, num_classes=3).train.images)
    overrides = ("analysis.metrics=all", "analysis.ood=fashionmnist", "analysis.batch_size=20")
    measurer = measurer_of(*overrides, dataset=dataset)
    network, data = measurer.network, measurer.dataset
    row = measurer.measure().row

    def features(split):
        return measurer.forward.respond(split).features.double().numpy()

    W, b = (part.detach().double().numpy() for part in network.classifier.parameters())
    h, y, test, test_y = (
        features(data.train),
        data.train.labels,
        features(data.test),
        data.test.labels.numpy(),
    )
    expected = reference.wider_metrics(h, y.numpy(), W, b)
    means = reference.class_means(h, y.numpy(), 10)
    expected["test_ncc_accuracy"] = np.mean(reference.nearest_class_mean(test, means) == test_y)
    expected["test_nc1"] = reference.nc1(test, test_y, 10)
    expected["test_nc1_cdnv"] = reference.nc1_cdnv(test, test_y, 10)
    expected["test_effective_rank"] = reference.effective_rank(test, test_y, 10)
    ood = features(Split(data.ood, torch.zeros(33)))
    expected["nc5_ood_orthogonality"] = reference.nc5_ood_orthogonality(h, y.numpy(), 10, ood)
    assert expected.keys() == set(wider_columns("all", ood=True))
    assert set(row) | {"epoch", "lr", *TIME_COLUMNS} == set(metric_columns(10, tuple(expected)))
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-7, abs=1e-12), name


def test_responses_are_the_networks_eval_mode_outputs_and_last_layer_features():
    measurer = measurer_of("analysis.batch_size=20", dataset=few_images(count=47))
    network, data = measurer.network, measurer.dataset
    responses = measurer.forward.respond(data.train)
    network.model.eval()
    with torch.no_grad():
        outputs = network.model((data.train.images.float() / 255 - 0.5) / 0.5)
    assert torch.allclose(responses.outputs, outputs, atol=1e-5)
    W, b = network.classifier.weight.detach(), network.classifier.bias.detach()
    assert torch.allclose(responses.features @ W.T + b, outputs, atol=1e-5)


def test_a_row_has_every_column_but_those_that_training_adds():
    row, _, (h, y) = measured_and_reference(mse)
    assert {*row, "epoch", "lr", *TIME_COLUMNS} == set(metric_columns(10))
    # 10 features after ReLU and 47 samples: the reference's inverse square root loses a few digits
    expected = reference.snr_spectrum(h, y, 10)
    np.testing.assert_allclose([row[c] for c in snr_columns(10)], expected, rtol=1e-7)


def test_one_forward_pass_over_each_split():
    measurer = measurer_of("analysis.batch_size=20", dataset=few_images(count=47))
    seen, pauses = [], []
    measurer.network.model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    measurer.measure(lambda: pauses.append(len(seen)))
    assert seen == [20, 20, 7, 10]
    assert pauses == [0, 1, 2, 3]  # one before each batch


def test_large_images_go_through_the_network_a_few_at_a_time_on_a_cpu():
    measurer = measurer_of("net=resnet8", dataset=few_images(size=64, count=20))
    seen = []
    measurer.network.model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    measurer.forward.respond(measurer.dataset.train)
    assert seen == [10, 10]


def test_measuring_changes_neither_weights_nor_random_state():
    measurer = measurer_of()
    before = {name: value.clone() for name, value in measurer.network.model.state_dict().items()}
    random_state = torch.get_rng_state()
    measurer.measure()
    assert torch.get_rng_state().equal(random_state)
    assert all(value.equal(before[name]) for name, value in measurer.network.model.state_dict().items())


def test_batch_size_of_the_measurement_does_not_matter():
    rows = [
        measurer_of(f"analysis.batch_size={n}", dataset=few_images(count=47)).measure().row
        for n in (1, 16, 1000)
    ]
    assert rows[0] == pytest.approx(rows[2], rel=1e-4, abs=1e-6)
    assert rows[1] == pytest.approx(rows[2], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("classifier", ["gradient", "least_squares"])
def test_a_callers_autocast_changes_no_bit_of_a_measurement(classifier):
    overrides = (
        "net=resnet8",
        f"classifier={classifier}",
        "analysis.metrics=all",
        "analysis.layers=[layer1]",
    )
    plain, inside = measurer_of(*overrides), measurer_of(*overrides)
    expected = plain.measure(with_layers=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        measurement = inside.measure(with_layers=True)
        samples = inside.forward.respond(inside.dataset.train)
    assert samples.features.dtype == samples.outputs.dtype == torch.float32
    assert measurement == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["hidden", "classifier"])
def test_features_and_outputs_that_are_not_finite_are_a_divergence(place, value):
    measurer = measurer_of("analysis.metrics=all")
    with torch.no_grad():
        measurer.network.model.get_submodule(place).bias[3] = value
        if place == "hidden":
            measurer.network.model.norm = torch.nn.Identity()  # it would hide it in the statistics of its own
    with pytest.raises(DivergedError, match="features or outputs are not finite"):
        measurer.measure()


def test_the_precision_of_training_changes_no_bit_of_a_measurement():
    rows = []
    for precision in ("fp32", "tf32", "bf16"):
        trainer = trainer_of("net=resnet8", f"precision={precision}")
        seen = []
        trainer.network.classifier.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append(torch.backends.cudnn.allow_tf32)
        )
        rows.append(trainer.measurer.measure().row)
        assert seen == [False, False]
    assert rows[0] == rows[1] == rows[2]


def test_the_ridge_rules():
    assert ridge_value("objective", 10, 5e-4) == pytest.approx(2.5e-3)
    assert ridge_value("notebook", 10, 5e-4) == pytest.approx(2.5e-4)
    assert ridge_value(0.5, 10, 5e-4) == 0.5
    assert ridge_value(0, 10, 5e-4) == 0


def test_the_objectives_ridge_is_where_mse_training_with_weight_decay_rests():
    """A converged linear layer, trained by nn.MSELoss and weight decay, is the least-squares classifier."""
    from nc_runner.collapse import ClassStatistics, least_squares_classifier

    torch.manual_seed(0)
    h, y, wd = torch.randn(60, 4, dtype=torch.float64), torch.arange(60) % 3, 0.05
    layer = torch.nn.Linear(4, 3).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, weight_decay=wd)
    for _ in range(3000):
        optimizer.zero_grad()
        mse(layer(h), y).backward()
        optimizer.step()
    stats = ClassStatistics(3, 4)
    stats.update(h, y)
    weight, bias = least_squares_classifier(stats, ridge_value("objective", 3, wd))
    assert torch.allclose(layer.weight, weight, atol=1e-10)
    assert torch.allclose(layer.bias, bias, atol=1e-10)
