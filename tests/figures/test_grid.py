"""Scales, and the panel grid's layout."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.drawn import legend, legend_words, texts
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.lines import Line2D

from nc_runner.figures.grid import Frame, LegendEntry, Panel
from nc_runner.figures.letters import fitting
from nc_runner.figures.scales import drawable, linear_scale, log_scale
from nc_runner.figures.sheets import drawing, read_sheet
from nc_runner.figures.traces import Trace


@pytest.mark.parametrize("high", [1e-9, 0.37, 1.0, 42.0, 350.0, 1e6, 1e150])
def test_a_linear_scale_has_a_few_ticks_inside_its_limits(high):
    scale = linear_scale(0, high)
    assert 2 <= len(scale.ticks) <= 6
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert scale.high >= high


def test_epochs_get_whole_ticks():
    assert linear_scale(0, 1, whole=True).labels == ("0", "1")
    assert linear_scale(0, 3, whole=True).labels == ("0", "1", "2", "3")


@given(low=st.floats(-190, 190), decades=st.one_of(st.just(0.0), st.floats(1e-3, 3.0), st.floats(0.0, 12.0)))
def test_a_log_scale_holds_its_values_and_has_a_few_ticks_each_with_its_own_label(low, decades):
    high = 10.0 ** (low + decades)
    scale = log_scale(10.0**low, high)
    assert scale.low < 10.0**low * (1 + 1e-9)
    assert high < scale.high
    assert 2 <= len(scale.ticks) <= 7
    assert len(set(scale.labels)) == len(scale.labels) == len(scale.ticks)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert set(scale.ticks) <= set(scale.minor) or not scale.minor


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.07, 1.4, ("0.1", "0.3", "1")),
        (0.0714, 0.189, ("0.08", "0.10", "0.12", "0.14", "0.16", "0.18")),
        (1e-5, 2e-4, ("10⁻⁵", "10⁻⁴")),
        (2e-5, 2e-4, ("2·10⁻⁵", "5·10⁻⁵", "1·10⁻⁴", "2·10⁻⁴")),
        (0.002, 0.5, ("0.003", "0.01", "0.03", "0.1", "0.3")),
        (1e-9, 1.0, ("10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰")),
        (1.0, 350.0, ("1", "10", "100")),
    ],
)
def test_ticks_of_a_log_scale_stand_between_powers_of_ten_only_where_those_are_few(low, high, labels):
    assert log_scale(low, high).labels == labels


def test_a_log_scale_leaves_rounding_errors_below_the_panel():
    assert log_scale(1e-33, 1.0).low > 1e-14
    assert log_scale(1e-9, 1.0).low < 1e-9


def test_clamping_moves_what_lies_outside_to_the_limits_and_keeps_gaps():
    scale = log_scale(1e-2, 1.0)
    moved = scale.clamp(np.array([1e-30, 0.1, 1e30, math.nan]))
    np.testing.assert_allclose(moved, [scale.low, 0.1, scale.high, math.nan])
    assert linear_scale(0, 1).clamp(np.array(1e99), slack=2.0) < 4


def test_what_an_axis_cannot_show_is_masked():
    values = np.array([1.0, 0.0, -1.0, 1e-300, 1e300, math.inf, math.nan])
    np.testing.assert_array_equal(drawable(values, log=True), [1.0, *[math.nan] * 6])
    np.testing.assert_array_equal(drawable(values, log=False), [1.0, 0.0, -1.0, 1e-300, *[math.nan] * 3])


SCALES = linear_scale(0, 350, whole=True), log_scale(1e-4, 1.0)


def _grid(rows, columns, labels=("MSE", "CE"), sheet=None):
    frame = Frame(
        rows=rows,
        columns=columns,
        panels=[
            [Panel((), linear_scale(0, 350, whole=True), log_scale(1e-4, 1.0)) for _ in columns] for _ in rows
        ],
        title="A title",
        y_label="$y$",
        x_label="epoch",
        legend=[LegendEntry(Line2D([], []), label) for label in labels],
        caption="a caption",
    )
    with drawing(sheet):
        figure = frame.draw()
    return figure, np.reshape(figure.axes, (len(rows), len(columns)))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (6, 1), (1, 7)])
def test_panels_and_texts_lie_inside_the_figure_and_panels_do_not_overlap(rows, columns):
    figure, panels = _grid([f"ResNet{i}" for i in range(rows)], [f"CIFAR{j}" for j in range(columns)])
    figure.canvas.draw()
    whole = figure.bbox
    boxes = [axes.bbox for row in panels for axes in row]
    for box in boxes + [text.get_window_extent() for text in texts(figure)]:
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_one_panel_is_a_column_wide_and_a_grid_a_page():
    assert _grid(["a"], ["b"])[0].get_figwidth() == pytest.approx(3.4)
    assert _grid(["a"] * 3, ["b"] * 5)[0].get_figwidth() == pytest.approx(7.0)


def test_tick_labels_stand_only_at_the_outer_panels():
    figure, panels = _grid(["a", "b"], ["c", "d"])
    figure.canvas.draw()

    def labelled(axis):
        return any(label.get_text() for label in axis.get_ticklabels())

    assert [[labelled(axes.xaxis) for axes in row] for row in panels] == [[False, False], [True, True]]
    assert [[labelled(axes.yaxis) for axes in row] for row in panels] == [[True, False], [True, False]]


def test_a_legend_with_many_entries_stays_inside_the_figure():
    figure, _ = _grid(["a"], ["b"], [f"a loss with a rather long name {i}" for i in range(6)])
    box = legend(figure).get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


def test_names_with_dollars_and_underscores_are_shown_as_they_are():
    figure, _ = _grid(["a$b$c", "d"], ["e"], ["_hidden$x$", "CE"])
    figure.canvas.draw()
    title = next(text for text in texts(figure) if text.get_text() == "a$b$c")
    assert not title.get_parse_math()
    assert legend_words(figure) == ["_hidden$x$", "CE"]


def test_a_long_caption_is_broken_into_lines_and_nothing_of_it_is_lost():
    caption = (
        "t0: first epoch of the terminal phase, or the first epoch. If the law holds, all lines are equal"
    )
    panel = Panel((), *SCALES)
    frame = Frame(
        rows=["a"], columns=["b"], panels=[[panel]], title="t", x_label="x", y_label="y", legend=[],
        caption=caption,
    )  # fmt: skip
    with drawing():
        figure = frame.draw()
    title = legend(figure).get_title()
    assert title.get_text().split() == caption.split()
    assert "\n" in title.get_text()
    box = title.get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize(("low", "high"), [(0.09, 0.45), (1e-5, 2e-4), (0.1, 0.9)])
def test_only_major_ticks_have_labels(low, high):
    panel = Panel((), log_scale(low, high), log_scale(low, high))
    frame = Frame(rows=["a"], columns=["b"], panels=[[panel]], title="", x_label="", y_label="", legend=[])
    with drawing():
        figure = frame.draw()
        figure.canvas.draw()
    (axes,) = figure.axes
    for axis, scale in ((axes.xaxis, panel.x), (axes.yaxis, panel.y)):
        assert axis.get_minorticklocs().size
        assert tuple(label.get_text() for label in axis.get_majorticklabels()) == scale.labels
        assert not any(label.get_text() for label in axis.get_minorticklabels())


@pytest.mark.parametrize("sheet", ["column", "page", "slide"])
@pytest.mark.parametrize("columns", [1, 4, 6])
def test_labels_of_ticks_stand_side_by_side_in_narrow_panels(sheet, columns):
    settings = read_sheet(sheet)
    figure, panels = _grid(["a"], [f"lr {j}" for j in range(columns)], sheet=settings)
    with drawing(settings):
        figure.canvas.draw()
    labels = [label for axes in panels[0] for label in axes.xaxis.get_ticklabels()]
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) >= 2 * columns
    assert not any(box.overlaps(other) for box, other in pairwise(boxes))


def test_a_panel_with_nothing_but_its_background_is_shaded():
    scale = linear_scale(0, 1)
    line = Trace(x=np.zeros(2), y=np.ones(2), colour="k")
    behind = replace(line, background=True)
    assert [Panel(traces, scale, scale).shaded for traces in ((), [behind], [behind, line])] == [
        True,
        True,
        False,
    ]


def test_titles_that_are_too_long_are_wrapped_and_stay_different():
    names = [f"imbalance.ratio 2, imbalance.minority_classes {count}" for count in (2, 5)]
    found = [fitting(name, 1.5, 8.0)[0] for name in names]
    assert [" ".join(text.split()) for text in found] == names
    assert all("\n" in text for text in found)


def test_titles_of_panels_that_have_their_own_are_of_one_size():
    titles = ("short", "a title that is far too long for its panel")
    panels = [[Panel((), linear_scale(0, 1), linear_scale(0, 1), title=title) for title in titles]]
    frame = Frame(rows=[""], columns=["", ""], panels=panels, title="", x_label="", y_label="", legend=[])
    with drawing():
        sizes = {axes.title.get_fontsize() for axes in frame.draw().axes}
    assert len(sizes) == 1
    assert sizes.pop() < 8.0
