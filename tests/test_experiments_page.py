"""docs/experiments.md: its tables are those of the committed results, and its figures are there."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
NAMES = ("adamw", "etf_head", "feature_dim", "losses", "minority_collapse", "random_labels")


@pytest.fixture
def figures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("experiment_figures")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_table_and_the_figure_of_each_experiment(figures, name):
    results = pd.read_csv(ROOT / "docs" / "results_data" / f"{name}.csv")
    assert (results["seeds"] == 3).all()
    assert figures.page_table(name, results) in PAGE
    assert f"images/experiment_{name}.png" in PAGE
    assert f"nc-run -m experiment={name}" in PAGE
    assert (ROOT / "docs" / "images" / f"experiment_{name}.png").stat().st_size < 120_000


def runs_of(seeds):
    """Rows of runs that differ in ``head.features`` and the seed, the last of them unfinished."""
    rows = [
        {"run": f"{width}-{seed}", "state": "complete", "loss": "ce", "seed": seed, "head.features": width}
        | {"epoch": epoch, "nc1": width + seed + 1 / epoch}
        for width in (10.0, 4.0)
        for seed in seeds
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows)


def test_a_summary_is_the_median_and_range_of_the_last_rows_of_finished_runs(figures):
    view = figures.VIEWS["feature_dim"]
    table = runs_of((0, 1, 5))
    table.loc[table["run"] == "10.0-5", "state"] = "running"
    columns = dict.fromkeys((*figures.FURTHER, *(panel.column for panel in view.panels)), 1.0)
    table = table.assign(**{column: value for column, value in columns.items() if column != "nc1"})
    table = figures.ordered(table, view)
    found = figures.summary(view, table)
    assert found["head.features"].tolist() == [4.0, 10.0]
    assert found["seeds"].tolist() == [3, 2]
    np.testing.assert_allclose(found["nc1_median"], [5.5, 11.0])
    np.testing.assert_allclose(found[["nc1_min", "nc1_max"]], [[4.5, 9.5], [10.5, 11.5]])
    assert len(figures.drawn(view, table).axes) == len(view.panels)
