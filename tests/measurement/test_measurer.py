from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.lab import few_images, settings_of, trainer_of

from nc_runner.columns import TIME_COLUMNS, metric_columns, snr_columns, wider_columns
from nc_runner.data.dataset import Split
from nc_runner.measurement.measurer import measure, respond, ridge_value
from nc_runner.training.devices import images_at_a_time
from nc_runner.training.losses import cross_entropy, mse


def measured_and_reference(loss):
    """A row, and the same numbers by definition from the samples."""
    trainer = trainer_of(dataset=few_images(count=47), loss=loss)
    settings = settings_of("analysis.batch_size=20")
    row = measure(trainer.network, trainer.dataset, loss, settings, lambda: None)
    network, data = trainer.network, trainer.dataset
    features, labels, outputs = {}, {}, {}
    for name, split in (("train", data.train), ("test", data.test)):
        h, out = respond(network, data, split, settings, lambda: None)
        features[name], labels[name] = h.double().numpy(), split.labels.numpy()
        outputs[name] = out.double().numpy()
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
    trainer = trainer_of(dataset=dataset)
    settings = settings_of("analysis.metrics=all", "analysis.ood=fashionmnist", "analysis.batch_size=20")
    network, data = trainer.network, trainer.dataset
    row = measure(network, data, mse, settings, lambda: None)

    def features(split):
        return respond(network, data, split, settings, lambda: None).features.double().numpy()

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
    ood = features(Split(data.ood, torch.zeros(33)))
    expected["nc5_ood_orthogonality"] = reference.nc5_ood_orthogonality(h, y.numpy(), 10, ood)
    assert expected.keys() == set(wider_columns(settings["analysis"]))
    assert set(row) | {"epoch", "lr", *TIME_COLUMNS} == set(metric_columns(10, tuple(expected)))
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-7, abs=1e-12), name


def test_responses_are_the_networks_eval_mode_outputs_and_last_layer_features():
    trainer = trainer_of(dataset=few_images(count=47))
    network, data = trainer.network, trainer.dataset
    responses = respond(network, data, data.train, settings_of("analysis.batch_size=20"), lambda: None)
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


def test_one_forward_pass_over_each_split(monkeypatch):
    trainer = trainer_of(dataset=few_images(count=47))
    seen = []
    trainer.network.model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    settings = settings_of("analysis.batch_size=20")
    pauses = []
    measure(trainer.network, trainer.dataset, mse, settings, lambda: pauses.append(len(seen)))
    assert seen == [20, 20, 7, 10]
    assert pauses == [0, 1, 2, 3]  # one before each batch


def test_large_images_go_through_the_network_a_few_at_a_time_on_a_cpu():
    trainer = trainer_of("net=resnet8", dataset=few_images(size=64, count=20))
    seen = []
    trainer.network.model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    respond(trainer.network, trainer.dataset, trainer.dataset.train, trainer.settings, lambda: None)
    assert seen == [10, 10]
    sizes = (8, 28, 32, 96, 224)
    assert [images_at_a_time(size, torch.device("cpu")) for size in sizes] == [512, 83, 64, 16, 16]
    assert images_at_a_time(224, torch.device("cuda")) > 512


def test_measuring_changes_neither_weights_nor_random_state():
    trainer = trainer_of()
    before = {name: value.clone() for name, value in trainer.network.model.state_dict().items()}
    random_state = torch.get_rng_state()
    measure(trainer.network, trainer.dataset, mse, trainer.settings, lambda: None)
    assert torch.get_rng_state().equal(random_state)
    assert all(value.equal(before[name]) for name, value in trainer.network.model.state_dict().items())


def test_batch_size_of_the_measurement_does_not_matter():
    trainer = trainer_of(dataset=few_images(count=47))
    rows = [
        measure(trainer.network, trainer.dataset, mse, settings_of(f"analysis.batch_size={n}"), lambda: None)
        for n in (1, 16, 1000)
    ]
    assert rows[0] == pytest.approx(rows[2], rel=1e-4, abs=1e-6)
    assert rows[1] == pytest.approx(rows[2], rel=1e-4, abs=1e-6)


def test_bf16_training_leaves_the_measurement_in_float32():
    trainer = trainer_of("precision=bf16")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
        responses = respond(
            trainer.network, trainer.dataset, trainer.dataset.train, trainer.settings, lambda: None
        )
    assert responses.features.dtype == responses.outputs.dtype == torch.float32


def test_the_precision_of_training_changes_no_bit_of_a_measurement():
    rows = []
    for precision in ("fp32", "tf32", "bf16"):
        trainer = trainer_of("net=resnet8", f"precision={precision}")
        seen = []
        trainer.network.classifier.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append(torch.backends.cudnn.allow_tf32)
        )
        rows.append(measure(trainer.network, trainer.dataset, mse, trainer.settings, lambda: None))
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
