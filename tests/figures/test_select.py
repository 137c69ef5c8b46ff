"""Which runs of a cell nc-plot looks at."""

import pytest
from helpers.synthetic import write_run

from nc_runner.commands import plot, plot_arguments
from nc_runner.figures.against import AT
from nc_runner.figures.select import RULES, select
from nc_runner.runs.reader import read_run


def run(root, accuracy, **options):
    folder = write_run(root, **{"epochs": 3, "change": {"test_accuracy": accuracy}, **options})
    return read_run(folder)


def test_the_command_offers_every_rule():
    assert plot_arguments.SELECTIONS == RULES
    assert tuple(AT) == plot_arguments.PLACES


def test_all_keeps_everything(tmp_path):
    runs = [run(tmp_path, 0.1, lr=0.1), run(tmp_path, 0.2, lr=0.2)]
    assert select(runs, "all") == (runs, [])


def test_best_test_takes_the_best_last_epoch_of_each_cell(tmp_path):
    fading = run(
        tmp_path, lambda epoch: 0.99 if epoch == 2 else 0.5, lr=0.1
    )  # best in between, not at the end
    good, worse = run(tmp_path, 0.8, lr=0.2), run(tmp_path, 0.7, lr=0.3)
    ce = [run(tmp_path, value, lr=lr, loss="ce") for lr, value in ((0.1, 0.6), (0.2, 0.5), (0.3, 0.4))]
    chosen, remarks = select([fading, worse, good, *ce], "best-test")
    assert chosen == [good, ce[0]]
    assert remarks == [
        "ResNet8 on Digits, MSE: lr 0.2 of 3 is selected: test 80.00 %",
        "ResNet8 on Digits, CE: lr 0.1 of 3 is selected: test 60.00 %",
    ]


def test_seeds_count_by_their_median_and_stay_together(tmp_path):
    lucky = [run(tmp_path, value, seed=seed, lr=0.1) for seed, value in enumerate((0.99, 0.5, 0.5))]
    steady = [run(tmp_path, 0.6, seed=seed, lr=0.2) for seed in range(3)]
    assert select([*lucky, *steady], "best-test")[0] == steady
    words = select([*lucky, *steady[:2]], "best-test")[1]
    assert "ResNet8 on Digits, MSE: its settings have 2 to 3 finished seeds" in words


def test_what_is_selected_is_named_by_all_that_varies(tmp_path):
    runs = [run(tmp_path / str(i), accuracy, lr=0.1) for i, accuracy in enumerate((0.7, 0.8))]
    runs[1].settings["weight_decay"] = 0.01
    assert select(runs, "best-test")[1] == [
        "ResNet8 on Digits, MSE: weight_decay 0.01 of 2 is selected: test 80.00 %"
    ]


def test_ties_go_to_the_smaller_rate_and_are_remarked(tmp_path):
    runs = [run(tmp_path, 0.8, lr=0.4), run(tmp_path, 0.8, lr=0.2), run(tmp_path, 0.1, lr=0.1)]
    chosen, remarks = select(runs, "best-test")
    assert chosen == [runs[1]]
    assert "ResNet8 on Digits, MSE: a tie at 80.00 % between lr 0.2; lr 0.4" in remarks


def test_runs_that_did_not_finish_and_rates_that_were_not_tried_are_remarked(tmp_path):
    runs = [
        run(tmp_path, 0.8, lr=0.1),
        run(tmp_path, 0.9, lr=0.2, rows=2, state="running"),
        run(tmp_path, 0.9, lr=0.3, rows=1, state="diverged"),
        run(tmp_path, 0.7, lr=0.1, loss="ce"),
        run(tmp_path, 0.7, lr=0.9, loss="ce", rows=2, state="interrupted"),
    ]
    chosen, remarks = select(runs, "best-test")
    assert chosen == [runs[0], runs[3]]
    left_out = (
        "2 of 3 runs did not finish and are not selected (lr 0.2 seed 0 running, lr 0.3 seed 0 diverged)"
    )
    assert f"ResNet8 on Digits, MSE: {left_out}" in remarks
    assert "ResNet8 on Digits, MSE: only tried in other cells: lr 0.9" in remarks
    assert "ResNet8 on Digits, CE: only tried in other cells: lr 0.2, 0.3" in remarks
    nothing, remarks = select(runs[1:3], "best-test")
    assert nothing == []
    assert remarks[-1] == "ResNet8 on Digits, MSE: no run is selected"


def test_last_takes_the_setting_that_was_started_last(tmp_path):
    runs = [run(tmp_path, 0.8, lr=lr, seed=seed) for lr in (0.1, 0.2) for seed in (0, 1)]
    for hour, one in zip((1, 4, 2, 3), runs, strict=True):
        one.content["started"] = f"2026-01-01T0{hour}:00:00+00:00"
    assert select(runs, "last") == (runs[:2], [])


@pytest.mark.parametrize("rule", RULES)
def test_the_command_draws_the_selection(tmp_path, capsys, rule):
    run(tmp_path, 0.8, lr=0.1)
    run(tmp_path, 0.9, lr=0.2)
    assert plot.main([str(tmp_path), "--select", rule, "--format", "png", "--only", "train_loss"]) == 0
    lines = (tmp_path / "figures" / "summary.csv").read_text().splitlines()
    assert len(lines) == (3 if rule == "all" else 2)
    assert ("lr 0.2 of 2 is selected" in capsys.readouterr().err) == (rule == "best-test")
