"""The optimizer that the settings ask for, and the weight decay of each parameter."""

import math

import pytest
import torch
from helpers.lab import TinyNetwork, rows_of, trainer_of
from helpers.settings import settings_of
from torch import nn

from nc_runner.config.decay import HeadDecay, has_objective, head_decay
from nc_runner.errors import ConfigError
from nc_runner.networks import Network
from nc_runner.training.optimizers import build_optimizer, check_optimizer, decay_groups, penalty

CPU = torch.device("cpu")


def tiny(device="cpu"):
    with torch.device(device):
        model = TinyNetwork(10, 1, 8)
    return Network(model, model.classifier)


class Plain(torch.optim.Optimizer):
    """A custom optimizer that knows no weight decay: w -= lr * scale * gradient."""

    def __init__(self, params, lr, scale=1.0):
        super().__init__(params, {"lr": lr, "scale": scale})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * group["scale"] * parameter.grad


def no_optimizer(params, lr):
    return lr


def test_it_is_sgd_with_the_settings_on_the_parameters_that_are_trained():
    network = tiny()
    network.classifier.requires_grad_(False)
    settings = settings_of("lr=0.3", "momentum=0.5", "weight_decay=0.01")
    optimizer = build_optimizer(network, settings, CPU)
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    model = network.model
    assert [id(p) for p in group["params"]] == [
        id(p) for m in (model.hidden, model.norm) for p in m.parameters()
    ]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.5, 0.01)
    assert not group["nesterov"]


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("cuda", True), ("mps", False)])
def test_the_step_is_one_kernel_where_torch_has_one(device, fused, name):
    optimizer = build_optimizer(tiny("meta"), settings_of(f"optimizer={name}"), torch.device(device))
    assert optimizer.defaults["fused"] is fused


def test_each_optimizer_has_a_rate_of_its_own_and_the_command_line_wins():
    rates = {name: settings_of(f"optimizer={name}").lr for name in ("sgd", "nesterov", "adam", "adamw")}
    assert rates == {"sgd": 0.1, "nesterov": 0.1, "adam": 1e-3, "adamw": 1e-3}
    assert settings_of("optimizer=adam", "lr=0.5").lr == 0.5
    assert settings_of("lr=0.5", "optimizer=adam").lr == 0.5


BARE = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, fused=True),
    "nesterov": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True, fused=True
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01, fused=True),
    "adam optimizer.betas=[0.8,0.9] optimizer.eps=1e-3": lambda p: torch.optim.Adam(
        p, lr=0.05, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.01, fused=True
    ),
    "custom optimizer._target_=torch.optim.RMSprop +optimizer.alpha=0.9": lambda p: torch.optim.RMSprop(
        p, lr=0.05, alpha=0.9, weight_decay=0.01
    ),
}
SCHEDULES = {  # epoch and step from 0, in 3 epochs of 6 steps
    "step": lambda epoch, step: 0.1**epoch,
    "constant": lambda epoch, step: 1,
    "cosine": lambda epoch, step: (1 + math.cos(math.pi * (6 * epoch + step) / 18)) / 2,
    "cosine lr_warmup_epochs=1": lambda epoch, step: (
        (step + 1) / 6 if epoch == 0 else (1 + math.cos(math.pi * (6 * epoch + step - 6) / 12)) / 2
    ),
    "step lr_warmup_epochs=2": lambda epoch, step: (
        0.1**epoch * ((6 * epoch + step + 1) / 12 if epoch < 2 else 1)
    ),
}


def bare_loop(trainer, make, factor):
    """Three epochs in plain PyTorch from the trainer's first weights; the weights after."""
    model, data = trainer.network.model, trainer.dataset.train
    optimizer = make(model.parameters())
    shuffler = torch.Generator().manual_seed(0)
    model.train()
    for epoch in range(3):
        order = torch.randperm(32, generator=shuffler)
        for step, index in enumerate(order[:30].split(5)):
            images = trainer.dataset.normalise(data.images[index], channels_last=True)
            loss = nn.MSELoss()(model(images), nn.functional.one_hot(data.labels[index], 10).float())
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * factor(epoch, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return list(model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [(name, "step") for name in BARE] + [("adamw", name) for name in SCHEDULES if name != "step"],
)
def test_each_optimizer_and_schedule_is_a_bare_pytorch_loop_to_the_last_bit(optimizer, schedule):
    overrides = f"optimizer={optimizer} lr_schedule={schedule}".split()
    common = ("epochs=3", "lr=0.05", "weight_decay=0.01")
    ours = trainer_of(*overrides, *common)
    rows = rows_of(ours)
    by_hand = bare_loop(trainer_of(*overrides, *common), BARE[optimizer], SCHEDULES[schedule])
    for mine, bare in zip(ours.network.model.parameters(), by_hand, strict=True):
        assert torch.equal(mine, bare)
    assert [row["lr"] for row in rows] == [0.05 * SCHEDULES[schedule](epoch, 5) for epoch in range(3)]


def test_decay_by_kind_of_parameter_is_torchs_groups_by_hand():
    decays = ("weight_decay=0.01", "decay.head=0.1", "decay.bias=0.2", "decay.norm=0")
    ours = trainer_of("epochs=3", "lr=0.05", "lr_schedule=constant", *decays)
    rows_of(ours)

    def make(_):
        hidden, norm, head = (
            by_hand.network.model.hidden,
            by_hand.network.model.norm,
            by_hand.network.classifier,
        )
        groups = [
            {"params": [hidden.weight], "weight_decay": 0.01},
            {"params": [hidden.bias, head.bias], "weight_decay": 0.2},
            {"params": [norm.weight, norm.bias], "weight_decay": 0},
            {"params": [head.weight], "weight_decay": 0.1},
        ]
        return torch.optim.SGD(groups, momentum=0.9, lr=0.05, fused=True)

    by_hand = trainer_of("epochs=3")
    for mine, bare in zip(
        ours.network.model.parameters(), bare_loop(by_hand, make, lambda *_: 1), strict=True
    ):
        assert torch.equal(mine, bare)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {5e-4: 6}),
        (("decay.norm=5e-4",), {5e-4: 6}),
        (("decay.norm=0",), {5e-4: 4, 0: 2}),
        (("decay.head=0.1",), {5e-4: 4, 0.1: 2}),
        (("decay.head=0.1", "decay.bias=0"), {5e-4: 3, 0.1: 1, 0: 2}),
        (("optimizer=adamw", "decay.bias=0", "decay.norm=0"), {5e-4: 2, 0: 4}),
    ],
)
def test_parameters_are_grouped_by_their_weight_decay(overrides, expected):
    groups = decay_groups(tiny(), settings_of(*overrides))
    assert {decay: len(parameters) for decay, parameters in groups} == expected


def test_a_decay_that_no_parameter_has_is_an_error():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    network = Network(model, model[2])
    for key, what in (("bias", "biases"), ("norm", "norms")):
        with pytest.raises(ConfigError, match=rf"decay\.{key}=0 has no use: this network has no {what}"):
            build_optimizer(network, settings_of(f"decay.{key}=0"), CPU)


def test_the_penalty_has_each_parameters_own_decay_and_none_where_there_is_no_objective():
    network = tiny()
    settings = settings_of("weight_decay=0.01", "decay.head=0.1", "decay.bias=0.2", "decay.norm=0")
    model, head = network.model, network.classifier
    by_hand = 0.01 * model.hidden.weight.double().square().sum() + 0.1 * head.weight.double().square().sum()
    by_hand += 0.2 * (model.hidden.bias.double().square().sum() + head.bias.double().square().sum())
    assert penalty(network, settings) == pytest.approx(by_hand.item() / 2, rel=1e-12)
    assert math.isnan(penalty(network, settings_of("optimizer=adamw")))
    assert penalty(network, settings_of("optimizer=adamw", "weight_decay=0")) == 0
    assert penalty(network, settings_of("optimizer=adam")) > 0
    rows = rows_of(trainer_of("epochs=1", "optimizer=adamw"))
    assert math.isnan(rows[0]["train_loss_regularized"])
    assert math.isfinite(rows[0]["train_loss"])


def test_the_last_layers_decay_is_known_and_whether_it_is_an_objectives():
    def of(*overrides):
        return head_decay(settings_of(*overrides))

    assert of() == HeadDecay(5e-4, 5e-4, coupled=True)
    assert of("optimizer=adam", "decay.head=0.1") == HeadDecay(0.1, 0.1, coupled=True)
    assert of("decay.head=0.1", "decay.bias=0") == HeadDecay(0.1, 0.0, coupled=True)
    assert of("optimizer=adamw") == HeadDecay(5e-4, 5e-4, coupled=False)
    assert of("optimizer=adamw", "decay.head=0") == HeadDecay(0.0, 0.0, coupled=True)
    assert of("optimizer=adamw", "classifier=least_squares") == HeadDecay(5e-4, 5e-4, coupled=True)
    custom = ("optimizer=custom", "optimizer._target_=a.b", "lr=1")
    assert not of(*custom).coupled
    unknown = of(*custom, "weight_decay=null", "classifier=least_squares")
    assert math.isnan(unknown.weight)
    assert not unknown.coupled
    assert not has_objective(settings_of(*custom, "weight_decay=null"))


def custom(path, *overrides):
    return settings_of("optimizer=custom", f"optimizer._target_={path}", *overrides)


def test_a_custom_optimizer_gets_lr_and_its_keys():
    settings = custom(f"{__file__}:Plain", "lr=0.5", "+optimizer.scale=2.0", "weight_decay=null")
    check_optimizer(settings)
    optimizer = build_optimizer(tiny(), settings, CPU)
    assert (optimizer.defaults["lr"], optimizer.defaults["scale"]) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("torch.optim.RMSprop", "lr=1", "+optimizer.alfa=1"), r"there is no setting optimizer\.alfa"),
        ((f"{__file__}:Plain", "lr=1"), "weight_decay=0.0005: .* takes no argument weight_decay\ngive"),
        (
            (f"{__file__}:Plain", "lr=1", "weight_decay=null", "momentum=0.5"),
            "momentum=0.5: .* takes no argument momentum",
        ),
        (("no_such_module.Optimizer", "lr=1"), "cannot be imported: there is no module no_such_module"),
        (("SDG", "lr=1"), "SDG is not a dotted path"),
    ],
)
def test_what_a_custom_optimizer_does_not_take_is_an_error_before_it_is_made(settings, said):
    with pytest.raises(ConfigError, match=said):
        check_optimizer(custom(*settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("torch.optim.LBFGS", "lr=1", "weight_decay=null"), "evaluates the loss several times"),
        ((f"{__file__}:no_optimizer", "lr=1", "weight_decay=null"), "makes a float"),
        (("torch.optim.RMSprop", "lr=1", "+optimizer.alpha=-1"), "failed with ValueError"),
    ],
)
def test_a_custom_optimizer_that_cannot_be_used_is_an_error(settings, said):
    with pytest.raises(ConfigError, match=said):
        build_optimizer(tiny(), custom(*settings), CPU)
