"""What the figures of depth show, read back from matplotlib's artists."""

import numpy as np
import pandas as pd
import pytest
from helpers.drawn import figure_of, legend_words, lines, names_of, read, write_all, written
from helpers.synthetic import write_run

from nc_runner.columns import LAYER_COLUMNS
from nc_runner.commands import plot
from nc_runner.figures.catalogue import LAYER_CATALOGUE
from nc_runner.figures.layers import shown_epochs

FEW = ("stem", "layer1", "layer2", "layer3")
MANY = tuple(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(4))


def words(figure):
    return written(figure), legend_words(figure)


def test_every_curve_names_a_column_of_the_archive():
    assert {curve.column for figure in LAYER_CATALOGUE for curve in figure.curves} <= set(LAYER_COLUMNS)


def test_a_few_epochs_far_apart_on_a_log_scale_with_the_first_and_the_last(tmp_path):
    (run,) = read(write_run(tmp_path, epochs=256, layers=FEW))
    assert shown_epochs(run) == [1, 4, 16, 64, 256]
    (short,) = read(write_run(tmp_path, seed=1, epochs=3, layers=FEW))
    assert shown_epochs(short) == [1, 2, 3]


def test_epoch_0_is_among_the_few_epochs(tmp_path):
    (run,) = read(write_run(tmp_path, epochs=256, layers=FEW))
    first = run.layers[run.layers["epoch"] == 1].assign(epoch=0)
    run.layers = pd.concat([first, run.layers], ignore_index=True)
    assert shown_epochs(run) == [0, 1, 6, 40, 256]


def test_a_line_for_each_epoch_goes_through_the_layers_in_order(tmp_path):
    runs = read(write_run(tmp_path, epochs=256, layers=FEW))
    figure = figure_of("layers_nc1", runs)
    drawn = lines(figure.axes[0])
    for line, epoch in zip(drawn, [1, 4, 16, 64, 256], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_allclose(line.get_ydata(), [10 / epoch ** (0.2 * depth) for depth in range(1, 5)])
    assert len({tuple(line.get_color()) for line in drawn}) == 5
    assert figure.axes[0].get_yscale() == "log"
    assert words(figure)[1] == ["epoch 1", "4", "16", "64", "256"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(FEW)


def test_accuracies_are_percent_of_train_and_test(tmp_path):
    runs = read(write_run(tmp_path, epochs=1, layers=FEW))
    figure = figure_of("layers_ncc_accuracy", runs)
    train, test = lines(figure.axes[0])
    np.testing.assert_allclose(train.get_ydata(), 100 - 50 / np.arange(1, 5))
    np.testing.assert_allclose(test.get_ydata(), 90 - 50 / np.arange(1, 5))
    assert any("train solid, test dashed" in text for text in words(figure)[0])


def test_names_without_room_become_numbers_and_the_caption_tells_them(tmp_path):
    figure = figure_of("layers_nc1", read(write_run(tmp_path, epochs=3, layers=MANY)))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [str(i) for i in range(1, 13)]
    assert "1 layer1.0 … 12 layer3.3, in forward order" in words(figure)[0]


def test_networks_are_rows_losses_have_figures_and_runs_without_layers_are_left_out(tmp_path):
    runs = read(
        write_run(tmp_path, "resnet8", loss="ce", epochs=3, layers=FEW),
        write_run(tmp_path, "resnet20", loss="ce", epochs=3, layers=MANY),
        write_run(tmp_path, "vgg11", "mnist", loss="mse", epochs=3),
    )
    names = [name for name in names_of(runs) if name.startswith("layers_")]
    assert names == ["layers_nc1_ce", "layers_nc2_maxangle_ce", "layers_ncc_accuracy_ce"]
    figure = figure_of("layers_nc1_ce", runs)
    assert [len(lines(axes)[0].get_xdata()) for axes in figure.axes] == [4, 12]
    assert {"ResNet8", "ResNet20", "NC1 by layer, trained with CE"} <= set(words(figure)[0])
    assert "VGG11" not in words(figure)[0]


@pytest.mark.parametrize("layers", [("one",), FEW])
def test_numbers_that_cannot_be_drawn_break_nothing(tmp_path, layers):
    folder = write_run(tmp_path, epochs=4, layers=layers)
    path = folder / "layers.csv"
    table = path.read_text().splitlines()
    cells = [line.split(",") for line in table]
    for row, value in zip(cells[1:], ["nan", "inf", "0.0", "-1.0"] * 4, strict=False):
        row[4] = value
    path.write_text("\n".join(map(",".join, cells)) + "\n")
    only = ("layers_nc1", "layers_nc2_maxangle", "layers_ncc_accuracy")
    files, empty = write_all(read(folder), tmp_path, ["png", "pdf", "svg"], only=only)
    assert empty == ["layers_nc1"]
    assert sum("layers_" in file.name for file in files) == 6


def test_nc_plot_draws_the_layers_and_says_what_was_wrong_with_their_file(tmp_path, capsys):
    folder = write_run(tmp_path, epochs=3, layers=FEW)
    path = folder / "layers.csv"
    path.write_text(path.read_text()[:-10])
    assert plot.main([str(tmp_path), "--format", "png", "--only", "layers_nc1"]) == 0
    assert "layers.csv: its last line was cut short" in capsys.readouterr().err
    assert (tmp_path / "figures" / "layers_nc1.png").stat().st_size > 2000
