"""The list of figures."""

from nc_runner.columns import COLUMNS
from nc_runner.figures.catalogue import CATALOGUE, FLOW_CATALOGUE, LAYER_CATALOGUE
from nc_runner.figures.curves import CurveFigure

CURVES = [figure for figure in CATALOGUE if isinstance(figure, CurveFigure)]


def test_every_curve_names_a_column_of_metrics_csv():
    drawn = {curve.column for figure in CURVES for curve in figure.curves}
    assert drawn <= set(COLUMNS)


def test_every_measure_of_collapse_and_every_term_of_the_loss_is_drawn():
    drawn = {curve.column for figure in CURVES for curve in figure.curves}
    measures = {column for column in COLUMNS if "nc" in column or column.startswith("mse_")}
    assert measures - drawn == {"mse_residual"}  # a check, not a result


def test_names_are_unique_and_several_curves_of_a_figure_differ_in_label_and_look():
    figures = (*CATALOGUE, *LAYER_CATALOGUE, *FLOW_CATALOGUE)
    assert len({figure.name for figure in figures}) == len(figures)
    for figure in figures:
        curves = getattr(figure, "curves", ())
        assert len({(curve.style, curve.colour) for curve in curves}) == len(curves)
        if len(curves) > 1:
            assert len({curve.label for curve in curves}) == len(curves)
            assert all(curve.label and curve.style for curve in curves)


def test_every_figure_has_words_for_the_report():
    for figure in (*CATALOGUE, *LAYER_CATALOGUE, *FLOW_CATALOGUE):
        assert figure.reading.endswith(".")
