"""What the figures show, read back from matplotlib's artists."""

import math
import warnings
from multiprocessing import get_context

import numpy as np
import pytest
from helpers.drawn import (
    curves,
    figure_of,
    legend_words,
    markers,
    names_of,
    read,
    vertical_lines,
    write_all,
    written,
)
from helpers.synthetic import write_run

from nc_runner.figures import draw
from nc_runner.figures.style import BLUE, ORANGE
from nc_runner.runs.record import DIVERGED, FAILED, INTERRUPTED, RUNNING


def test_networks_are_rows_and_data_sets_columns(tmp_path):
    runs = read(
        write_run(tmp_path, "resnet18", "cifar10", epochs=20),
        write_run(tmp_path, "vgg11", "mnist", epochs=10),
    )
    figure = figure_of("nc1", runs)
    vgg_mnist, vgg_cifar, resnet_mnist, resnet_cifar = figure.axes
    assert [len(curves(axes)) for axes in figure.axes] == [1, 0, 0, 1]
    np.testing.assert_array_equal(curves(vgg_mnist)[0].get_ydata(), runs[1].rows["nc1"])
    np.testing.assert_array_equal(curves(resnet_cifar)[0].get_xdata(), np.arange(1, 21))
    assert vgg_cifar.get_xlim() == resnet_cifar.get_xlim() != vgg_mnist.get_xlim() == resnet_mnist.get_xlim()
    assert {"VGG11", "ResNet18", "MNIST", "CIFAR10"} <= set(written(figure))


def test_losses_differ_in_colour_and_share_a_panel(tmp_path):
    runs = read(write_run(tmp_path, loss="mse", epochs=20), write_run(tmp_path, loss="ce", epochs=20))
    figure = figure_of("train_loss", runs)
    assert [line.get_color() for line in curves(figure.axes[0])] == [BLUE, ORANGE]
    assert legend_words(figure)[:2] == ["MSE", "CE"]


def test_errors_are_in_percent(tmp_path):
    runs = read(write_run(tmp_path, epochs=5, change={"train_accuracy": 0.75, "test_accuracy": 0.5}))
    train, test = curves(figure_of("errors", runs).axes[0])
    assert set(train.get_ydata()) == {25.0}
    assert set(test.get_ydata()) == {50.0}


def test_the_terminal_phase_starts_at_the_first_epoch_with_999_of_1000_correct(tmp_path):
    def accuracy(epoch):
        return {3: 0.9989, 4: 0.999, 5: 0.99}.get(epoch, 0.9)

    runs = read(
        write_run(tmp_path, epochs=6, change={"train_accuracy": accuracy}),
        write_run(tmp_path, loss="ce", epochs=6, change={"train_accuracy": 0.9}),
    )
    figure = figure_of("nc1", runs)
    (line,) = vertical_lines(figure.axes[0])
    assert list(line.get_xdata()) == [4, 4]
    assert line.get_color() == BLUE
    assert any("99.9 %" in words for words in legend_words(figure))


def test_without_a_terminal_phase_neither_line_nor_legend_speaks_of_it(tmp_path):
    figure = figure_of("nc1", read(write_run(tmp_path, epochs=5, change={"train_accuracy": 0.998})))
    assert vertical_lines(figure.axes[0]) == []
    assert not any("terminal" in words for words in legend_words(figure))


def test_each_loss_gets_a_decomposition_of_its_own(tmp_path):
    folders = [write_run(tmp_path, loss=loss, epochs=5) for loss in ("ce", "mse", "my/loss")]
    runs = read(*folders)
    names = names_of(runs)
    assert len(set(names)) == len(names)
    for stem in ("mse_decomposition", "least_squares_vs_perp", "snr_spectrum"):
        assert {stem, f"{stem}_ce", f"{stem}_my_loss"} <= set(names)
    ce = figure_of("mse_decomposition_ce", runs)
    shown = [line.get_ydata() for line in curves(ce.axes[0])]
    run = next(run for run in runs if run.cell[2] == "ce")
    np.testing.assert_array_equal(
        shown, run.rows[["mse_total", "mse_nc1", "mse_nc23", "mse_perp"]].to_numpy().T
    )


def test_two_losses_whose_names_look_alike_on_disk_do_not_overwrite_each_other(tmp_path):
    runs = read(*(write_run(tmp_path / str(i), loss=loss, epochs=2) for i, loss in enumerate(["a:b", "a_B"])))
    names = [name.lower() for name in names_of(runs)]
    assert len(set(names)) == len(names)


def test_the_ridge_and_its_rule_are_written_under_the_decomposition(tmp_path):
    runs = read(write_run(tmp_path, epochs=3, change={"ridge": 0.0025}))
    assert "ridge λ = 0.0025 (objective: C·wd/2)" in written(figure_of("mse_decomposition", runs))
    runs[0].settings["analysis"]["ridge"] = 0.0025
    assert "ridge λ = 0.0025 (set by hand)" in written(figure_of("least_squares_vs_perp", runs))


def test_the_spectrum_has_a_line_for_each_singular_value(tmp_path):
    runs = read(write_run(tmp_path, epochs=5, num_classes=4))
    figure = figure_of("snr_spectrum", runs)
    lines = curves(figure.axes[0])
    assert len(lines) == 3
    np.testing.assert_array_equal(lines[2].get_ydata(), runs[0].rows["snr_3"])


def test_several_seeds_are_drawn_thinner_in_one_colour(tmp_path):
    one = curves(figure_of("nc1", read(write_run(tmp_path / "one", epochs=5))).axes[0])
    three = curves(
        figure_of("nc1", read(*(write_run(tmp_path, seed=seed, epochs=5) for seed in range(3)))).axes[0]
    )
    assert len(three) == 3
    assert {line.get_color() for line in three} == {BLUE}
    assert all(line.get_alpha() < 1 and line.get_linewidth() < one[0].get_linewidth() for line in three)


@pytest.mark.parametrize(
    ("state", "marker", "words"),
    [
        (RUNNING, "o", "running or interrupted"),
        (INTERRUPTED, "o", "running or interrupted"),
        (DIVERGED, "X", "diverged or failed"),
        (FAILED, "X", "diverged or failed"),
    ],
)
def test_a_run_that_is_not_complete_ends_in_a_marker(tmp_path, state, marker, words):
    runs = read(write_run(tmp_path, rows=12, state=state))
    figure = figure_of("nc1", runs)
    (end,) = markers(figure.axes[0])
    assert end.get_marker() == marker
    assert list(end.get_xdata()) == [12]
    assert end.get_ydata()[0] == pytest.approx(runs[0].rows["nc1"].iloc[-1])
    assert words in legend_words(figure)


def test_a_complete_run_has_no_marker_unless_it_is_a_single_point(tmp_path):
    assert markers(figure_of("nc1", read(write_run(tmp_path, epochs=5))).axes[0]) == []
    assert len(markers(figure_of("nc1", read(write_run(tmp_path, epochs=1))).axes[0])) == 1


def test_a_diverged_run_does_not_set_the_scale_of_the_others(tmp_path):
    good = write_run(tmp_path, epochs=20)
    bad = write_run(tmp_path, seed=1, epochs=20, state="diverged", change={"nc1": lambda epoch: 10.0**epoch})
    alone = figure_of("nc1", read(good)).axes[0].get_ylim()
    both = figure_of("nc1", read(good, bad)).axes[0]
    assert both.get_ylim() == alone
    (end,) = markers(both)
    assert alone[0] <= end.get_ydata()[0] <= alone[1]


HOSTILE = {
    "train_loss": lambda epoch: [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 5e-324, 0.3][epoch % 8],
    "train_accuracy": lambda epoch: math.nan if epoch % 2 else 1.0,
    "test_accuracy": math.inf,
    "nc1": 0.0,
    "nc2_equinorm_means": 1e308,
    "nc3_self_duality": math.nan,
    "mse_perp": lambda epoch: 0.0 if epoch < 9 else 1e-33,
    "ridge": math.nan,
    "snr_1": math.inf,
    "snr_2": 1e300,
    "snr_9": 0.0,
}


def test_numbers_that_cannot_be_drawn_break_nothing_and_warn_of_nothing(tmp_path):
    runs = read(write_run(tmp_path, epochs=16, change=HOSTILE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files, empty = write_all(runs, tmp_path, ["png", "pdf", "svg"])
    assert empty == ["nc1", "nc3_self_duality"]
    assert all(file.stat().st_size > 2000 for file in files)
    assert len(files) == 3 * (len(names_of(runs)) - len(empty))


def test_masked_values_leave_gaps_and_the_rest_is_drawn(tmp_path):
    runs = read(write_run(tmp_path, epochs=16, change=HOSTILE))
    (line,) = curves(figure_of("train_loss", runs).axes[0])
    drawn = {x for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if np.isfinite(y)}
    assert drawn == {7, 15}  # where the loss is 0.3


@pytest.mark.filterwarnings("ignore:Glyph")  # figures are drawn without write_figure's own filter
def test_names_from_disk_are_not_taken_for_mathematics_or_markup(tmp_path):
    runs = read(write_run(tmp_path, "$\\frac{$[bold]", "漢字$_$", "_loss$", epochs=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_all(runs, tmp_path, ["png", "pdf"], only=("nc1", "phi_advance", "overview"))
    assert "$\\frac{$[bold] on 漢字$_$" in written(figure_of("nc1", runs))


def test_pdf_text_is_text_of_whole_fonts_and_the_bytes_repeat(tmp_path):
    runs = read(write_run(tmp_path, epochs=3))
    contents = []
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        write_all(runs, out, ["pdf", "svg"], only=("train_loss",))
        contents.append([(out / f"train_loss.{kind}").read_bytes() for kind in ("pdf", "svg")])
    assert b"/CIDFontType2" in contents[0][0] or b"/TrueType" in contents[0][0]
    assert b"/Type3" not in contents[0][0]
    assert contents[0] == contents[1]


def test_a_users_matplotlib_settings_do_not_change_a_figure(tmp_path):
    import matplotlib

    runs = read(write_run(tmp_path, epochs=3))
    contents = []
    for out, size in ((tmp_path / "a", 10.0), (tmp_path / "b", 31.0)):
        out.mkdir()
        with matplotlib.rc_context({"font.size": size, "lines.linewidth": size, "axes.facecolor": "red"}):
            write_all(runs, out, ["png"], only=("train_loss",))
            assert matplotlib.rcParams["font.size"] == size
        contents.append((out / "train_loss.png").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("processes", ["two", "refused"])
def test_processes_draw_what_one_draws_and_where_there_are_none_one_does(tmp_path, monkeypatch, processes):
    runs = read(write_run(tmp_path, epochs=3))
    monkeypatch.setattr(draw, "usable_cores", lambda: 2)

    def context():
        used.append(processes)
        if processes == "refused":
            raise OSError("no semaphores here")
        return get_context()

    used = []
    monkeypatch.setattr(draw, "get_context", context)
    contents = []
    for out, threshold in ((tmp_path / "a", 1), (tmp_path / "b", 10**9)):
        out.mkdir()
        monkeypatch.setattr(draw, "_PARALLEL_FROM", threshold)
        files, _ = write_all(runs, out, ["png"], only=("train_loss", "errors"))
        contents.append([(file.name, file.read_bytes()) for file in files])
    assert used == [processes]
    assert [name for name, _ in contents[0]] == ["train_loss.png", "errors.png"]
    assert contents[0] == contents[1]
