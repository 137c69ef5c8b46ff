"""A sweep's settings, composed once for each combination of groups, are those that Hydra composes itself."""

import pytest

from nc_runner.commands.hydra_app import resolvers
from nc_runner.commands.hydra_app.compose import compose, session, single_job, sweep_jobs
from nc_runner.commands.hydra_app.settings import settings_of
from nc_runner.config.identity import folder_name
from nc_runner.errors import ConfigError

resolvers.register()


@pytest.mark.parametrize(
    "overrides",
    [
        ["net=vgg6,resnet8", "lr=0.1,0.2", "seed=0,1"],
        ["experiment=paper", "data=mnist,cifar10", "net=vgg,densenet", "loss=mse,ce"],
        ["experiment=paper_lr", "net=resnet", "data=stl10", "loss=ce", "lr=0.1,0.25"],
        ["experiment=miniature", "seed=0"],
        ["lr_milestones=[1/3],[10,20]", "epochs=range(10,13)"],
        ["net=custom", "net._target_=my.Net", "+net.width=3,4"],
        ["lr=0.1", "lr=0.3,0.4", "++momentum=0.5,0.6"],
        ["optimizer=sgd,adam,adamw", "lr_schedule=step,cosine", "decay.head=null,0.01"],
        ["optimizer=adamw,sgd", "lr=0.02,0.05"],
        ["data.name=a,b", "analysis.metrics=core,all,[nc1_cdnv]"],
    ],
)
def test_each_run_has_the_settings_that_hydra_composes_for_it(overrides):
    with session() as app:
        sweep = compose(app, overrides, sweep=True)
        jobs = sweep_jobs(app, sweep)
        assert len({job.folder for job in jobs}) == len(jobs) > 1
        for job in jobs:
            expected = settings_of(app.config_loader.load_sweep_config(sweep, job.overrides))
            assert job.config == expected
            assert job.folder.match(f"outputs/{folder_name(expected)}")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (
            ["experiment=paper", "net=resnet", "data=mnist"],
            "loss, not one run\nbegin with nc-run -m, or give one",
        ),
        (["experiment=paper_lr"], "lr, not one run"),
    ],
)
def test_a_sweep_without_m_is_an_error_that_names_what_would_be_left_out(given, left):
    with session() as app, pytest.raises(ConfigError, match=f"this is a sweep over {left}"):
        single_job(compose(app, given), given)


def test_one_cell_of_a_sweep_is_a_run():
    overrides = ["experiment=paper", "net=resnet", "data=mnist", "loss=mse"]
    with session() as app:
        assert single_job(compose(app, overrides), overrides).config.data.name == "mnist"


def test_runs_come_in_hydras_order():
    with session() as app:
        jobs = sweep_jobs(app, compose(app, ["lr=0.1,0.2", "seed=0,1"], sweep=True))
    assert [(job.config.lr, job.config.seed) for job in jobs] == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


@pytest.mark.parametrize("given", [["seed=range(0,1000000000)"], ["seed=range(0,1000)", "lr=range(1,1000)"]])
def test_a_sweep_of_more_runs_than_can_be_checked_is_an_error_at_once(given):
    with session() as app, pytest.raises(ConfigError, match="more than 100,000 runs"):
        sweep_jobs(app, compose(app, given, sweep=True))
