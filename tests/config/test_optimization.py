"""Optimizer, weight decay and learning rate: which settings a choice has, and the rate of every step."""

import math

import pytest
from helpers.settings import settings_of

from nc_runner.commands.hydra_app.messages import explain
from nc_runner.config.identity import folder_name, identity
from nc_runner.config.learning_rates import LearningRate, check_schedule, depends_on_epochs
from nc_runner.errors import ConfigError, TrainingError


def error_of(*overrides):
    with pytest.raises(Exception) as caught:  # noqa: PT011  Hydra's errors and ours
        settings_of(*overrides)
    return explain(caught.value)


def test_what_a_choice_does_not_use_is_null():
    assert settings_of("optimizer=adam").momentum is None
    cosine = settings_of("lr_schedule=cosine")
    assert (cosine.lr_gamma, cosine.lr_milestones) == (None, None)
    assert settings_of("optimizer=nesterov").momentum == 0.9


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("optimizer=adam", "momentum=0.9"), "momentum=0.9 has no use with optimizer=adam\nleave it out"),
        (("optimizer=adamw", "momentum=0"), "momentum=0.0 has no use with optimizer=adamw\n"),
        (("momentum=null",), "momentum=null is not valid: optimizer=sgd needs a value\n"),
        (("optimizer=nesterov", "momentum=0"), "momentum=0 is not valid: optimizer=nesterov needs"),
        (("lr_schedule=cosine", "lr_gamma=0.5"), "lr_gamma=0.5 has no use with lr_schedule=cosine\n"),
        (
            ("lr_schedule=constant", "lr_milestones=[1/2,9]"),
            "lr_milestones=[1/2,9] has no use with lr_schedule=constant\n",
        ),
        (("lr_gamma=null",), "lr_gamma=null is not valid: lr_schedule=step needs a value\n"),
        (("weight_decay=null",), "weight_decay=null is not valid: optimizer=sgd needs a value\n"),
        (("decay.head=-1",), "decay.head=-1 is not valid: decay.head must be at least 0"),
        (("decay.bias=x",), "decay.bias=x is not valid: decay.bias must be a number"),
        (("epochs=5", "lr_warmup_epochs=5"), "lr_warmup_epochs=5 leaves no epoch after it, with epochs=5\n"),
        (("lr_warmup_epochs=0.5",), "lr_warmup_epochs=0.5 is not valid: lr_warmup_epochs must be a whole"),
        (("optimizer=adam", "optimizer.betas=[0.9]"), "optimizer.betas=[0.9] is not valid: optimizer"),
        (("optimizer=adam", "optimizer.betas=[0.9,1]"), "optimizer.betas=[0.9,1] is not valid: "),
        (("optimizer=adam", "optimizer.eps=-1"), "optimizer.eps=-1 is not valid: optimizer.eps must be"),
        (
            ("+optimizer.betas=[0.9,0.99]",),
            "optimizer=sgd has no setting optimizer.betas: it is one of adam and adamw\n",
        ),
        (("optimizer.eps=1",), "this optimizer has no setting optimizer.eps: it is one of adam and adamw\n"),
        (("optimizer=adan",), "optimizer=adan: there is no such option; did you mean adam?\n"),
        (("optimizer=custom", "optimizer._target_=a.b"), "lr=null is not valid: lr must be a number"),
        (("optimizer=custom", "lr=1"), "optimizer._target_ is not set\n"),
        (
            ("optimizer=custom", "optimizer._target_=a.b", "lr=1", "weight_decay=null", "decay.norm=0"),
            "decay.norm=0.0 has no use with weight_decay=null\n",
        ),
        (("lr_schedule=custom",), "lr_schedule._target_ is not set\n"),
        (("+lr_schedule.power=2",), "there is no setting lr_schedule.power"),
    ],
)  # fmt: skip
def test_a_value_that_a_choice_has_no_use_for_is_an_error_that_names_it(overrides, said):
    assert error_of(*overrides).startswith(said)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("optimizer=adam",), "adam"),
        (("optimizer=nesterov",), "nesterov"),
        (("optimizer=adamw", "optimizer.betas=[0.9,0.95]"), "adamw-betas0.9+0.95"),
        (("lr_schedule=cosine", "lr_warmup_epochs=5"), "cosine-lr_warmup_epochs5"),
        (("decay.head=0.01", "decay.norm=0"), "head_decay0.01-norm_decay0"),
        (("optimizer=custom", "optimizer._target_=my.Lion", "lr=0.1", "+optimizer.rho=2"), "Lion-rho2"),
        (("lr_schedule=custom", "lr_schedule._target_=my.py:poly"), "poly"),
    ],
)
def test_they_identify_a_run_in_readable_words(overrides, words):
    name = folder_name(settings_of(*overrides)).partition("seed0")[2]
    assert name.rpartition("-")[0] == f"-{words}"


def test_their_neutral_values_are_frozen():
    """See test_identity.py: this test is not to be changed for another default."""
    assert not {key for key in identity(settings_of()) if key.startswith(("optimizer", "lr_", "decay"))}
    neutral = ("optimizer.betas=[0.9,0.999]", "optimizer.eps=1e-8", "weight_decay=5e-4")
    found = identity(settings_of("optimizer=adam", *neutral))
    assert {key: value for key, value in found.items() if key.startswith(("optimizer", "mom", "weight"))} == {
        "optimizer._target_": "adam", "momentum": None,
    }  # fmt: skip
    found = identity(settings_of("lr_schedule=cosine"))
    assert {key: value for key, value in found.items() if key.startswith("lr_")} == {
        "lr_schedule._target_": "cosine", "lr_milestones": None, "lr_gamma": None,
    }  # fmt: skip
    assert folder_name(settings_of("optimizer=adamw", "lr_schedule=cosine")) == (
        "mse-resnet8-digits/lr0.001-seed0-adamw-cosine-a14c6ec2"
    )


def rates(*overrides, steps=4):
    settings = settings_of(*overrides)
    rate = LearningRate(settings, steps)
    return [rate(epoch, step) for epoch in range(1, settings.epochs + 1) for step in range(steps)]


def test_step_rates_have_the_bits_that_they_always_had():
    expected = [0.3 * 0.1 ** sum(epoch > drop for drop in (3, 6)) for epoch in range(1, 11)]
    assert rates("epochs=10", "lr=0.3", steps=1) == expected


def test_a_cosine_falls_from_lr_to_almost_0_at_the_last_step():
    found = rates("epochs=5", "lr=2", "lr_schedule=cosine")
    assert found[0] == 2
    assert found == sorted(found, reverse=True)
    assert found[10] == pytest.approx(1)
    assert found[-1] == pytest.approx(1 + math.cos(math.pi * 19 / 20))


@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_in_the_warm_up_rates_rise_step_by_step_to_lr(schedule):
    common = ("epochs=9", "lr=1", f"lr_schedule={schedule}")
    found = rates("lr_warmup_epochs=2", *common)
    assert found[:9] == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1, 1]
    if schedule != "cosine":
        assert found[8:] == rates(*common)[8:]
    else:  # the cosine begins where the warm-up ends
        assert found[8:] == rates("epochs=7", "lr=1", "lr_schedule=cosine")


def test_an_epochs_rate_is_that_of_its_last_step():
    rate = LearningRate(settings_of("epochs=4", "lr_schedule=cosine", "lr=1"), 5)
    assert rate.of_epoch(2) == rate(2, 4) != rate(2, 0)


@pytest.mark.parametrize(
    ("overrides", "depends"),
    [
        ((), True),
        (("lr_milestones=[10,20]",), False),
        (("lr_milestones=[]",), False),
        (("lr_milestones=[10,1/2]",), True),
        (("lr_schedule=constant", "lr_warmup_epochs=3"), False),
        (("lr_schedule=cosine",), True),
        (("lr_schedule=custom", "lr_schedule._target_=a.b"), True),
    ],
)
def test_it_is_known_whether_rates_depend_on_the_number_of_epochs(overrides, depends):
    assert depends_on_epochs(settings_of(*overrides)) is depends


def linear(epoch, step, steps_per_epoch, epochs, power=1):
    return (1 - ((epoch - 1) * steps_per_epoch + step) / (epochs * steps_per_epoch)) ** power


def negative(epoch, step, steps_per_epoch, epochs):
    return 1 - step


def of_two(epoch, step):
    return 1.0


def late(epoch, step, steps_per_epoch, epochs):
    return 1 / (epoch - 2)


def schedule(name, *overrides):
    return settings_of("lr_schedule=custom", f"lr_schedule._target_={__file__}:{name}", *overrides)


def test_a_custom_schedule_gets_epoch_from_1_and_step_from_0_and_its_keys():
    settings = schedule("linear", "epochs=2", "lr=1", "+lr_schedule.power=2")
    check_schedule(settings)
    rate = LearningRate(settings, 2)
    assert [rate(epoch, step) for epoch in (1, 2) for step in (0, 1)] == [1, 0.75**2, 0.25, 0.25**2]


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("linear", ("+lr_schedule.pow=2",), "there is no setting lr_schedule.pow: linear has no such arg"),
        ("negative", (), "must return a finite number from 0 on, and returned -8\nit takes"),
        ("of_two", (), r"failed for \(1, 0, 10, 350\) with TypeError"),
        ("missing", (), "has no attribute missing"),
    ],
)
def test_a_custom_schedule_that_cannot_be_used_is_an_error_before_anything_is_made(name, overrides, said):
    with pytest.raises(ConfigError, match=said):
        check_schedule(schedule(name, *overrides))


def test_a_custom_schedule_that_fails_later_is_an_error_that_names_the_step():
    rate = LearningRate(schedule("late", "epochs=5"), 3)
    with pytest.raises(TrainingError, match="failed in epoch 2, step 1, with ZeroDivisionError"):
        rate(2, 1)
