"""The list of figures."""

from nc_runner.columns import COLUMNS
from nc_runner.figures.catalogue import CATALOGUE


def test_every_curve_names_a_column_of_the_archive():
    drawn = {curve.column for entry in CATALOGUE for curve in entry.curves}
    assert drawn <= set(COLUMNS)


def test_every_measure_of_collapse_and_every_term_of_the_loss_is_drawn():
    drawn = {curve.column for entry in CATALOGUE for curve in entry.curves}
    measures = {column for column in COLUMNS if "nc" in column or column.startswith("mse_")}
    assert measures - drawn == {"mse_residual"}  # a check, not a result


def test_names_are_unique_and_entries_with_several_curves_tell_them_apart():
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)
    for entry in CATALOGUE:
        looks = {(curve.style, curve.colour) for curve in entry.curves}
        assert len(looks) == len(entry.curves)
        if len(entry.curves) > 1:
            assert all(curve.label and curve.style for curve in entry.curves)
