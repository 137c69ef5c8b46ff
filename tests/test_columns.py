"""The registry of columns: what it says is what the package computes."""

import math

import numpy as np
import pytest
import torch
from helpers.samples import random_features, simplex_etf, statistics_of

from nc_runner.collapse import (
    collapse_metrics,
    feature_norm,
    least_squares_classifier,
    mse_decomposition,
    nc1_numerical_rank,
    nc5_ood_orthogonality,
    ncc_accuracy,
    ncc_mismatch,
    snr_spectrum,
    wider_metrics,
)
from nc_runner.collapse.wider import find_measures
from nc_runner.columns import (
    ASKED_COLUMNS,
    COLUMNS,
    GROUPS,
    LAYER_COLUMNS,
    OOD_COLUMN,
    PATH_COLUMNS,
    TIME_COLUMNS,
    WIDER_COLUMNS,
    asked_columns,
    describe,
    is_custom_name,
    metric_columns,
    wider_columns,
)
from nc_runner.columns.sources import SOURCES

EVERY = (*COLUMNS, *TIME_COLUMNS, *PATH_COLUMNS, *WIDER_COLUMNS, *ASKED_COLUMNS, *LAYER_COLUMNS)


def test_every_column_has_one_entry():
    of_csv = metric_columns(4, (*WIDER_COLUMNS, *ASKED_COLUMNS))
    assert len(set(of_csv)) == len(of_csv)
    for name in EVERY:
        assert describe(name).name == name
        assert describe(name).meaning
    assert describe("snr_12").name == "snr_12"
    for name in ("snr_0", "snr_j", "snr_", "nc9", ""):
        with pytest.raises(ValueError, match="no column"):
            describe(name)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("epoch", "lr")])
def test_a_meaning_holds_for_any_model_and_features_whether_images_or_tokens(name):
    """Tables of nc_runner.measure print it, where there are neither images nor settings of nc-run."""
    assert "image" not in describe(name).meaning
    assert "`" not in describe(name).meaning


def test_every_source_that_a_column_names_is_listed_and_every_listed_one_named():
    named = {name for group in GROUPS.values() for c in group if c.source for name in c.source.split("; ")}
    assert named == set(SOURCES)
    assert all(source.link.startswith("https://") for source in SOURCES.values())


def test_a_column_that_is_computed_of_features_has_its_formula_for_terminals_and_for_pages():
    of_features = {name for group in ("collapse", "spectrum", "variability", "geometry", "sizes", "minority")
                   for name in (c.name for c in GROUPS[group])}  # fmt: skip
    for group in GROUPS.values():
        for column in group:
            assert not column.formula or column.latex, column.name
            assert column.name not in of_features or column.formula, column.name


def test_a_column_of_a_published_measure_says_what_to_know_before_it_is_compared():
    for group in GROUPS.values():
        for column in group:
            assert column.traps or not column.source, column.name


def test_a_wider_column_has_a_function_of_its_name_or_needs_more_than_statistics():
    functions = {name for name in WIDER_COLUMNS if not describe(name).needs}
    assert functions == set(find_measures())
    assert set(WIDER_COLUMNS) - functions == {
        "nc1_numerical_rank", "ncc_accuracy", "test_ncc_accuracy", OOD_COLUMN, "test_nc1", "test_nc1_cdnv",
        "test_effective_rank", "feature_norm",
    }  # fmt: skip


def measured(features, labels, weight, bias, ridge=0.0):
    """Every column that rests on features and a classifier, of one split taken as train and as test set."""
    h, y, W, b = map(torch.from_numpy, (features, labels, weight, bias))
    C = len(weight)
    stats = statistics_of(features, labels, C)
    row = collapse_metrics(stats, W) | mse_decomposition(stats, W, b, ridge) | wider_metrics(stats, W, b)
    row |= {f"snr_{j}": value for j, value in enumerate(snr_spectrum(stats).tolist(), start=1)}
    row["nc1_numerical_rank"] = nc1_numerical_rank(h, y, C)
    row["ncc_accuracy"] = row["test_ncc_accuracy"] = ncc_accuracy(h, y, stats.means)
    predicted = (h @ W.T + b).argmax(dim=1)
    row["nc4_ncc_mismatch"] = row["test_nc4_ncc_mismatch"] = ncc_mismatch(h, predicted, stats.means)
    row |= {f"test_{name}": row[name] for name in ("nc1", "nc1_cdnv", "effective_rank")}
    row["feature_norm"] = feature_norm(h)
    other = torch.from_numpy(np.random.default_rng(7).normal(size=features.shape[1]))
    row[OOD_COLUMN] = nc5_ood_orthogonality(stats.means, other)
    return row


def names_where(condition, row):
    return {name for name, value in row.items() if condition(value)}


def test_the_registry_says_which_numbers_a_class_without_samples_leaves_out():
    features, labels, weight, bias = random_features([5, 6, 7], dim=4)
    labels[labels == 1] = 0
    row = measured(features, labels, weight, bias)
    missing = {name for name in row if "a class has no samples" in describe(name).nan}
    assert names_where(math.isnan, row) == missing


def test_the_registry_says_which_numbers_coinciding_class_means_leave_out():
    same = np.tile(
        np.random.default_rng(0).normal(size=(4, 3)), (3, 1)
    )  # every class holds these four samples
    _, _, weight, bias = random_features([1, 1, 1], dim=3)
    row = measured(same, np.repeat(np.arange(3), 4), weight, bias)
    reasons = ("class means coincide", "a class mean is mu_G", "W M = 0", "all classes are equally large")
    missing = {name for name in row if any(reason in describe(name).nan for reason in reasons)}
    assert names_where(math.isnan, row) == missing


def test_the_registry_says_which_numbers_a_classifier_of_zeros_leaves_out():
    features, labels, weight, bias = random_features([5, 6, 17, 18], dim=4)
    row = measured(features, labels, 0 * weight, 0 * bias)
    reasons = ("W = 0", "a row of W is 0", "W M = 0")
    missing = {name for name in row if any(reason in describe(name).nan for reason in reasons)}
    assert names_where(math.isnan, row) == missing


def test_the_registry_says_the_values_at_collapse():
    """Features on a simplex ETF with their least-squares classifier: on the central path."""
    C, P, ridge = 7, 20, 1e-6
    features, labels = np.repeat(simplex_etf(C, P), 3, axis=0), np.repeat(np.arange(C), 3)
    weight, bias = least_squares_classifier(statistics_of(features, labels, C), ridge)
    row = measured(features, labels, weight.numpy(), bias.numpy(), ridge)
    assert row["bias_collapse"] == pytest.approx(1 / math.sqrt(C), rel=1e-4)  # what is said of MSE loss
    values = {"C - 1": C - 1, "train_accuracy": 1, "test_accuracy": 1}
    values |= {f"{value} if collapse generalises": values.get(value, 0) for value in ("0", "C - 1")}
    stated = {c.name: c.collapse for group in GROUPS.values() for c in group if c.collapse}
    unequal = [name for name in stated if name.startswith(("minority_", "majority_"))]  # test_minority.py
    for name in (
        "bias_collapse",
        OOD_COLUMN,
        "mse_residual",
        "snr_j",
        *ASKED_COLUMNS[2:],
        *unequal,
    ):  # not of these features
        del stated[name]
    for name, value in stated.items():
        assert row[name] == pytest.approx(values[value] if value in values else float(value), abs=1e-9), name
    for j in range(1, C):
        assert math.isinf(row[f"snr_{j}"])


def test_the_choice_of_wider_columns_keeps_the_order_of_the_header():
    assert wider_columns("core", ood=True) == ()
    assert wider_columns("all", ood=True) == WIDER_COLUMNS
    assert wider_columns("all", ood=False) == tuple(n for n in WIDER_COLUMNS if n != OOD_COLUMN)
    assert wider_columns(["rank", "nc1_cdnv"], ood=False) == ("nc1_cdnv", "rank")


def test_settings_of_their_own_add_their_columns_in_the_order_of_the_header():
    assert asked_columns(0, "running") == asked_columns(0, "recomputed") == ()
    assert asked_columns(100, "recomputed") == ("robustness",)
    assert asked_columns(0, "both") == ("mse_ls_recomputed", "mse_perp_recomputed", "nc1_recomputed")
    assert asked_columns(100, "both") == ASKED_COLUMNS


@pytest.mark.parametrize("name", ["mine", "nc9_new", "snr_x", "layer"])
def test_a_new_word_may_name_a_custom_metric(name):
    assert is_custom_name(name)


@pytest.mark.parametrize(
    "name",
    ["nc1", "epoch", "snr_3", "rank", "robustness", "perp_share", "train_seconds", "a b", "é", "1a", ""],
)
def test_the_name_of_a_column_or_no_word_may_not(name):
    assert not is_custom_name(name)
