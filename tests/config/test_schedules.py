"""Which epochs are measured, and the learning rate of each epoch."""

from helpers.settings import settings_of

from nc_runner.config.schedules import analysed_epochs, milestone_epochs, step_factor


def test_the_papers_schedule_is_the_notebooks_list():
    epochs = analysed_epochs("paper", 350)
    assert len(epochs) == 50
    assert epochs[:15] == [*range(1, 15), 16]
    assert epochs[-3:] == [293, 320, 350]
    assert analysed_epochs("paper", 30)[-3:] == [27, 29, 30]


def test_the_defaults_drop_after_a_third_and_two_thirds():
    assert milestone_epochs(settings_of().lr_milestones, 350) == [116, 233]


def test_the_rate_drops_after_each_milestone():
    factors = [step_factor(0.1, [116, 233], epoch) for epoch in (1, 116, 117, 233, 234, 350)]
    assert factors == [1, 1, 0.1, 0.1, 0.1**2, 0.1**2]
