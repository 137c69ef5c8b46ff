"""What the flow figures show, read back from matplotlib's artists."""

import math

import numpy as np
import pytest
from helpers.drawn import lines, written

from nc_runner.figures.catalogue import FLOW_CATALOGUE
from nc_runner.figures.flow import FlowCurves
from nc_runner.runs import flows

FIGURES = {figure.name: figure for figure in FLOW_CATALOGUE}


def made_flow(root, laws=("projected",), seed=0, off=1.0):
    """A flow of two made-up power laws, whose simulated values are ``off`` times the exact ones."""
    settings = flows.FlowSettings(
        classes=3,
        features=4,
        samples=5,
        seed=seed,
        spectrum=[2.0, 1.0],
        laws=list(laws),
        times=[],
        per_decade=8,
    )
    rows = []
    for law in laws:
        for t in np.logspace(0, 6, 13):
            omega = 2 * t**0.25, t**0.25 * t / (t + 100)
            measures = dict.fromkeys(flows.MEASURES, 1 / t) | {"nc4_ncc_mismatch": 0.0 if t > 10 else 0.5}
            simulated = [off * value for value in omega]
            rows.append(flows.FlowRow(law, 45 * t, simulated, list(omega), measures))
    folder = root / settings.folder_name
    flows.write_flow(folder, settings, rows)
    return flows.read_flow(folder)


def exact_lines(axes):
    """(x, y) of the lines of the closed form, without the guide and the points."""
    shown = [line for line in lines(axes) if line.get_linestyle() == "-"]
    return [np.column_stack(line.get_data()) for line in shown]


def points(axes):
    return [line for line in lines(axes) if line.get_marker() == "o"]


def test_exact_lines_and_simulated_points_are_those_of_the_table_in_units_of_n_c_squared(tmp_path):
    figure = FIGURES["flow_spectrum"].frame([made_flow(tmp_path, off=1.5)]).draw()
    (panel,) = figure.axes
    assert panel.get_xscale() == panel.get_yscale() == "log"
    times = np.logspace(0, 6, 13)
    first, second = exact_lines(panel)
    np.testing.assert_allclose(first, np.column_stack((times, 2 * times**0.25)))
    np.testing.assert_allclose(second[:, 1], times**1.25 / (times + 100))
    np.testing.assert_allclose(points(panel)[0].get_ydata(), 1.5 * first[:, 1])
    low, high = panel.get_xlim()
    assert low < 1 < 1e6 < high


def test_ratios_are_to_the_largest_and_exponents_are_slopes(tmp_path):
    flow = made_flow(tmp_path)
    (panel,) = FIGURES["flow_ratios"].frame([flow]).draw().axes
    first, second = exact_lines(panel)
    assert set(first[:, 1]) == {1.0}
    assert second[-1, 1] == pytest.approx(0.5, rel=1e-3)
    (panel,) = FIGURES["flow_exponents"].frame([flow]).draw().axes
    first, second = exact_lines(panel)
    np.testing.assert_allclose(first[:, 1], 0.25)
    assert second[0, 1] > 1
    assert second[-1, 1] == pytest.approx(0.25, abs=1e-3)


def test_laws_are_columns_and_flows_rows_with_different_names(tmp_path):
    flows = [made_flow(tmp_path, ("projected", "raw")), made_flow(tmp_path, seed=1)]
    figure = FIGURES["flow_losses"].frame(flows).draw()
    assert len(figure.axes) == 4
    assert {"projected gradient", "raw gradient"} < set(written(figure))
    assert {f"C = 3, P = 4, n = 5, seed {seed}" for seed in (0, 1)} < set(written(figure))
    assert [len(axes.lines) + len(axes.artists) for axes in figure.axes] == [3, 3, 3, 0]


def test_a_measure_that_is_zero_ends_its_line(tmp_path):
    (panel,) = FIGURES["flow_collapse"].frame([made_flow(tmp_path)]).draw().axes
    shown = lines(panel)
    nc4 = shown[-1].get_ydata()
    assert nc4[0] == 0.5
    assert math.isnan(nc4[-1])
    assert np.isfinite(shown[0].get_ydata()).all()


def test_every_curve_names_a_column_of_the_archive():
    assert {
        c.column for figure in FLOW_CATALOGUE if isinstance(figure, FlowCurves) for c in figure.curves
    } <= set(flows.MEASURES)
