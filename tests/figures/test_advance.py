"""The test of the central-path law: spectra that follow it give one line and no spread, others do not."""

import math

import numpy as np
import pytest
import torch
from helpers.drawn import curves, figure_of, written
from helpers.synthetic import write_run

from nc_runner import collapse
from nc_runner.figures.advance import phi, phi_advance, phi_advance_spread
from nc_runner.figures.summary import summarise
from nc_runner.runs.reader import read_run

START = torch.tensor([4.0, 2.0, 0.5], dtype=torch.float64)


def lawful_run(root, law="projected", **change):
    """Four classes whose spectrum moves by the law, on a clock that runs as the cube of the epoch."""
    spectra = collapse.central_path(START, torch.arange(41.0) ** 3, 4, 10, law)
    columns = {f"snr_{j + 1}": (lambda epoch, j=j: float(spectra[epoch, j])) for j in range(3)}
    folder = write_run(root, epochs=40, num_classes=4, change={**columns, **change})
    return read_run(folder)


@pytest.mark.parametrize("law", ["projected", "raw"])
def test_phi_is_that_of_the_science(law):
    np.testing.assert_allclose(phi(START.numpy(), 7, law), collapse.phi(START, 7, law), rtol=1e-14)
    assert np.isnan(phi(np.array([0.0, -1.0, np.inf, np.nan]), 7, law)).all()


def test_spectra_on_the_law_advance_alike_whatever_the_clock(tmp_path):
    run = lawful_run(tmp_path)
    epochs, advance = phi_advance(run.rows, 4, 10)
    assert epochs[0] == 10
    assert (advance[0] == 0).all()
    np.testing.assert_allclose(advance, ((epochs**3 - 1000) / 10)[:, None].repeat(3, axis=1), rtol=1e-9)
    assert phi_advance_spread(run.rows, 4, 10) < 1e-9
    assert phi_advance_spread(run.rows, 4, 10, "raw") > 0.03


def test_other_spectra_have_a_spread_and_those_of_raw_steps_fit_the_raw_law(tmp_path):
    run = lawful_run(tmp_path, "raw")
    assert phi_advance_spread(run.rows, 4, None) > 0.005
    assert phi_advance_spread(run.rows, 4, None, "raw") < 1e-9


def test_there_is_no_spread_without_two_rows_or_with_infinite_signals(tmp_path):
    run = lawful_run(tmp_path, snr_1=lambda epoch: math.inf if epoch == 40 else 5.0)
    assert math.isnan(phi_advance_spread(run.rows, 4, None))
    assert math.isnan(phi_advance_spread(run.rows, 4, 40))


def test_the_summary_counts_from_the_terminal_phase_or_else_from_the_first_row(tmp_path):
    early = {"snr_1": lambda epoch: 1.0 if epoch < 10 else 2.0 * (epoch / 10) ** 0.5}
    reached = lawful_run(tmp_path / "a", train_accuracy=lambda epoch: float(epoch >= 10), **early)
    never = lawful_run(tmp_path / "b", train_accuracy=0.5, **early)
    expected = [phi_advance_spread(reached.rows, 4, 10), phi_advance_spread(never.rows, 4, 1)]
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)
    assert [summarise(run)["phi_advance_cv"] for run in (reached, never)] == expected


def test_the_figure_draws_the_advance_of_every_omega_and_says_what_t0_is(tmp_path):
    run = lawful_run(tmp_path, train_accuracy=lambda epoch: float(epoch >= 10))
    figure = figure_of("phi_advance", [run])
    (panel,) = figure.axes
    _, advance = phi_advance(run.rows, 4, 10)
    assert len(curves(panel)) == 3
    for j, line in enumerate(curves(panel)):
        drawn = np.isfinite(line.get_ydata())
        np.testing.assert_allclose(line.get_ydata()[drawn], advance[1:, j])
        assert line.get_xdata()[drawn][0] == 11
    assert any("first epoch of the terminal phase" in words for words in written(figure))
