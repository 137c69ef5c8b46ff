"""Which colours and styles runs have, and how values stand on an axis."""

import numpy as np
import pytest
from helpers.drawn import curves, figure_of, legend_words, names_of, read, sweep, texts, written
from helpers.synthetic import write_run
from hypothesis import given
from hypothesis import strategies as st

from nc_runner.errors import ConfigError
from nc_runner.figures.hue import MOST_LABELS, Hue
from nc_runner.figures.number_line import NumberLine
from nc_runner.figures.sheets import drawing


def test_colours_stand_for_what_differs_and_the_legend_names_it(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2])
    figure = figure_of("nc1", runs)
    assert len({tuple(line.get_color()) for line in curves(figure.axes[0])}) == 3
    assert legend_words(figure)[:3] == ["weight_decay 0.0001", "0.001", "0.01"]


def test_what_comes_with_an_optimizer_is_said_once_below_the_figure(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2])
    for run, (optimizer, lr) in zip(runs, (("sgd", 0.1), ("adam", 1e-3), ("adamw", 1e-3)), strict=True):
        run.settings.update({"optimizer": {"_target_": optimizer}, "lr": lr, "weight_decay": 5e-4})
    said = "each optimizer has its own lr"
    figure = figure_of("nc1", runs)
    assert legend_words(figure)[:3] == ["optimizer adam", "adamw", "sgd"]
    assert said in written(figure)
    against = figure_of("nc1_against_optimizer", runs, x="optimizer")
    (line,) = curves(against.axes[0])  # all optimizers in one, with their own learning rates
    assert len(line.get_xdata()) == 3
    assert said in written(against)
    runs[0].settings["lr"] = 1e-3
    assert not any(said in words for words in written(figure_of("nc1", runs)))


def test_many_words_have_looks_that_all_differ(tmp_path):
    runs = sweep(tmp_path, [float(i) for i in range(1, 13)])
    for i, run in enumerate(runs):
        run.settings["weight_decay"] = f"word{i}"
    with drawing():
        hue = Hue(runs)
        assert len({hue.look(run) for run in runs}) == 12


def test_lines_are_said_to_differ_only_where_some_share_a_colour(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3, 1e-2])
    for run, lr in zip(runs, (0.1, 0.1, 0.2), strict=True):
        run.settings["lr"] = lr
    with drawing():
        assert Hue(runs, "weight_decay").caption() == ""
        assert Hue(runs, "lr").caption() == "lines of one colour differ in weight_decay"


def test_where_nothing_differs_but_the_seed_colours_stand_for_the_loss(tmp_path):
    runs = sweep(tmp_path, [1e-4], losses=("mse", "ce"), seeds=2)
    with drawing():
        assert Hue(runs).by_loss
    assert legend_words(figure_of("nc1", runs))[:2] == ["MSE", "CE"]


def test_styles_stand_for_losses_where_colours_do_not_and_figures_of_several_curves_are_split(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3], losses=("mse", "ce"))
    figure = figure_of("nc1", runs)
    styles = {
        (run.cell[2], line.get_linestyle()) for run, line in zip(runs, curves(figure.axes[0]), strict=True)
    }
    assert len(styles) == 2
    assert {"MSE", "CE"} <= set(legend_words(figure))
    assert {"errors", "errors_ce", "nc1"} <= set(names_of(runs))
    assert "nc1_ce" not in names_of(runs)


def test_many_numbers_have_a_scale_of_colours_and_no_legend(tmp_path):
    decays = [float(f"{d:.3g}") for d in np.geomspace(1e-5, 1e-2, MOST_LABELS + 1)]
    figure = figure_of("nc1", sweep(tmp_path, decays))
    panel, bar = figure.axes
    assert bar.get_title() == "weight_decay"
    assert not any("0.0" in words for words in legend_words(figure))
    colours = [tuple(line.get_color()) for line in curves(panel)]
    assert len(set(colours)) == len(decays)


def test_figures_whose_colours_stand_for_terms_have_a_column_for_each_value(tmp_path):
    figure = figure_of("mse_decomposition", sweep(tmp_path, [1e-4, 1e-3]))
    assert [len(curves(axes)) for axes in figure.axes] == [4, 4]
    assert {"weight_decay 0.0001", "weight_decay 0.001", "ResNet8 on Digits"} <= set(written(figure))


def test_two_settings_are_named_together_and_too_many_by_the_one_with_most_values(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3])
    runs[1].settings["batch_size"] = 64
    with drawing():
        assert Hue(runs).labels == [
            "weight_decay 0.0001, batch_size 128",
            "weight_decay 0.001, batch_size 64",
        ]
    many = [run for size in (32, 64, 128) for run in sweep(tmp_path / str(size), [1e-5, 1e-4, 1e-3, 1e-2])]
    for i, run in enumerate(many):
        run.settings["batch_size"] = (32, 64, 128)[i // 4]
    figure = figure_of("nc1", many)
    assert legend_words(figure)[:2] == ["weight_decay 1e-05", "0.0001"]
    assert "lines of one colour differ in batch_size" in written(figure)


def test_a_chosen_setting_colours_and_seeds_can_be_told_apart(tmp_path):
    runs = sweep(tmp_path, [1e-4], seeds=3)
    assert legend_words(figure_of("nc1", runs, hue="seed"))[:3] == ["seed 0", "1", "2"]
    with drawing(), pytest.raises(ConfigError, match=r"no run has a setting weight_decy.*weight_decay"):
        Hue(runs, "weight_decy")


def test_a_chosen_setting_that_is_the_same_in_all_runs_is_named_all_the_same(tmp_path):
    figure = figure_of("nc1", sweep(tmp_path, [1e-4], losses=("mse", "ce")), hue="weight_decay")
    assert "weight_decay 0.0001" in legend_words(figure)


def test_networks_share_a_panel_where_colours_stand_for_them(tmp_path):
    runs = read(write_run(tmp_path, "resnet8", epochs=5), write_run(tmp_path, "vgg11", epochs=5))
    figure = figure_of("nc1", runs, hue="net")
    (axes,) = figure.axes
    assert len(curves(axes)) == 2
    assert legend_words(figure)[:2] == ["VGG11", "ResNet8"]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("value", ["$\\frac{$", "<b>x</b>", "[red]x[/red]", "a\nb\x1b[31m", "x" * 300])
def test_values_from_disk_are_shown_as_they_are(tmp_path, value):
    runs = sweep(tmp_path, [1e-4, 1e-3])
    for run, text in zip(runs, (value, "other"), strict=True):
        run.settings["weight_decay"] = text
    figure = figure_of("nc1", runs)
    figure.canvas.draw()
    words = legend_words(figure)[:2]
    assert all(word.isprintable() and len(word) < 70 for word in words)
    assert not any(
        text.get_parse_math()
        for text in texts(figure)
        if "$" in text.get_text() and "frac" in text.get_text()
    )


NUMBERS = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=9, unique=True).map(sorted)


@given(NUMBERS)
def test_numbers_keep_their_order_and_lie_on_their_axis(numbers):
    numbers = [number for number in numbers if number == 0 or number > 1e-6] or [1.0]
    line = NumberLine(numbers)
    fractions = [line.fraction(number) for number in numbers]
    assert fractions == sorted(fractions)
    assert min(fractions) >= 0
    assert max(fractions) <= 1 + 1e-12
    for scale in (line.scale(), line.scale([str(number) for number in numbers])):
        assert all(scale.low <= line.place(number) <= scale.high for number in numbers)
        assert len(scale.ticks) == len(scale.labels) >= 1


def test_zero_has_a_place_beside_powers_of_ten():
    line = NumberLine([0.0, 1e-5, 1e-4, 1e-3])
    scale = line.scale(["0", "1e-5", "1e-4", "1e-3"])
    assert scale.log
    assert scale.labels[0] == "0"
    assert 0 < line.place(0.0) < 1e-5
