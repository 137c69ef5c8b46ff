"""The paper's claims, judged on runs whose answer is known."""

import csv
import io
import math

import pytest
from helpers.synthetic import add_initial_row, write_run
from rich.console import Console

from nc_runner.commands import plot_arguments
from nc_runner.commands.plot_tables import print_claims
from nc_runner.figures import claims
from nc_runner.figures.claims import Thresholds
from nc_runner.figures.judging import CLAIMS_FILE, FAILS, HOLDS, INCONCLUSIVE, judge, overall, write_claims
from nc_runner.figures.perp import PerpShares
from nc_runner.figures.summary import summarise
from nc_runner.runs.reader import read_run
from nc_runner.runs.record import DIVERGED, FAILED, INTERRUPTED, RUNNING


def read(*folders):
    return [read_run(folder) for folder in folders]


def accuracy(reached):
    """Train accuracy that enters the terminal phase with epoch ``reached``."""
    return {"train_accuracy": lambda epoch: 1.0 if epoch >= reached else 0.5}


def finding(runs, key):
    (judgement,) = [j for j in judge(runs) if j.claim.key == key]
    return judgement


def of_one_run(tmp_path, key, **options):
    return finding(read(write_run(tmp_path, epochs=10, **options)), key)


@pytest.mark.parametrize("column", list(claims.MEASURES))
def test_a_measure_is_judged_by_its_last_row_against_the_first_and_against_the_start_of_the_phase(
    tmp_path, column
):
    values = {1: 8.0, 4: 2.0, 10: 4.0}  # falls over training, but rises after the phase began at epoch 4
    change = {**accuracy(4), column: lambda epoch: values.get(epoch, 3.0)}
    runs = read(write_run(tmp_path, epochs=10, change=change))
    training, phase = finding(runs, f"{column}_falls"), finding(runs, f"{column}_falls_in_phase")
    assert (training.verdict, training.number, training.reason) == (HOLDS, 0.5, "8 → 4")
    assert (phase.verdict, phase.number, phase.reason) == (FAILS, 2.0, "2 → 4")


def test_the_network_at_initialisation_decides_no_claim_and_no_number_of_the_summary(tmp_path):
    """Not even one that classifies every image right, as a refitted classifier of many features does."""
    folder = write_run(tmp_path, epochs=10, change=accuracy(4))
    (before,) = read(folder)
    (after,) = read(add_initial_row(folder, train_accuracy=1.0, nc1=1e-9, snr_1=1e-3))
    assert after.rows["epoch"].tolist() == list(range(11))
    plain = [(j.claim, j.verdict, j.number, j.reason) for j in judge([before])]
    assert [(j.claim, j.verdict, j.number, j.reason) for j in judge([after])] == plain
    assert summarise(after) == summarise(before)
    never = {"train_accuracy": 0.5}
    folder = write_run(tmp_path, epochs=10, seed=1, change=never)
    assert summarise(read(folder)[0]) == summarise(read(add_initial_row(folder, snr_1=1e-3))[0])


def test_a_run_that_has_the_row_of_epoch_0_alone_is_inconclusive(tmp_path):
    folder = add_initial_row(write_run(tmp_path, epochs=10, rows=1))
    lines = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join(lines[:2]) + "\n")
    assert {(j.verdict, j.reason) for j in judge(read(folder))} == {(INCONCLUSIVE, "no epoch was measured")}


def test_no_fall_at_all_fails_and_zero_throughout_is_inconclusive(tmp_path):
    same = of_one_run(tmp_path / "a", "nc1_falls", change={"nc1": 0.5})
    assert (same.verdict, same.number) == (FAILS, 1.0)
    zero = of_one_run(tmp_path / "b", "nc4_ncc_mismatch_falls", change={"nc4_ncc_mismatch": 0.0})
    assert (zero.verdict, zero.number, zero.reason) == (INCONCLUSIVE, None, "it is 0 from the start")
    fixed = of_one_run(  # the rows of a fixed simplex ETF, in single precision
        tmp_path / "e", "nc2_equinorm_classifier_falls", change={"nc2_equinorm_classifier": 5.22e-9}
    )
    assert fixed.verdict == INCONCLUSIVE
    rising = of_one_run(tmp_path / "c", "nc1_falls", change={"nc1": lambda epoch: float(epoch > 5)})
    assert (rising.verdict, rising.number) == (FAILS, math.inf)
    undefined = of_one_run(tmp_path / "d", "nc1_falls", change={"nc1": math.nan})
    assert undefined.verdict == INCONCLUSIVE


def test_without_a_terminal_phase_its_claims_are_inconclusive(tmp_path):
    never = {"train_accuracy": 0.9876}
    for key in ("nc1_falls_in_phase", "perp_negligible", "test_accuracy_rises_in_phase"):
        judgement = of_one_run(tmp_path / key, key, change=never)
        assert (judgement.verdict, judgement.number) == (INCONCLUSIVE, None)
        assert judgement.reason == "the terminal phase was not reached (train accuracy at most 98.76 %)"
    at_the_end = of_one_run(tmp_path / "end", "nc1_falls_in_phase", change=accuracy(10))
    assert at_the_end.reason == "the terminal phase began with the last measured epoch"
    assert of_one_run(tmp_path / "still", "nc1_falls", change=never).verdict == HOLDS


@pytest.mark.parametrize("state", [RUNNING, INTERRUPTED, DIVERGED, FAILED])
def test_an_unfinished_run_is_inconclusive(tmp_path, state):
    runs = read(write_run(tmp_path, epochs=10, rows=6, state=state, change=accuracy(2)))
    assert {judgement.verdict for judgement in judge(runs)} == {INCONCLUSIVE}
    assert judge(runs)[0].reason == f"the run is {state}, at epoch 6 of 10"


@pytest.mark.parametrize(("share", "expected"), [(0.099, HOLDS), (0.1, FAILS), (5.0, FAILS)])
def test_l_perp_is_judged_by_its_largest_share_in_the_phase_alone(tmp_path, share, expected):
    perp = {2: 100.0, 6: share}  # what was before the phase does not count
    change = {**accuracy(5), "mse_ls": 1.0, "mse_perp": lambda epoch: perp.get(epoch, 0.01)}
    judgement = of_one_run(tmp_path, "perp_negligible", change=change)
    assert (judgement.verdict, judgement.number) == (expected, share)
    assert judgement.reason.startswith(f"at the end 0.01; in the phase at most {share:.3g}, below 0.1 at ")
    at_end = of_one_run(tmp_path / "end", "perp_negligible_at_end", change=change)
    assert (at_end.verdict, at_end.number) == (HOLDS, 0.01)


def test_l_perp_is_told_between_the_drops_of_the_learning_rate(tmp_path):
    perp = {1: 0.5, 2: 0.4, 4: 0.3, 6: 0.05}
    change = {
        **accuracy(2), "mse_ls": 1.0, "mse_perp": lambda epoch: perp.get(epoch, 0.01),
        "lr": lambda epoch: 0.1 if epoch < 4 else 0.01 if epoch < 6 else 0.001,
    }  # fmt: skip
    (run,) = read(write_run(tmp_path, epochs=10, change=change))
    shares = PerpShares.of(run.rows, 2, 0.1)
    assert shares.after_drops == (0.4, 0.3, 0.05)
    assert (shares.worst, shares.end, shares.share) == (0.4, 0.01, pytest.approx(7 / 9))
    assert (
        "below 0.1 at 78 % of its epochs; between drops of the learning rate 0.4, 0.3, 0.05" in shares.words
    )


def test_the_threshold_is_chosen_and_stands_in_the_claim(tmp_path):
    change = {**accuracy(2), "mse_ls": 1.0, "mse_perp": 0.07}
    runs = read(write_run(tmp_path, epochs=10, change=change))
    for share, expected in ((0.1, HOLDS), (0.05, FAILS)):
        found = [j for j in judge(runs, Thresholds(negligible=share)) if j.claim.subject.startswith("L_perp")]
        assert [(j.verdict, j.claim.holds_if) for j in found] == [(expected, f"below {share:g}")] * 2
    assert Thresholds().negligible == plot_arguments.NEGLIGIBLE


def test_a_rise_is_told_beside_the_range_of_the_seeds(tmp_path):
    ends = (0.5, 1.2, 1.1)
    runs = read(
        *(
            write_run(
                tmp_path,
                seed=seed,
                epochs=4,
                change={"nc1": lambda epoch, end=end: end if epoch == 4 else 1.0},
            )
            for seed, end in enumerate(ends)
        )
    )
    reasons = [j.reason for j in judge(runs) if j.claim.key == "nc1_falls"]
    assert reasons == [
        "1 → 0.5", "1 → 1.2, a rise inside the range of 3 seeds (0.7)",
        "1 → 1.1, a rise inside the range of 3 seeds (0.7)",
    ]  # fmt: skip


def test_l_perp_is_not_judged_for_cross_entropy(tmp_path):
    keys = {judgement.claim.key for judgement in judge(read(write_run(tmp_path, loss="ce", epochs=10)))}
    assert "perp_negligible" not in keys
    assert "nc1_falls" in keys


@pytest.mark.parametrize(("end", "expected"), [(0.92, HOLDS), (0.90, FAILS), (0.89, FAILS)])
def test_test_accuracy_is_judged_in_points_from_the_start_of_the_phase(tmp_path, end, expected):
    change = {**accuracy(3), "test_accuracy": lambda epoch: {3: 0.90, 10: end}.get(epoch, 0.1)}
    judgement = of_one_run(tmp_path, "test_accuracy_rises_in_phase", change=change)
    assert judgement.verdict == expected
    assert judgement.number == pytest.approx(100 * (end - 0.90))


@pytest.mark.parametrize(
    ("end", "expected"), [(0.30, HOLDS), (0.25, FAILS), (0.2, FAILS), (math.nan, INCONCLUSIVE)]
)
def test_robustness_is_judged_by_its_rise_from_the_start_of_the_phase(tmp_path, end, expected):
    change = {**accuracy(3), "robustness": lambda epoch: {3: 0.25, 10: end}.get(epoch, 0.1)}
    judgement = of_one_run(
        tmp_path, "robustness_rises_in_phase", loss="ce", wider=("robustness",), change=change
    )
    assert judgement.verdict == expected
    if expected != INCONCLUSIVE:
        assert judgement.number == pytest.approx(end - 0.25)
        assert judgement.reason == f"0.25 → {end:.3g}"


def test_robustness_is_judged_only_where_it_was_measured(tmp_path):
    keys = {judgement.claim.key for judgement in judge(read(write_run(tmp_path, epochs=10)))}
    assert "robustness_rises_in_phase" not in keys


def losses(tmp_path, mse, ce, **options):
    """Runs with these test accuracies, one for each seed."""
    return read(
        *(
            write_run(tmp_path, loss=loss, seed=seed, epochs=4, change={"test_accuracy": value}, **options)
            for loss, values in (("mse", mse), ("ce", ce))
            for seed, value in enumerate(values)
        )
    )


@pytest.mark.parametrize(
    ("mse", "ce", "number", "expected"),
    [
        ([0.9], [0.905], -0.5, HOLDS),
        ([0.9], [0.92], -2.0, FAILS),
        ([0.5, 0.9, 0.95], [0.8, 0.85, 1], 5.0, HOLDS),
    ],
)
def test_mse_beside_ce_compares_medians_over_seeds(tmp_path, mse, ce, number, expected):
    found = finding(losses(tmp_path, mse, ce), "mse_comparable_to_ce")
    assert found.verdict == expected
    assert found.number == pytest.approx(number)


def test_mse_beside_ce_needs_one_finished_setting_of_each(tmp_path):
    runs = losses(tmp_path / "a", [0.9], [0.9])
    several = [*runs, *read(write_run(tmp_path / "b", loss="ce", lr=0.3, epochs=4))]
    judgement = finding(several, "mse_comparable_to_ce")
    assert judgement.verdict == INCONCLUSIVE
    assert "--select best-test" in judgement.reason
    stopped = [runs[0], *read(write_run(tmp_path / "c", loss="ce", epochs=4, rows=2, state="diverged"))]
    assert finding(stopped, "mse_comparable_to_ce").reason == "CE: the run is diverged, at epoch 2 of 4"
    assert not [j for j in judge(runs[:1]) if j.claim.key == claims.MSE_AND_CE.key]


def test_over_all_runs_one_failure_fails_and_inconclusive_runs_do_not_count(tmp_path):
    falling, rising = (lambda epoch: 1 / epoch), (lambda epoch: float(epoch))
    first = read(write_run(tmp_path, seed=0, epochs=10, change={"nc1": falling}))
    second = read(write_run(tmp_path, seed=1, epochs=10, rows=3, state="running", change={"nc1": falling}))
    third = read(write_run(tmp_path, seed=2, epochs=10, change={"nc1": rising}))

    def nc1(runs):
        (line,) = [line for line in overall(judge(runs)) if line.claim.key == "nc1_falls"]
        return line.verdict, line.holds, line.fails, line.inconclusive, line.median

    assert nc1(first + second) == (HOLDS, 1, 0, 1, pytest.approx(0.1))
    assert nc1(first + second + third) == (FAILS, 1, 1, 1, pytest.approx(5.05))
    assert nc1(second) == (INCONCLUSIVE, 0, 0, 1, None)


def test_claims_csv_has_a_line_for_each_judgement(tmp_path):
    runs = read(write_run(tmp_path, loss="mse", epochs=10), write_run(tmp_path, loss="ce", epochs=10))
    judgements = judge(runs)
    write_claims(judgements, tmp_path)
    with (tmp_path / CLAIMS_FILE).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(judgements) == 2 * (2 * 9 + 1) + 2 + 1
    for line, judgement in zip(lines, judgements, strict=True):
        assert line["claim"] == judgement.claim.key
        assert line["verdict"] == judgement.verdict
        assert line["number"] == ("" if judgement.number is None else str(judgement.number))
    assert lines[-1]["folder"] == ""


def test_the_terminal_table_fits_80_columns_and_says_how_many_hold(tmp_path):
    runs = read(write_run(tmp_path, seed=0, epochs=10), write_run(tmp_path, seed=1, epochs=10))
    console = Console(file=io.StringIO(), width=80)
    print_claims(overall(judge(runs)), console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    nc1 = next(line for line in lines if line.startswith("NC1 "))
    assert "holds 2/2" in nc1
    print_claims([], empty := Console(file=io.StringIO()))
    assert empty.file.getvalue() == ""
