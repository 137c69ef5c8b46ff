"""Hydra's sweepers search by what ``nc-run`` returns: the objective, of runs that end well."""

from pathlib import Path

import pytest
import yaml
from helpers.process import nc_run

from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import last_row

EXAMPLE = Path(__file__).parents[2] / "examples" / "search"
SEARCH = (
    "-m",
    "--config-dir",
    str(EXAMPLE),
    "experiment=lr_search",
    "epochs=1",
    "threads=1",
    "progress=none",
)


def test_the_example_finds_the_best_of_its_runs(tmp_path):
    """Four learning rates that Optuna's sampler draws; the best accuracy among their rows is what it says."""
    result = nc_run(*SEARCH, "hydra.sweeper.n_trials=4", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = yaml.safe_load((tmp_path / "outputs" / "optimization_results.yaml").read_text())
    accuracies = {path.name: last_row(path)["test_accuracy"] for path in find_runs([tmp_path])}
    assert len(accuracies) == 4
    assert found["best_value"] == max(accuracies.values())
    best = max(accuracies, key=accuracies.__getitem__)
    assert best.startswith(f"lr{found['best_params']['lr']:.6g}-")
    assert f"best: lr={found['best_params']['lr']}  (test_accuracy {found['best_value']:.6g}" in result.stdout


@pytest.mark.slow
def test_a_run_that_diverges_is_a_failed_trial_and_the_search_goes_on_by_another_column(tmp_path):
    result = nc_run(
        *SEARCH, "hydra.sweeper.n_trials=4", "lr=choice(1e9,0.1)", "objective=nc1",
        "hydra.sweeper.direction=minimize", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert " runs: " in result.stdout
    assert "  diverged " in result.stdout
    found = yaml.safe_load((tmp_path / "outputs" / "optimization_results.yaml").read_text())
    (complete,) = [path for path in find_runs([tmp_path]) if path.name.startswith("lr0.1")]
    assert found["best_value"] == last_row(complete)["nc1"]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("test_acuracy", "has no such column; did you mean test_accuracy?"),
        ("nc1_cdnv", "objective=nc1_cdnv: metrics.csv of this run has no such column"),
    ],
)
def test_a_column_that_the_run_has_not_is_refused(objective, message, tmp_path):
    result = nc_run(f"objective={objective}", cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
