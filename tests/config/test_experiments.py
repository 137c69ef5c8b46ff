"""The experiments of conf/experiment/: each composes, runs shrunk, and names its runs by what it varies."""

import itertools
from importlib import resources

import pytest
import yaml
from helpers import miniature
from helpers.process import nc_run
from helpers.settings import settings_of

from nc_runner.config.identity import folder_name
from nc_runner.runs.reader import read_run
from nc_runner.runs.record import COMPLETE
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

FOLDER = resources.files("nc_runner.conf").joinpath("experiment")
EXPERIMENTS = sorted(
    file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if file.name.endswith(".yaml")
)
QUESTIONS = {  # the experiments on a question of the field: how many runs each is
    "adamw": 54,
    "etf_head": 24,
    "feature_dim": 36,
    "losses": 36,
    "minority_collapse": 18,
    "random_labels": 12,
}


def swept(experiment):
    """What a sweep varies: for each setting its overrides, in the sweep's order."""
    content = yaml.safe_load(FOLDER.joinpath(f"{experiment}.yaml").read_text())
    params = content.get("hydra", {}).get("sweeper", {}).get("params", {})
    return [[f"{key}={value.strip()}" for value in str(values).split(",")] for key, values in params.items()]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_shipped_experiment_runs_shrunk(tmp_path, monkeypatch, experiment):
    """The first run of each, whole, on a few images, by a small member of its family."""
    first = [f"experiment={experiment}", *(choices[0] for choices in swept(experiment))]
    settings = settings_of(*first)
    if settings.net.target == "ufm":  # small as it is
        shrunk = settings_of(*first, "epochs=2", "progress=none", "threads=1")
    else:
        shrunk = settings_of(*first, *_shrinking(settings, tmp_path / "data", monkeypatch))
    execute(shrunk, tmp_path, StopSignals())
    run = read_run(tmp_path)
    assert run.state == COMPLETE
    assert run.rows["epoch"].tolist() == [1, 2]
    assert run.settings["analysis"]["ridge"] == settings.analysis.ridge


def _shrinking(settings, root, monkeypatch):
    small = {"vgg": "vgg6", "resnet": "resnet8", "densenet": "densenet10"}[settings.net.target]
    if settings.data.target != "digits":
        miniature.write(root, settings.data.target, monkeypatch)
    samples = 1 if settings.data.imbalance.kind == "none" else 2
    return (
        f"net={small}", "epochs=2", "batch_size=5", f"data.samples_per_class={samples}", f"lr={settings.lr}",
        f"data.root={root}", "progress=none", "threads=1",
    )  # fmt: skip


@pytest.mark.parametrize("experiment", QUESTIONS)
def test_the_folders_of_an_experiment_show_what_it_varies(experiment):
    """Each choice of a setting is seen in the name itself, not in the hash at its end alone."""
    choices = swept(experiment)
    assert len(list(itertools.product(*choices))) == QUESTIONS[experiment]
    assert choices[-1] == ["seed=0", "seed=1", "seed=2"]
    last = [of_setting[-1] for of_setting in choices]
    for place, of_setting in enumerate(choices):
        runs = ([*last[:place], choice, *last[place + 1 :]] for choice in of_setting)
        names = {
            folder_name(settings_of(f"experiment={experiment}", *run)).rpartition("-")[0] for run in runs
        }
        assert len(names) == len(of_setting), names


def test_miniature_is_36_runs_and_runs_as_a_sweep(tmp_path):
    shown = nc_run("-m", "experiment=miniature", "--cfg", "job", cwd=tmp_path).stdout
    assert shown.count("# nc-run ") == 36
    few = ("data=digits", "seed=0", "net=vgg,resnet", "epochs=1", "data.samples_per_class=13", "threads=1")
    result = nc_run("experiment=miniature", *few, cwd=tmp_path)
    assert result.returncode == 2  # it holds a sweep
    result = nc_run("-m", "experiment=miniature", *few, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "4 runs: 4 complete" in result.stdout
