"""nc-plot, the command: exit codes, messages, files."""

import base64
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.synthetic import write_run

from nc_runner.commands import plot
from nc_runner.figures import choice
from nc_runner.runs.record import METRICS_FILE, RUN_FILE


@pytest.fixture
def few(monkeypatch):
    """Only two figures, to be quick where the pictures are not the point."""
    monkeypatch.setattr(choice, "CATALOGUE", choice.CATALOGUE[:2])
    monkeypatch.setattr(choice, "overviews", lambda *_: [])


def command(*arguments):
    """Run nc-plot in a fresh Python; the last line of its output says which heavy modules it loaded."""
    code = (
        "import sys; from nc_runner.commands.plot import main\n"
        "try: code = main()\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "heavy = ('torch', 'matplotlib', 'pandas', 'numpy', 'rich')\n"
        "print('heavy:', *(name for name in heavy if name in sys.modules))\n"
        "sys.exit(code)"
    )
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def nothing_half_made(folder):
    return not any(path.name == "figures" or path.suffix == ".tmp" for path in Path(folder).rglob("*"))


def test_a_folder_of_runs_gives_all_figures_and_the_summary_without_torch(tmp_path):
    write_run(tmp_path, loss="mse", epochs=20)
    write_run(tmp_path, loss="ce", epochs=20, rows=7, state="interrupted")
    done = command(tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    *_, last, heavy = done.stdout.splitlines()
    assert heavy == "heavy: matplotlib pandas numpy rich"
    assert last.endswith(str(tmp_path / "figures"))
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {
        "train_loss", "errors", "nc1", "nc2_equinorm", "nc2_equiangularity", "nc2_maxangle",
        "nc3_self_duality", "nc4_ncc_mismatch", "mse_decomposition", "mse_decomposition_ce",
        "least_squares_vs_perp", "least_squares_vs_perp_ce", "snr_spectrum", "snr_spectrum_ce",
        "phi_advance", "phi_advance_ce", "perp_over_ls", "overview",
    }  # fmt: skip
    assert files == {f"{stem}.png" for stem in stems} | {"summary.csv", "claims.csv"}


def test_html_adds_the_report_and_nothing_else_without_torch(tmp_path):
    write_run(tmp_path, epochs=6)
    done = command(tmp_path, "--html", "--format", "png")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "heavy: matplotlib pandas numpy rich"
    folder = tmp_path / "figures"
    pictures = list(folder.glob("*.png"))
    assert {path.suffix for path in folder.iterdir()} == {".png", ".csv", ".html"}
    assert (folder / "report.html").read_text().count('src="data:image/svg+xml;base64,') == len(pictures)


def test_html_takes_the_svg_files_that_are_written_anyway(tmp_path, few):
    write_run(tmp_path, epochs=3)
    assert plot.main([str(tmp_path), "--html", "--format", "svg"]) == 0
    page = (tmp_path / "figures" / "report.html").read_text()
    drawn = list((tmp_path / "figures").glob("*.svg"))
    assert len(drawn) > 1
    for picture in drawn:
        assert base64.b64encode(picture.read_bytes()).decode() in page


def test_help_and_bad_arguments_answer_at_once(tmp_path):
    for argument, expected in (("--help", 0), (tmp_path / "none", 2), (tmp_path, 2)):
        done = command(argument)
        assert done.returncode == expected
        assert done.stdout.splitlines()[-1] == "heavy:"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{here}/none"], "is not a folder"),
        (["{here}/file.txt"], "is not a folder"),
        (["{here}"], "no runs in"),
        (["{here}/run", "--format", "gif"], "gif"),
        (["{here}/run", "{here}/none"], "is not a folder"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing_behind(tmp_path, capsys, arguments, message):
    (tmp_path / "file.txt").write_text("hello")
    if any("/run" in argument for argument in arguments):
        write_run(tmp_path / "run", epochs=2)
    try:
        code = plot.main([argument.format(here=tmp_path) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "nc-plot: " in error
    assert len(error.splitlines()) <= 3
    assert nothing_half_made(tmp_path)


def test_foreign_folders_are_not_runs(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "metrics.csv").write_text("epoch,loss\n1,2\n")
    assert plot.main([str(tmp_path)]) == 2
    assert "no runs in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["", "not json", "[]", "{}", '{"state": "complete", "format": 1}', '{"state": 3}', "[" * 100_000],
)
def test_a_damaged_run_alone_is_a_failure_and_makes_no_folder(tmp_path, capsys, content):
    folder = write_run(tmp_path, epochs=2)
    (folder / RUN_FILE).write_text(content)
    assert plot.main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert str(folder) in error
    assert len(error.splitlines()) == 2
    assert nothing_half_made(tmp_path)


def test_a_damaged_run_among_good_ones_is_named_and_left_out(tmp_path, capsys, few):
    write_run(tmp_path, epochs=3)
    bad = write_run(tmp_path, seed=1, epochs=3)
    (bad / RUN_FILE).write_text("garbage")
    gone = write_run(tmp_path, seed=2, epochs=3)
    (gone / METRICS_FILE).unlink()
    assert plot.main([str(tmp_path)]) == 0
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("nc-plot: left out: ") for line in errors)
    assert not any("JSON remove" in line for line in errors)  # two sentences, not one
    assert any(str(bad) in line for line in errors)
    assert any(str(gone) in line for line in errors)
    with (tmp_path / "figures" / "summary.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_a_table_cut_in_mid_line_is_drawn_to_its_last_whole_line(tmp_path, capsys, few):
    folder = write_run(tmp_path, epochs=5)
    table = folder / METRICS_FILE
    table.write_text(table.read_text()[:-30])
    assert plot.main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "its last line was cut short" in captured.err
    assert len(captured.err.splitlines()) == 1
    with (tmp_path / "figures" / "summary.csv").open(newline="") as file:
        assert [line["epochs_done"] for line in csv.DictReader(file)] == ["4"]


def test_a_run_without_rows_is_listed_but_not_drawn(tmp_path, capsys, few):
    write_run(tmp_path, epochs=3)
    waiting = write_run(tmp_path, "vgg11", rows=0, state="running")
    assert plot.main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert f"{waiting} has no measured epoch yet" in captured.err
    assert "VGG11 on Digits" in captured.out


def test_only_runs_without_rows_are_a_failure(tmp_path, capsys):
    write_run(tmp_path, rows=0, state="running")
    assert plot.main([str(tmp_path)]) == 1
    assert "nothing to draw" in capsys.readouterr().err
    assert nothing_half_made(tmp_path)


@pytest.mark.parametrize("where", ["a file in the way", "a folder where a figure goes", "read-only"])
def test_an_output_folder_that_cannot_be_written_is_named_with_a_remedy(tmp_path, capsys, few, where):
    write_run(tmp_path / "runs", epochs=3)
    out = tmp_path / "out"
    if where == "a file in the way":
        out.write_text("")
    elif where == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        out.mkdir(mode=0o500)
    else:
        (out / "errors.png").mkdir(parents=True)
    assert plot.main([str(tmp_path / "runs"), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert str(out) in error
    assert "--out" in error
    assert len(error.splitlines()) == 2
    assert nothing_half_made(tmp_path)


def test_formats_are_chosen_and_repeats_do_no_harm(tmp_path, few):
    folder = write_run(tmp_path, epochs=3)
    arguments = [str(folder), "--format", "svg", "--format", "png", "--format", "svg"]
    assert plot.main([*arguments, "--out", str(tmp_path / "deep" / "out")]) == 0
    files = {path.name for path in (tmp_path / "deep" / "out").iterdir()}
    assert files == {
        "train_loss.svg",
        "train_loss.png",
        "errors.svg",
        "errors.png",
        "summary.csv",
        "claims.csv",
    }


def test_figures_go_into_the_common_folder_of_the_runs(tmp_path, few, monkeypatch, capsys):
    one = write_run(tmp_path / "sweep", epochs=3)
    two = write_run(tmp_path / "sweep", "vgg11", epochs=3)
    monkeypatch.chdir(tmp_path)
    assert plot.main([str(one), str(two.relative_to(tmp_path)), str(one)]) == 0
    assert (tmp_path / "sweep" / "figures" / "summary.csv").exists()
    assert capsys.readouterr().out.splitlines()[-1].endswith(" in sweep/figures")
    assert plot.main(["sweep"]) == 0  # the figures folder inside does not disturb the next call


def test_a_figure_without_data_is_named_and_left_out(tmp_path, capsys, few):
    write_run(tmp_path, epochs=3, change={"train_loss": float("nan")})
    assert plot.main([str(tmp_path), "--format", "png"]) == 0
    assert "the figure train_loss is left out" in capsys.readouterr().err
    assert not (tmp_path / "figures" / "train_loss.png").exists()


def test_an_interrupt_ends_it_quietly(tmp_path, monkeypatch, few):
    write_run(tmp_path, epochs=3)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("nc_runner.figures.draw.draw_all", interrupted)
    assert plot.main([str(tmp_path)]) == 130
