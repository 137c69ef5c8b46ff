"""docs/results.md: its tables are those of the committed results."""

import importlib
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("study_figures")


def test_the_pages_tables_are_those_of_the_committed_results(study):
    data = ROOT / "docs" / "results_data"
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    results, claims = pd.read_csv(data / study.CSV), pd.read_csv(data / study.CLAIMS_CSV)
    assert study.filled(page, study.tables(results, claims)) == page
    assert len(results[results["seed"] == 0]) >= 84
    assert study.chosen(results).groupby(["net", "data", "loss"]).size().tolist() == [3] * 12
    for name in study.FIGURES:
        assert f"images/miniature_lr_{name}.png" in page


def test_a_page_without_a_place_for_a_table_is_an_error(study):
    with pytest.raises(ValueError, match="claims"):
        study.filled("<!-- table: rates -->\n<!-- end -->", {"rates": "| 1 |", "claims": "| 2 |"})


def test_the_rates_of_the_miniature_experiment_are_the_chosen_ones(study):
    cells = yaml.safe_load((ROOT / "conf" / "cells" / "miniature.yaml").read_text(encoding="utf-8"))
    results = pd.read_csv(ROOT / "docs" / "results_data" / study.CSV)
    for (net, data, loss), runs in study.chosen(results).groupby(["net", "data", "loss"]):
        assert runs["lr"].unique().tolist() == [cells[data][net.rstrip("0123456789")]["lr"][loss]]


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
