import contextlib
import math

import pytest
import torch
from helpers.lab import Listening, few_images, rows_of, settings_of, trainer_of
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from nc_runner.columns import TIME_COLUMNS
from nc_runner.errors import DivergedError
from nc_runner.measurement.losses import cross_entropy, mse
from nc_runner.measurement.measurer import MeasurementPlan, Measurer
from nc_runner.networks import Network, resnet
from nc_runner.training.run import build_trainer
from nc_runner.training.trainer import Trainer


def without_times(rows):
    """As text, of which NaN equals NaN, and which has every bit."""
    return [{key: repr(value) for key, value in row.items() if key not in TIME_COLUMNS} for row in rows]


def test_a_step_is_torchs_sgd_on_the_normalised_images():
    """One epoch by hand: the same order, MSELoss on one-hot targets, momentum, weight decay on everything."""
    trainer, by_hand = trainer_of("epochs=1"), trainer_of("epochs=1")
    rows_of(trainer)
    model, data = by_hand.network.model, by_hand.dataset
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    model.train()
    trainer_of("epochs=1")  # brings the dropout's generator to where the trainer began
    for index in order[:30].split(5):
        images = (data.train.images[index].float() / 255 - 0.5) / 0.5
        loss = torch.nn.MSELoss()(
            model(images), torch.nn.functional.one_hot(data.train.labels[index], 10).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(trainer.network.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_learning_rate_drops_after_the_milestones():
    trainer = trainer_of("epochs=350", "lr=0.05")
    assert [trainer.lr_at(epoch) for epoch in (1, 116, 117, 233, 234, 350)] == pytest.approx(
        [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    )
    rows = rows_of(trainer_of("epochs=4", "lr_milestones=[2]", "lr_gamma=0.5", "lr=0.2"))
    assert [row["lr"] for row in rows] == [0.2, 0.2, 0.1, 0.1]


def test_the_last_incomplete_batch_is_dropped():
    trainer = trainer_of("epochs=1", dataset=few_images(count=13))
    steps = []
    rows_of(trainer, on_step=lambda: steps.append(trainer.step))
    assert max(steps) == 2  # 13 images in batches of 5


def test_rows_come_for_the_analysed_epochs_alone():
    rows = rows_of(trainer_of("epochs=6", "analysis.schedule=[1,4]"))
    assert [row["epoch"] for row in rows] == [1, 4, 6]
    assert all(row["train_seconds"] > 0 < row["analysis_seconds"] for row in rows)


@pytest.mark.parametrize("classifier", ["gradient", "least_squares"])
def test_epoch_0_is_the_network_before_the_first_step_and_moves_no_other_row(classifier):
    overrides = ("epochs=3", f"classifier={classifier}", "analysis.metrics=all", "analysis.batch_size=20")
    initial = trainer_of(*overrides).measurer.measure().row
    plain = rows_of(trainer_of(*overrides))
    begun, passes = trainer_of(*overrides, "analysis.schedule=[0,1,2,3]"), []
    respond = begun.measurer.forward.respond
    object.__setattr__(begun.measurer.forward, "respond", lambda *a: passes.append(1) or respond(*a))
    rows = rows_of(begun)
    assert without_times(rows[1:]) == without_times(plain)
    assert len(passes) == 2 * 4  # both splits once: a refit at the start is the measurement
    first = rows[0]
    assert math.isnan(first["lr"])
    assert (first["epoch"], first["train_seconds"]) == (0, 0.0)
    assert first["analysis_seconds"] > 0 < rows[1]["train_seconds"]
    assert {key: first[key] for key in initial} == initial


def test_a_network_that_is_not_finite_at_initialisation_is_said_to_be():
    trainer = trainer_of("epochs=3", "analysis.schedule=[0]")
    with torch.no_grad():
        trainer.network.classifier.weight.fill_(math.nan)
    with pytest.raises(DivergedError, match=r"not finite at initialisation, before the first step\n"):
        rows_of(trainer)


@pytest.mark.parametrize("loss", [mse, cross_entropy])
def test_training_learns(loss):
    rows = rows_of(trainer_of("epochs=60", "+net.width=64", loss=loss))
    assert rows[-1]["train_accuracy"] == 1.0
    assert rows[-1]["nc1"] < rows[0]["nc1"] / 2


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    first, again, other = (rows_of(trainer_of("epochs=3", f"seed={seed}")) for seed in (1, 1, 2))
    assert without_times(first) == without_times(again)
    assert without_times(first) != without_times(other)


@pytest.mark.parametrize(
    "optimizer",
    [
        (),
        ("optimizer=nesterov", "lr_schedule=cosine"),
        ("optimizer=adam", "decay.bias=0", "decay.norm=0", "lr_schedule=constant"),
        ("optimizer=adamw", "lr_schedule=cosine", "lr_warmup_epochs=2"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("stop_at", [0, 1, 5, 6, 7, 9, 17, 25])
def test_a_run_restored_at_any_step_or_measurement_goes_on_to_the_same_bit(stop_at, optimizer):
    class Stop(Exception):
        pass

    overrides = ("epochs=3", "analysis.batch_size=20", *optimizer)
    whole = rows_of(trainer_of(*overrides))
    interrupted, calls = trainer_of(*overrides), 0

    def on_step():
        nonlocal calls
        calls += 1
        if calls > stop_at:
            raise Stop

    listener = Listening(on_step)
    with pytest.raises(Stop):
        interrupted.run(listener)
    state = {
        key: value.copy() if isinstance(value, dict) else value for key, value in interrupted.state().items()
    }
    torch.manual_seed(99)
    resumed = trainer_of(*overrides, "seed=0")
    resumed.restore(state)
    assert without_times(listener.rows + rows_of(resumed)) == without_times(whole)


def test_a_loss_that_is_not_finite_ends_training_with_epoch_rate_and_advice():
    with pytest.raises(DivergedError, match=r"epoch [1-9].*lr=1e\+08\ntry a smaller .*lr=3.3e\+07"):
        rows_of(trainer_of("epochs=50", "lr=1e8"))


def exploding(lr, *overrides):
    """A trainer whose only step makes the weights huge: its loss, of before the step, is finite."""
    return trainer_of("epochs=1", "batch_size=32", f"lr={lr}", *overrides)


@pytest.mark.parametrize("classifier", ["gradient", "least_squares"])
@pytest.mark.parametrize("net", ["net=resnet8", "net=vgg6"])
def test_a_divergence_at_an_epochs_last_step_is_one(net, classifier):
    trainer = exploding(1e30, net, f"classifier={classifier}", "analysis.metrics=all")
    with pytest.raises(DivergedError, match=r"epoch 1, at lr=1e\+30"):
        rows_of(trainer)
    assert trainer.step == trainer.steps == 1  # it was no step that found it


@pytest.mark.parametrize("power", range(3, 36, 4))
def test_huge_weights_give_a_row_or_a_divergence_and_nothing_else(power):
    with contextlib.suppress(DivergedError):
        (row,) = rows_of(exploding(f"1e{power}", "analysis.metrics=all"))
        assert math.isfinite(row["train_loss_regularized"])


def test_on_the_central_path_the_classifier_is_the_least_squares_one_after_every_epoch():
    trainer = trainer_of("epochs=5", "classifier=least_squares", "analysis.schedule=[2,5]")
    before = trainer.network.model.hidden.weight.detach().clone()
    rows = rows_of(trainer)
    assert [row["epoch"] for row in rows] == [2, 5]
    assert all(row["mse_perp"] < 1e-10 * row["mse_total"] for row in rows)
    assert not trainer.network.model.hidden.weight.equal(before)
    gradient = rows_of(trainer_of("epochs=5"))[-1]
    assert gradient["mse_perp"] > 1e-4 * gradient["mse_total"]


def test_bf16_training_follows_float32_training():
    exact, coarse = rows_of(trainer_of("epochs=5")), rows_of(trainer_of("epochs=5", "precision=bf16"))
    assert coarse[-1]["train_loss"] != exact[-1]["train_loss"]
    assert math.isclose(coarse[-1]["train_loss"], exact[-1]["train_loss"], rel_tol=0.1)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("loss", [mse, cross_entropy])
def test_no_step_asks_for_a_value_of_a_tensor(loss, precision, monkeypatch):
    """On tensors without values: where a GPU would be waited for there is none to give, and torch says so."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)
    settings = settings_of("net=resnet8", "epochs=1", "batch_size=5", f"precision={precision}")
    steps = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        data = few_images(count=32).to("cpu")
        model = resnet(8, num_classes=10, in_channels=1, image_size=8)
        measurer = Measurer(Network(model, model.fc), data, loss, MeasurementPlan())
        trainer = Trainer(settings, measurer, [1], torch.device("cpu"))
        with pytest.raises(DataDependentOutputException):  # whether the loss is finite: once, after the steps
            trainer.run(Listening(lambda: steps.append(trainer.step)))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert trainer.epoch == 0


@pytest.mark.gpu
def test_no_synchronisation_inside_an_epoch_on_a_gpu():
    settings = settings_of("net=resnet8", "epochs=1", "batch_size=5")
    dataset = few_images(count=32).to("cuda")
    gpu = build_trainer(settings, dataset, torch.device("cuda"))

    def on_step():
        if gpu.step == 1:
            torch.cuda.set_sync_debug_mode("error")
        if gpu.step == gpu.steps:
            torch.cuda.set_sync_debug_mode("default")

    rows_of(gpu, on_step)
