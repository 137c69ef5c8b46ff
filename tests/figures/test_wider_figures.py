"""Figures of the wider columns: one for each that a run has, with the value at collapse."""

import math

import numpy as np
import pytest
from helpers.drawn import curves, figure_of, legend_words, lines, names_of, read, written
from helpers.synthetic import write_run

from nc_runner.columns import ASKED_COLUMNS, OOD_COLUMN, WIDER_COLUMNS, describe
from nc_runner.figures import wider
from nc_runner.figures.wider import at_collapse, spans_decades, wider_figures


def runs_with(tmp_path, *, num_classes=10, **change):
    added = tuple(column for column in change if column in (*WIDER_COLUMNS, *ASKED_COLUMNS))
    return read(write_run(tmp_path, epochs=12, num_classes=num_classes, wider=added, change=change))


def guides(axes):
    return [
        line.get_ydata()[0]
        for line in lines(axes)
        if list(line.get_ydata()[:1]) * 2 == list(line.get_ydata())
    ]


def test_each_column_that_a_run_has_is_drawn_and_none_that_it_lacks(tmp_path):
    one, other = (
        runs_with(tmp_path / name, **dict.fromkeys(columns, 0.5))[0]
        for name, columns in (("a", ["nc1_cdnv", "rank"]), ("b", ["rank", "nc3_cosine"]))
    )
    assert [figure.name for figure in wider_figures([one, other])] == ["nc1_cdnv", "nc3_cosine", "rank"]
    assert wider_figures(read(write_run(tmp_path / "c", epochs=2))) == []
    names = names_of([one, other])
    assert len(set(names)) == len(names)
    assert [len(curves(figure_of(name, [one, other]).axes[0])) for name in ("nc1_cdnv", "rank")] == [1, 2]


def test_every_wider_column_has_a_title_a_label_and_words_for_the_report(tmp_path):
    drawn = (*WIDER_COLUMNS, "robustness")
    (run,) = runs_with(tmp_path, **dict.fromkeys(drawn, lambda epoch: 0.5 + 0.01 * epoch))
    figures = wider_figures([run])
    assert [figure.name for figure in figures] == list(drawn)
    assert set(wider._LOOKS) == set(drawn)
    assert len({figure.title for figure in figures}) == len(figures)
    for figure in figures:
        assert figure.y_label != figure.name
        assert figure.reading.endswith(".")
        assert figure_of(figure.name, [run]) is not None


def test_a_column_of_nan_alone_is_left_out(tmp_path):
    runs = runs_with(tmp_path, minority_angle=math.nan, rank=9.0)
    assert [figure.name for figure in wider_figures(runs)] == ["rank"]


def test_what_batch_norm_recomputed_gives_is_drawn_beside_what_its_running_statistics_give(tmp_path):
    recomputed = {"mse_ls_recomputed": 4.0, "mse_perp_recomputed": 1.0, "nc1_recomputed": 0.25}
    runs = runs_with(tmp_path, mse_ls=2.0, mse_perp=1.0, nc1=0.5, **recomputed)
    assert [figure.name for figure in wider_figures(runs)] == ["perp_over_ls_recomputed", "nc1_recomputed"]
    for figure in wider_figures(runs):
        drawn = figure_of(figure.name, runs)
        assert [set(curve.get_ydata()) for curve in curves(drawn.axes[0])] == [{0.5}, {0.25}]
        assert {"running statistics", "recomputed"} <= set(legend_words(drawn))
        assert figure.reading.endswith(".")


@pytest.mark.parametrize(
    ("column", "classes", "level", "words"),
    [
        ("nc3_cosine", 10, 1.0, "at collapse: 1"),
        ("effective_rank", 7, 6.0, "at collapse: C − 1"),
        ("test_effective_rank", 5, 4.0, "at collapse: C − 1"),
        ("minority_angle", 5, -0.25, "at collapse: −1/(C−1)"),
        ("nc1_numerical_rank", 10, 1.0, "at collapse: 1"),
    ],
)
def test_the_value_at_collapse_is_a_line_within_the_axis(tmp_path, column, classes, level, words):
    runs = runs_with(tmp_path, num_classes=classes, **{column: lambda epoch: 3.0 + epoch})
    figure = figure_of(column, runs)
    (panel,) = figure.axes
    low, high = panel.get_ylim()
    assert guides(panel) == [level]
    assert low < level < high
    assert words in legend_words(figure)


def test_a_panel_has_the_line_once_and_each_panel_its_own_number_of_classes(tmp_path):
    runs = [
        read(write_run(tmp_path, data=data, seed=seed, epochs=5, num_classes=classes, wider=("rank",),
                       change={"rank": 3.0 + seed}))[0]
        for data, classes in (("mnist", 10), ("cifar100", 100)) for seed in (0, 1)
    ]  # fmt: skip
    assert [guides(panel).count(level) for panel, level in zip(
        figure_of("rank", runs).axes, (9.0, 99.0), strict=True)] == [1, 1]  # fmt: skip


def test_what_tends_to_0_says_so_where_a_line_cannot(tmp_path):
    runs = runs_with(tmp_path, nc1_cdnv=lambda epoch: 0.1**epoch, bias_collapse=0.3, weight_norm=2.0)
    figure = figure_of("nc1_cdnv", runs)
    assert figure.axes[0].get_yscale() == "log"
    assert "0 at collapse" in written(figure)
    assert not any(word.startswith("at collapse") for word in legend_words(figure))
    assert any("MSE" in text for text in written(figure_of("bias_collapse", runs)))
    assert not any("collapse" in text for text in written(figure_of("weight_norm", runs)))


def test_nearest_class_means_are_drawn_beside_the_networks_accuracy(tmp_path):
    runs = runs_with(tmp_path, test_ncc_accuracy=0.5, test_accuracy=0.75)
    nearest, network = curves(figure_of("test_ncc_accuracy", runs).axes[0])
    assert set(nearest.get_ydata()) == {50.0}
    assert set(network.get_ydata()) == {75.0}


def test_a_column_without_a_look_is_drawn_under_its_name(tmp_path, monkeypatch):
    monkeypatch.delitem(wider._LOOKS, "nc1_vci")
    runs = runs_with(tmp_path, nc1_vci=lambda epoch: 10.0**-epoch)
    figure = figure_of("nc1_vci", runs)
    assert figure.axes[0].get_yscale() == "log"  # the values decide
    assert written(figure).count("nc1_vci") == 2


def test_the_registrys_words_are_numbers_or_none():
    known = {describe(name).collapse: at_collapse(describe(name).collapse, 5) for name in WIDER_COLUMNS}
    assert known == {
        "": None, "0": 0, "1": 1, "C - 1": 4, "-1/(C-1)": -0.25,
        "train_accuracy": None, "test_accuracy": None,
        "0 if collapse generalises": 0, "C - 1 if collapse generalises": 4,
    }  # fmt: skip
    assert OOD_COLUMN in WIDER_COLUMNS


@pytest.mark.parametrize(
    ("values", "wide"),
    [([1.0, 101.0], True), ([1e-5, 1e-3], True), ([1.0, 99.0], False), ([0.0, 5.0], False), ([], False)],
)
def test_a_hundredfold_asks_for_a_logarithmic_axis(values, wide):
    assert spans_decades(np.array(values)) is wide
