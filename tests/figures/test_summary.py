"""summary.csv and the table on the terminal."""

import csv
import io
import math

import pytest
from helpers.synthetic import write_run
from rich.console import Console

from nc_runner.columns import COLUMNS
from nc_runner.commands.plot_tables import print_table
from nc_runner.figures.judging import judge
from nc_runner.figures.summary import (
    SUMMARY_FILE,
    by_cell,
    run_title,
    summarise,
    terminal_phase_start,
    write_summary,
)
from nc_runner.runs.reader import read_run


def read(*folders):
    return [read_run(folder) for folder in folders]


def test_the_terminal_phase_is_the_first_epoch_reached_even_where_epochs_are_skipped(tmp_path):
    (run,) = read(
        write_run(tmp_path, epochs=10, change={"train_accuracy": lambda e: 1.0 if e >= 6 else 0.99})
    )
    assert terminal_phase_start(run.rows) == 6
    assert terminal_phase_start(run.rows[run.rows["epoch"] != 6]) == 7
    assert terminal_phase_start(run.rows[run.rows["epoch"] < 6]) is None


def test_a_line_holds_the_last_value_of_every_metric(tmp_path):
    (run,) = read(
        write_run(
            tmp_path,
            "vgg11",
            "mnist",
            "ce",
            seed=3,
            lr=0.0679,
            epochs=8,
            rows=5,
            state="failed",
            change={"train_accuracy": 0.9},
        )
    )
    line = summarise(run)
    last = run.rows.iloc[-1]
    for column in set(COLUMNS) - {"epoch", "lr"}:
        assert line[column] == last[column]
    assert line["perp_over_ls"] == pytest.approx(last["mse_perp"] / last["mse_ls"])
    expected = {
        "net": "vgg11",
        "data": "mnist",
        "loss": "ce",
        "seed": 3,
        "lr": 0.0679,
        "state": "failed",
        "epochs_done": 5,
        "epochs": 8,
        "terminal_phase_epoch": None,
        "terminal_phase_test_accuracy": None,
    }
    assert {key: line[key] for key in expected} == expected


def test_the_test_accuracy_is_given_where_the_terminal_phase_starts_and_at_the_end(tmp_path):
    (run,) = read(
        write_run(
            tmp_path,
            epochs=9,
            change={"train_accuracy": lambda e: e / 8, "test_accuracy": lambda e: e / 10},
        )
    )
    line = summarise(run)
    assert line["terminal_phase_epoch"] == 8
    assert line["terminal_phase_test_accuracy"] == pytest.approx(0.8)
    assert line["test_accuracy"] == pytest.approx(0.9)


def test_summary_csv_has_a_line_for_each_run_and_empty_cells_for_what_is_not_a_number(tmp_path):
    runs = read(
        write_run(tmp_path, epochs=3, change={"nc1": math.nan, "mse_ls": 0.0}),
        write_run(tmp_path, seed=1, rows=0, state="running"),
    )
    write_summary(runs, tmp_path)
    with (tmp_path / SUMMARY_FILE).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["nc1"] == first["perp_over_ls"] == ""
    assert float(first["nc3_self_duality"]) == runs[0].rows["nc3_self_duality"].iloc[-1]
    assert (second["epochs_done"], second["train_loss"], second["state"]) == ("0", "", "running")


def test_runs_are_sorted_by_cell_then_rate_and_seed_even_with_odd_settings(tmp_path):
    runs = read(
        write_run(tmp_path, "resnet18", seed=2, epochs=1),
        write_run(tmp_path, "resnet18", seed=1, epochs=1),
        write_run(tmp_path, "vgg11", lr=0.1, epochs=1),
        write_run(tmp_path, "vgg11", lr=0.01, epochs=1),
    )
    runs[0].settings["lr"] = {"not": "a number"}
    del runs[1].settings["seed"]
    order = [(run.cell[0], run.lr, run.seed) for run in by_cell(runs)]
    assert order == [("vgg11", 0.01, 0), ("vgg11", 0.1, 0), ("resnet18", 0.05, None), ("resnet18", None, 2)]


def test_the_table_is_readable_in_80_columns_without_colour(tmp_path):
    runs = read(
        write_run(tmp_path, "densenet250", "fashionmnist", seed=1, lr=0.02552, rows=120, state="interrupted"),
        write_run(tmp_path, "[bold]$", epochs=2, change={"nc1": math.nan}),
    )
    runs[1].settings["data"]["name"] = "\ud800x"
    out = io.StringIO()
    print_table(runs, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out.getvalue()
    assert "DenseNet250 on FashionMNIST, MSE" in lines
    assert any(line.startswith("[bold]$ on") for line in lines)
    row = lines[lines.index("DenseNet250 on FashionMNIST, MSE") + 1].split()
    assert row[:4] == ["1", "0.02552", "interrupted", "120"]
    assert len(row) == len(lines[0].split()) == 10
    assert "…" not in out.getvalue()


def test_columns_that_only_some_runs_have_are_carried_along(tmp_path):
    plain = write_run(tmp_path, epochs=3)
    wider = write_run(
        tmp_path,
        loss="ce",
        epochs=3,
        wider=("nc1_cdnv", "rank"),
        change={"nc1_cdnv": lambda e: 0.5 / e, "rank": 9},
    )
    write_summary(read(plain, wider), tmp_path)
    with (tmp_path / SUMMARY_FILE).open() as file:
        lines = list(csv.DictReader(file))
    assert [line["nc1_cdnv"] for line in lines] == ["", str(0.5 / 3)]
    assert [line["rank"] for line in lines] == ["", "9.0"]
    assert all(float(line["perp_share"]) > 0 for line in lines)


def test_the_table_shows_l_perp_over_l_ls_only_for_runs_trained_with_mse(tmp_path):
    alarming = {"mse_perp": 3e3, "mse_ls": 1.0}
    runs = read(*(write_run(tmp_path, loss=loss, epochs=2, change=alarming) for loss in ("mse", "ce")))
    out = io.StringIO()
    print_table(runs, Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines()]
    place = lines[0].index("perp/LS")
    values = {line[0]: line[place] for line in lines if line and line[0] in ("mse", "ce")}
    assert values == {"mse": "3.0e+03", "ce": "-"}
    write_summary(runs, tmp_path)
    with (tmp_path / SUMMARY_FILE).open(newline="") as file:
        assert [float(line["perp_over_ls"]) for line in csv.DictReader(file)] == [3e3, 3e3]


def test_what_was_measured_without_training_is_named_without_a_learning_rate_and_a_seed(tmp_path):
    (run,) = read(write_run(tmp_path, epochs=2))
    assert run_title(run, "weight_decay 0.01") == "ResNet8 on Digits, MSE, lr 0.05, weight_decay 0.01, seed 0"
    del run.settings["lr"], run.settings["seed"]
    assert run_title(run) == "ResNet8 on Digits, MSE"
    assert {judgement.where for judgement in judge([run])} == {"ResNet8 on Digits, MSE"}
