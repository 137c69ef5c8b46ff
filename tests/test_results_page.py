"""docs/results.md: the search's table is that of the committed results."""

import importlib
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("study_figures")


def test_the_page_has_the_table_of_the_search(study):
    results = pd.read_csv(ROOT / "docs" / "results_data" / study.CSV)
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert study.tables(results)["L_perp in the search"] in page
    assert len(results[(results["loss"] == "mse") & (results["seed"] == 0)]) >= 42
    for name in ("perp", "accuracy"):
        assert f"images/miniature_lr_{name}.png" in page


def test_the_chosen_rate_is_that_of_the_best_test_accuracy_and_of_equal_ones_the_smallest(study):
    lines = [
        {"net": "vgg6", "data": "digits", "loss": "mse", "lr": lr, "seed": seed, "test_accuracy": accuracy}
        for lr, seed, accuracy in [
            (0.1, 0, 0.9),
            (0.2, 0, 0.95),
            (0.4, 0, 0.95),
            (0.2, 1, 0.5),
            (0.1, 1, 1.0),
        ]
    ]
    best = study.chosen(pd.DataFrame(lines))
    assert best["lr"].tolist() == [0.2, 0.2]
    assert best["seed"].tolist() == [0, 1]
