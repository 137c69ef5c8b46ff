"""What a user chooses: figures, epochs, style sheets; one figure from Python; LaTeX."""

import subprocess
import sys

import matplotlib
import pytest
from helpers.drawn import curves, figure_of, legend_words, markers, names_of, read, sweep, texts, written
from helpers.synthetic import write_run
from matplotlib.figure import Figure

import nc_runner.figures
from nc_runner.commands import plot
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.figures.catalogue import OVERVIEW
from nc_runner.figures.latex import latex_table
from nc_runner.figures.sheets import SHEETS, read_sheet


def test_only_the_named_figures_are_drawn_and_an_unknown_name_is_an_error(tmp_path):
    runs = read(write_run(tmp_path, epochs=5))
    assert names_of(runs, only=("nc1", "errors")) == ["errors", "nc1"]
    with pytest.raises(ConfigError, match=r"no figure nc11.*did you mean nc1"):
        names_of(runs, only=("nc11",))


def test_a_single_measured_epoch_shows_every_singular_value(tmp_path):
    figure = figure_of("snr_spectrum", read(write_run(tmp_path, epochs=1)))
    assert len(markers(figure.axes[0])) == 9


@pytest.mark.parametrize(
    ("figure", "chosen", "message"),
    [
        ("nc1", {"at": "max"}, "at says which value"),
        ("nc1", {"x": "lr", "epochs": (1, 5)}, "leave them out with x"),
        ("nc1", {"x": "lr", "log_x": True}, "leave them out with x"),
        (("nc1", "test_accuracy"), {"x": "lr"}, "two kinds of figures"),
        (("nc1", "a", "b"), {}, "is no figure"),
        (None, {}, "is no figure"),
        ("nc1", {"epochs": (1, 2, 3)}, "give the first and the last"),
        ("nc1", {"epochs": "1:5"}, "give the first and the last"),
        ("nc1", {"hue": 3}, "hue must be a text or None"),
        ("nc1", {"axes": "here"}, "axes takes one Axes"),
    ],
)
def test_choices_in_python_that_mean_nothing_are_errors(tmp_path, figure, chosen, message):
    with pytest.raises(ConfigError, match=message):
        nc_runner.figures.plot(write_run(tmp_path, epochs=3), figure, **chosen)


def test_what_is_no_run_is_an_error():
    with pytest.raises(ConfigError, match="3 is no run"):
        nc_runner.figures.plot(3, "nc1")
    with pytest.raises(RunFolderError, match="no run is given"):
        nc_runner.figures.plot([], "nc1")


@pytest.mark.parametrize("option", ["--hue", "--style", "--only", "--x"])
def test_an_empty_choice_is_an_error(tmp_path, capsys, option):
    write_run(tmp_path, epochs=2)
    assert plot.main([str(tmp_path), option, ""]) == 2
    assert f"{option} is empty" in capsys.readouterr().err


def test_named_figures_that_cannot_be_drawn_are_named(tmp_path, capsys):
    write_run(tmp_path, epochs=2)
    assert plot.main([str(tmp_path), "--only", "nc1,layers_nc1"]) == 0
    assert "the figure layers_nc1 is left out" in capsys.readouterr().err
    assert plot.main([str(tmp_path), "--only", "nc1,snr_spectrum", "--x", "lr"]) == 0
    err = capsys.readouterr().err
    assert "the figure snr_spectrum is left out: no run has values for it against lr" in err
    assert "nc1 is left out" not in err


def test_axes_of_ones_own_have_the_scale_of_colours_too(tmp_path):
    runs = sweep(tmp_path, [i * 1e-4 for i in range(1, 12)])
    figure = Figure()
    axes = figure.add_subplot()
    assert nc_runner.figures.plot(runs, "nc1", axes=axes) is figure
    (bar,) = (other for other in figure.axes if other is not axes)
    assert bar.get_title() == "weight_decay"


def test_the_learning_rate_of_the_epoch_is_not_called_as_the_setting_is(tmp_path):
    runs = read(*(write_run(tmp_path, lr=lr, epochs=3) for lr in (0.1, 0.2)))
    figure = figure_of("test_accuracy_against_lr", runs, xy=("lr", "test_accuracy"))
    assert "lr of the epoch" in written(figure)


def test_epochs_are_cut_and_may_have_a_log_axis(tmp_path):
    runs = read(write_run(tmp_path, epochs=20))
    (line,) = curves(figure_of("nc1", runs, first=5, last=9).axes[0])
    assert list(line.get_xdata()) == [5, 6, 7, 8, 9]
    axes = figure_of("nc1", runs, log_x=True).axes[0]
    assert axes.get_xscale() == "log"
    assert len(curves(axes)[0].get_xdata()) == 20


def test_the_overview_has_all_of_one_network_on_one_page(tmp_path):
    runs = read(write_run(tmp_path, epochs=5), write_run(tmp_path, loss="ce", epochs=5))
    figure = figure_of("overview", runs)
    assert len(figure.axes) == len(OVERVIEW) == 9
    assert {"Train and test error", "NC1: variability collapse", "ResNet8 on Digits"} <= set(written(figure))
    assert {"MSE", "CE", "class means", "classifier"} <= set(legend_words(figure))
    many = [run for net in ("a", "b", "c", "d", "e") for run in read(write_run(tmp_path, net, epochs=3))]
    assert not any(name.startswith("overview") for name in names_of(many))
    assert sum(name.startswith("overview_") for name in names_of(many, only=("overview",))) == 5


@pytest.mark.parametrize("sheet", [None, *SHEETS])
def test_letters_are_large_enough_to_read_and_lie_inside_the_figure(tmp_path, sheet):
    runs = sweep(tmp_path, [1e-4, 1e-3], losses=("mse", "ce"))
    for name in ("nc1", "mse_decomposition", "overview"):
        figure = figure_of(name, runs, sheet=read_sheet(sheet) if sheet else None)
        figure.canvas.draw()
        ticks = [t for axes in figure.axes for t in axes.get_xticklabels() if t.get_text()]
        for text in (*texts(figure), *ticks):
            assert text.get_fontsize() >= 7
            box = text.get_window_extent()
            assert figure.bbox.x0 - 1 <= box.x0, text.get_text()
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()


def test_a_style_sheet_chooses_size_resolution_and_colours(tmp_path):
    path = tmp_path / "mine.mplstyle"
    path.write_text(
        "figure.figsize: 5, 4\nsavefig.dpi: 50\nlines.linewidth: 3  # thick\n"
        "axes.prop_cycle: cycler('color', ['ff0000', '00ff00'])\n"
    )
    runs = read(write_run(tmp_path / "a", epochs=5), write_run(tmp_path / "a", loss="ce", epochs=5))
    figure = figure_of("nc1", runs, sheet=read_sheet(str(path)))
    assert figure.get_figwidth() == 5
    assert [line.get_linewidth() for line in curves(figure.axes[0])] == [3, 3]
    assert [line.get_color() for line in curves(figure.axes[0])] == ["#ff0000", "#00ff00"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("figure.figsiz: 3, 4\n", r"no setting figure\.figsiz.*did you mean figure\.figsize"),
        ("figure.figsize: large\n", "cannot be read"),
        ("backend: agg\n", "no matter of style"),
    ],
)
def test_a_style_sheet_that_cannot_be_meant_is_an_error(tmp_path, content, message):
    path = tmp_path / "mine.mplstyle"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_sheet(str(path))


def test_plot_gives_a_figure_of_matplotlibs(tmp_path):
    for decay in (1e-4, 1e-3):
        write_run(tmp_path / str(decay), epochs=5, lr=decay)
    figure = nc_runner.figures.plot(tmp_path, "nc1")
    assert isinstance(figure, Figure)
    assert legend_words(figure)[:2] == ["lr 0.0001", "0.001"]
    runs = read(*tmp_path.glob("*/*/*"))
    assert len(curves(nc_runner.figures.plot(runs, "nc1", hue="loss").axes[0])) == 2
    assert nc_runner.figures.plot(runs, ("nc1", "test_accuracy")).axes[0].get_ylabel() == ""
    assert nc_runner.figures.plot(runs, "nc1", x="lr", at="min")


def test_plot_draws_into_axes_of_ones_own_and_leaves_the_settings_alone(tmp_path):
    import matplotlib.pyplot as plt

    folder = write_run(tmp_path, epochs=5)
    size = matplotlib.rcParams["font.size"]
    figure, (left, right) = plt.subplots(1, 2)
    assert nc_runner.figures.plot(folder, "nc1", axes=right) is figure
    assert len(curves(right)) == 1
    assert not curves(left)
    assert right.get_xlabel() == "epoch"
    assert matplotlib.rcParams["font.size"] == size
    plt.close(figure)


def test_plot_says_what_it_cannot_do(tmp_path):
    write_run(tmp_path, epochs=3)
    write_run(tmp_path, "vgg11", epochs=3)
    with pytest.raises(RunFolderError, match="no run"):
        nc_runner.figures.plot([], "nc1")
    with pytest.raises(ConfigError, match="there is no figure"):
        nc_runner.figures.plot(tmp_path, "nonsense")
    with pytest.raises(ConfigError, match="2 x 1 panels"):
        nc_runner.figures.plot(tmp_path, "nc1", axes=Figure().add_subplot())


def test_importing_the_package_brings_no_matplotlib():
    code = "import sys, nc_runner.figures; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x", "lr", "--xy", "nc1", "nc3"], "give one of them"),
        (["--at", "min"], "give one of these too"),
        (["--x", "lr", "--epochs", "3:9"], "--epochs and --log-x are for figures against the epoch"),
        (["--xy", "nc1", "lr", "--only", "nc1"], "leave it out with --xy"),
        (["--x", "weight_decya"], "no run has a setting weight_decya"),
        (["--hue", "nonsense"], "no run has a setting nonsense"),
        (["--only", "nc11"], "there is no figure nc11"),
        (["--style", "nope"], "there is no such file"),
    ],
)
def test_choices_that_make_no_sense_are_errors_that_leave_nothing(tmp_path, capsys, arguments, message):
    write_run(tmp_path, epochs=3)
    assert plot.main([str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("text", ["5", "9:3", "a:b", "-1:4"])
def test_epochs_that_are_no_range_are_refused(tmp_path, capsys, text):
    with pytest.raises(SystemExit):
        plot.main([str(tmp_path), f"--epochs={text}"])
    assert "give two epochs such as 100:350" in capsys.readouterr().err


def test_the_latex_table_has_what_varies_and_special_letters_as_text(tmp_path):
    runs = sweep(tmp_path, [1e-4, 1e-3])
    runs[0].settings["weight_decay"] = "[50% & $\\x_1^2${#}~"
    table = latex_table(runs)
    assert r"weight\_decay" in table
    assert (
        r"{[}50\% \& \$\textbackslash{}\textbackslash{}x\_1\textasciicircum{}2\$\{\#\}\textasciitilde{}"
        in table
    )
    assert table.count(r"\\") == 3
    assert plot.main([str(tmp_path), "--latex", "--only", "nc1", "--format", "png"]) == 0
    assert (tmp_path / "figures" / "summary.tex").read_text().startswith("% needs")
