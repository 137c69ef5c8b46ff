"""Figures over runs: values against a setting, one column against another."""

import numpy as np
import pytest
from helpers.drawn import curves, figure_of, legend_words, lines, markers, names_of, read, sweep, written
from helpers.synthetic import write_run

from nc_runner.errors import ConfigError
from nc_runner.figures.against import value_at


def test_values_at_the_end_are_drawn_against_a_setting_with_the_range_of_seeds(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2], seeds=3)
    for i, run in enumerate(runs):
        run.rows["nc1"] = float(i + 1)
    figure = figure_of("nc1_against_weight_decay", runs, x="weight_decay")
    (axes,) = figure.axes
    (line,) = curves(axes)
    np.testing.assert_array_equal(line.get_xdata(), [1e-4, 1e-3, 1e-2])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 5.0, 8.0])
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.0001", "0.001", "0.01"]
    assert "NC1: variability collapse, at the end" in written(figure)


def test_a_setting_of_words_has_its_values_side_by_side_null_first(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2])
    for run, value in zip(runs, ("b", None, "a"), strict=True):
        run.settings["weight_decay"] = value
    figure = figure_of("nc1_against_weight_decay", runs, x="weight_decay")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["null", "a", "b"]


def test_each_of_many_words_has_its_label(tmp_path):
    runs = sweep(tmp_path, [float(i) for i in range(1, 11)])
    for i, run in enumerate(runs):
        run.settings["weight_decay"] = f"milestone {i}"
    figure = figure_of("nc1_against_weight_decay", runs, x="weight_decay")
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == [f"milestone {i}" for i in range(10)]
    assert all(figure.bbox.y0 <= label.get_window_extent().y0 for label in labels)
    assert all(figure.bbox.x0 <= label.get_window_extent().x0 for label in labels)


def test_losses_side_by_side_have_their_printed_names(tmp_path):
    runs = sweep(tmp_path, [1e-4], losses=("mse", "ce"))
    figure = figure_of("nc1_against_loss", runs, x="loss")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["CE", "MSE"]
    assert "loss" in written(figure)


def test_only_finished_runs_count_and_the_caption_says_so(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2, 1e-1])
    runs[3].content["state"] = "diverged"
    figure = figure_of("nc1_against_weight_decay", runs, x="weight_decay")
    assert len(curves(figure.axes[0])[0].get_xdata()) == 3
    assert any("1 of 4 runs has no such value" in words for words in written(figure))


def test_runs_without_the_value_are_counted_and_leave_the_legend(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3], losses=("mse", "ce"), seeds=2)
    for run in runs:
        run.rows["train_accuracy"] = 0.5 if run.cell[2] == "mse" else 1.0
    figure = figure_of("nc1_against_weight_decay", runs, x="weight_decay", at="phase")
    assert any("4 of 8 runs have no such value" in words for words in written(figure))
    assert legend_words(figure) == ["CE", "median and range of seeds"]


def test_losses_have_lines_of_their_own(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2], losses=("mse", "ce"))
    figure = figure_of("nc1_against_weight_decay", runs, x="weight_decay")
    assert len(curves(figure.axes[0])) == 2
    assert legend_words(figure)[:2] == ["MSE", "CE"]
    assert "layers_nc1_against_weight_decay" not in names_of(runs, x="weight_decay")


@pytest.mark.parametrize(("at", "expected"), [("end", 3.0), ("phase", 1.0), ("min", 0.5), ("max", 9.0)])
def test_the_value_of_a_run_is_that_of_the_chosen_epoch(tmp_path, at, expected):
    def accuracy(epoch):
        return float(epoch >= 2)

    (run,) = read(write_run(tmp_path, epochs=5, change={"train_accuracy": accuracy}))
    values = np.array([9.0, 1.0, 0.5, np.inf, 3.0])
    assert value_at(run, values, at) == expected


def test_a_run_that_never_reached_the_phase_has_no_value_there(tmp_path):
    (run,) = read(write_run(tmp_path, epochs=3, change={"train_accuracy": 0.5}))
    assert np.isnan(value_at(run, np.ones(3), "phase"))


def test_a_column_against_another_has_a_point_for_each_run(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3], losses=("mse", "ce"), seeds=2)
    figure = figure_of("test_accuracy_against_nc1", runs, xy=("nc1", "test_accuracy"))
    points = markers(figure.axes[0])
    assert len(points) == 8
    assert {point.get_xdata()[0] for point in points} == {run.rows["nc1"].iloc[-1] for run in runs}
    np.testing.assert_allclose(
        sorted(point.get_ydata()[0] for point in points),
        sorted(100 * run.rows["test_accuracy"].iloc[-1] for run in runs),
    )
    assert "test accuracy (%)" in written(figure)
    assert len({point.get_marker() for point in points}) == 2


def test_a_column_of_the_summary_can_be_an_axis_and_an_unknown_one_is_an_error(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3])
    assert (
        len(lines(figure_of("phi_advance_cv_against_nc1", runs, xy=("nc1", "phi_advance_cv")).axes[0])) == 2
    )
    with pytest.raises(ConfigError, match=r"no run has a column nc11.*did you mean nc1"):
        names_of(runs, xy=("nc11", "nc1"))
