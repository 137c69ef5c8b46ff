"""Several seeds as one line: median and range, on the page and in the table."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.drawn import curves, figure_of, legend_words, read, vertical_lines
from helpers.synthetic import write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Polygon
from rich.console import Console

from nc_runner.commands.plot_tables import print_table, spread
from nc_runner.figures.seeds import SeedGroup, _join, group_seeds
from nc_runner.runs.reader import Run


def seeds(tmp_path, count=3, **options):
    return read(*(write_run(tmp_path, seed=seed, **{"epochs": 12, **options}) for seed in range(count)))


def test_finished_runs_that_differ_in_the_seed_alone_are_one(tmp_path):
    runs = seeds(tmp_path)
    other_lr = read(write_run(tmp_path, lr=0.2, epochs=12))
    unfinished = read(write_run(tmp_path, seed=9, epochs=12, rows=3, state="running"))
    group, single, running = group_seeds([*runs, *other_lr, *unfinished])
    assert isinstance(group, SeedGroup)
    assert group.members == runs
    assert (single, running) == (other_lr[0], unfinished[0])
    stacked = np.stack([run.rows["nc1"] for run in runs])
    np.testing.assert_array_equal(group.rows["nc1"], np.median(stacked, axis=0))


def test_copies_of_one_seed_are_not_a_spread(tmp_path):
    runs = [*seeds(tmp_path / "a", 1), *seeds(tmp_path / "b", 1)]
    assert group_seeds(runs) == runs


def test_only_epochs_that_all_seeds_measured_are_joined(tmp_path):
    runs = seeds(tmp_path, 2)
    runs[0].rows = runs[0].rows[runs[0].rows["epoch"] % 2 == 0]
    (group,) = group_seeds(runs)
    assert group.rows["epoch"].tolist() == [2, 4, 6, 8, 10, 12]
    runs[1].rows = runs[1].rows[runs[1].rows["epoch"] % 2 == 1]
    assert group_seeds(runs) == runs


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_medians_are_those_of_pandas_to_the_bit(data):
    numbers = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 1.7e308])
    shape = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 4)), 2
    values = np.array(data.draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape))))
    tables = [pd.DataFrame(table, columns=["a", "b"]) for table in values.reshape(shape)]
    runs = [Run({}, Path(), table.assign(epoch=range(len(table)))) for table in tables]
    expected = pd.concat([run.rows for run in runs]).groupby("epoch").median().reset_index()
    found = _join(runs).rows
    assert list(found.columns) == list(expected.columns)
    assert (found.dtypes == expected.dtypes).all()
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())


def test_layers_are_joined_by_their_median(tmp_path):
    runs = seeds(tmp_path, 3, layers=["stem", "body"])
    for factor, run in zip((1.0, 5.0, 2.0), runs, strict=True):
        run.layers["nc1"] *= factor
    (group,) = group_seeds(runs)
    assert group.layers["layer"].tolist() == ["stem", "body"] * 12
    np.testing.assert_allclose(group.layers["nc1"], 2 * runs[0].layers["nc1"])


def test_a_figure_shows_one_line_within_its_band(tmp_path):
    runs = seeds(tmp_path)
    figure = figure_of("nc1", group_seeds(runs))
    (axes,) = figure.axes
    (line,) = curves(axes)
    (band,) = (artist for artist in axes.get_children() if isinstance(artist, Polygon))
    stacked = np.stack([run.rows["nc1"] for run in runs])
    np.testing.assert_array_equal(line.get_ydata(), np.median(stacked, axis=0))
    outline = band.get_xy()[:-1, 1]  # closed: the first point again
    np.testing.assert_array_equal(outline[:12], stacked.min(axis=0))
    np.testing.assert_array_equal(outline[12:], stacked.max(axis=0)[::-1])
    assert "median and range of 3 seeds" in legend_words(figure)
    assert len(vertical_lines(axes)) == 1
    low, high = axes.get_ylim()
    assert low < stacked.min()
    assert high > stacked.max()


def test_the_spectrum_shows_medians_alone(tmp_path):
    figure = figure_of("snr_spectrum", group_seeds(seeds(tmp_path)))
    assert not [artist for artist in figure.axes[0].get_children() if isinstance(artist, Polygon)]
    assert "median of 3 seeds" in legend_words(figure)


def test_the_table_says_median_lowest_and_highest(tmp_path):
    runs = seeds(tmp_path, change={})
    for value, run in zip((0.01, 0.03, 0.02), runs, strict=True):
        run.rows.loc[run.rows.index[-1], "nc1"] = value
    console = Console(file=io.StringIO(), width=80)
    print_table(group_seeds(runs), console)
    lines = console.file.getvalue().splitlines()
    found = {word: line for line in lines for word in ("median", "lowest", "highest") if f" {word} " in line}
    assert "3×" in found["median"]
    for word, value in (("median", "0.020"), ("lowest", "0.010"), ("highest", "0.030")):
        assert f" {value} " in found[word]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("column", ["terminal_phase_epoch", "test_accuracy"])
def test_a_number_that_one_seed_lacks_has_no_median(tmp_path, column):
    runs = seeds(tmp_path)
    runs[1].rows["train_accuracy"] = 0.5
    runs[1].rows["test_accuracy"] = float("nan")
    (group,) = group_seeds(runs)
    assert [line[column] for line in spread(group)] == [None] * 3
