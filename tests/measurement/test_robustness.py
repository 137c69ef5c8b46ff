"""analysis.robustness: DeepFool's distances, and that training does not notice."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.lab import TinyNetwork, few_images, rows_of, settings_of, trainer_of
from torch import nn

from nc_runner.columns import TIME_COLUMNS
from nc_runner.config.identity import folder_name, identity
from nc_runner.data.dataset import load_dataset
from nc_runner.errors import ConfigError, TrainingError
from nc_runner.measurement.robustness import deepfool, relative_norms


def reference_deepfool(model, x, candidates=10, steps=50, overshoot=0.02):
    """One input (1, ...) at a time, as the paper's algorithm says, with each class's own gradient."""
    order = model(x).detach().flatten().argsort(descending=True)[:candidates].tolist()
    first, total = order[0], torch.zeros_like(x)
    for _ in range(steps):
        moved = (x + (1 + overshoot) * total).requires_grad_()
        outputs = model(moved).flatten()
        if int(outputs.argmax()) != first:
            break
        gradients = {k: torch.autograd.grad(outputs[k], moved, retain_graph=True)[0] for k in order}
        steps_to = []
        for k in order[1:]:
            w, f = gradients[k] - gradients[first], (outputs[k] - outputs[first]).item()
            steps_to.append((abs(f) / float(w.norm()), abs(f) / float(w.norm()) ** 2 * w))
        total = total + min(steps_to, key=lambda pair: pair[0])[1]
    return (1 + overshoot) * total


def linear_distances(layer, x):
    W, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    found = []
    for one in x.numpy():
        z = W @ one + b
        top = int(z.argmax())
        found.append(min((z[top] - z[c]) / np.linalg.norm(W[top] - W[c]) for c in range(len(z)) if c != top))
    return np.array(found)


def inputs(count, *shape, seed=0):
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_of_a_linear_network_it_is_the_exact_distance_and_the_overshoot(classes):
    torch.manual_seed(0)
    layer, x = nn.Linear(20, classes).double(), inputs(30, 20)
    r = deepfool(layer, x)
    np.testing.assert_allclose(r.norm(dim=1).numpy() / 1.02, linear_distances(layer, x), rtol=1e-12)
    assert (layer(x + r).argmax(dim=1) != layer(x).argmax(dim=1)).all()


def test_each_input_of_a_batch_gets_what_the_algorithm_finds_for_it_alone():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(180, 12), nn.Tanh(),
        nn.Linear(12, 12),
    ).double()  # fmt: skip
    x = 3 * inputs(40, 1, 8, 8)
    r = deepfool(model, x)
    steps = 0
    for one, found in zip(x, r, strict=True):
        expected = reference_deepfool(model, one[None])[0]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        steps += not torch.allclose(reference_deepfool(model, one[None], steps=1)[0], expected)
    assert steps > 10  # more than one step was needed
    assert (model(x + r).argmax(dim=1) != model(x).argmax(dim=1)).all()


def test_only_the_candidates_are_considered():
    layer = nn.Linear(4, 4).double()
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.0, 100.0])))
        layer.bias.copy_(torch.tensor([3.0, 1.0, 0.0, -1.0]))  # the last is nearest, and has the least output
    x = torch.zeros(1, 4, dtype=torch.float64)
    assert float(deepfool(layer, x).norm()) == pytest.approx(1.02 * 4 / math.sqrt(1 + 100**2))
    two = 1.02 * 2 / math.sqrt(2)
    assert float(deepfool(layer, x, candidates=2).norm()) == pytest.approx(two)
    assert float(deepfool(layer, x, candidates=3).norm()) == pytest.approx(two)


def test_an_input_whose_decision_stays_has_what_the_steps_came_to():
    class Rough(nn.Module):
        """Linear by its gradient, but its decision never changes."""

        def forward(self, x):
            z = torch.stack([x[:, 0], -x[:, 0]], dim=1)
            return z + (torch.tensor([1.0, -1.0]) - z).detach()

    r = deepfool(Rough(), torch.ones(3, 2), steps=5)
    assert torch.allclose(r, torch.tensor([-1.02 * 5, 0.0]).expand(3, 2))


def test_inputs_that_no_output_depends_on_have_none_and_the_others_theirs():
    class Dead(nn.Module):
        def forward(self, x):
            return x.relu() @ torch.tensor([[1.0, 0.0], [0.0, 2.0]]) + torch.tensor([0.0, 1.0])

    x = torch.tensor([[-1.0, -1.0], [3.0, 0.5]])
    r = deepfool(Dead(), x)
    assert r[0].isnan().all()
    assert r[1].isfinite().all()
    assert math.isnan(relative_norms(torch.ones(1, 2), torch.zeros(1, 2)).item())


def test_a_network_without_gradients_is_an_error_that_says_so():
    class Cut(TinyNetwork):
        def forward(self, images):
            with torch.no_grad():
                return super().forward(images)

    with pytest.raises(TrainingError, match=r"analysis\.robustness needs gradients .*\nleave it out"):
        deepfool(Cut(10, 1, 8).eval(), torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("classifier=least_squares",),
        ("analysis.metrics=all", "analysis.layers=[hidden]", "analysis.samples=20"),
    ],
)
def test_seeded_rows_are_equal_in_all_other_columns_and_nothing_is_left_behind(overrides):
    rows, weights = [], []
    for chosen in ((), ("analysis.robustness=7",)):
        trainer = trainer_of("epochs=3", *overrides, *chosen, dataset=few_images(count=32))
        rows.append(rows_of(trainer))
        weights.append(trainer.network.model.state_dict())
        state = torch.get_rng_state()
        gradients = [None if p.grad is None else p.grad.clone() for p in trainer.network.model.parameters()]
        trainer.measurer.measure()
        assert torch.equal(torch.get_rng_state(), state)
        for before, parameter in zip(gradients, trainer.network.model.parameters(), strict=True):
            assert (before is None) == (parameter.grad is None)
            assert before is None or torch.equal(before, parameter.grad)
    robust = [row.pop("robustness") for row in rows[1]]
    assert all(0 < value < 10 for value in robust)
    for with_it, without in zip(*rows, strict=True):
        for column in set(without) - set(TIME_COLUMNS):
            same = with_it[column] == without[column]
            assert same or (math.isnan(with_it[column]) and math.isnan(without[column])), column
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_network_that_draws_random_numbers_in_eval_mode_draws_the_same_ones_afterwards(monkeypatch):
    calm = TinyNetwork.forward

    def restless(self, images):
        torch.rand(3)
        np.random.rand()  # noqa: NPY002
        return calm(self, images)

    monkeypatch.setattr(TinyNetwork, "forward", restless)
    rows = [rows_of(trainer_of("epochs=2", *more)) for more in ((), ("analysis.robustness=7",))]
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]


def test_the_column_is_the_mean_over_the_chosen_test_images():
    trainer = trainer_of(
        "net=resnet8",
        "analysis.robustness=20",
        dataset=replace(few_images(count=60), test=few_images(count=50).train),
    )
    measurer = trainer.measurer
    chosen = measurer.plan.robustness
    assert chosen.labels.bincount().tolist() == [2] * 10
    model = trainer.network.model.eval()
    x = measurer.dataset.normalise(chosen.images, channels_last=False)
    values = [float(reference_deepfool(model, one[None]).norm() / one.norm()) for one in x]
    assert measurer.measure().row["robustness"] == pytest.approx(np.mean(values), rel=1e-4)


def test_batches_and_streaming_do_not_matter_nor_a_callers_autocast():
    settings = ("net=resnet8", "analysis.robustness=25", "data.samples_per_class=5")
    values = []
    for more in ((), ("analysis.batch_size=4",), ("data.resident=false",)):
        config = settings_of(*settings, *more)
        trainer = trainer_of(*settings, *more, dataset=load_dataset(config.data, seed=0))
        values.append(trainer.measurer.measure().row["robustness"])
        if not more:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert trainer.measurer.measure().row["robustness"] == values[0]
    assert values[1] == pytest.approx(values[0], rel=1e-4)
    assert values[2] == values[0]


def test_it_is_part_of_the_runs_identity_and_neutral_when_off():
    plain, some = settings_of(), settings_of("analysis.robustness=100")
    assert identity(some) == {**identity(plain), "analysis.robustness": 100}
    assert "-robustness100-" in folder_name(some)
    assert folder_name(settings_of("analysis.robustness=0")) == folder_name(plain)


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(
        ConfigError, match=r"robustness=11, but the test set has 10 images\ngive .*=10 or less"
    ):
        trainer_of("analysis.robustness=11")
    empty = replace(few_images(count=32), test=few_images().test.part(slice(0, 0)))
    with pytest.raises(ConfigError, match=r"the test set has 0 images\nleave it out"):
        trainer_of("analysis.robustness=5", dataset=empty)
