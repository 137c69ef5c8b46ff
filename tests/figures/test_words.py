"""A run in plain words, on runs whose answer is known."""

from helpers.synthetic import add_initial_row, write_run

from nc_runner.commands import plot
from nc_runner.figures.claims import Thresholds
from nc_runner.figures.words import in_words
from nc_runner.runs.reader import read_run

PHASE = {"train_accuracy": lambda epoch: 1.0 if epoch >= 4 else 0.5}


def words_of(root, thresholds=None, **options):
    return in_words(read_run(write_run(root, epochs=10, **options)), thresholds)


def test_one_epoch_is_compared_with_nothing(tmp_path):
    words = in_words(read_run(write_run(tmp_path, epochs=1, change={"train_accuracy": 0.5})))
    assert not any("rises" in line or "falls" in line for line in words)
    assert "in 1 epoch." in words[1]


def test_runs_are_named_by_what_varies(tmp_path, capsys):
    for seed in (0, 1):
        write_run(tmp_path, epochs=2, seed=seed)
    assert plot.main([str(tmp_path), "--in-words", "--only", "nc1"]) == 0
    printed = capsys.readouterr().out
    assert "seed 0, in words:" in printed
    assert "seed 1, in words:" in printed


def line(words, begin):
    (found,) = [line for line in words if line.startswith(begin)]
    return found


def test_each_number_is_that_of_the_rows(tmp_path):
    change = {
        **PHASE, "nc1": lambda epoch: 8.0 / epoch, "nc2_maxangle_means": lambda epoch: 0.1 * epoch,
        "nc4_ncc_mismatch": 0.25, "mse_perp": lambda epoch: 0.5 if epoch == 5 else 0.03, "mse_ls": 1.0,
        "test_accuracy": lambda epoch: 0.5 + 0.03 * epoch,
    }  # fmt: skip
    words = words_of(tmp_path, change=change)
    assert words[0] == "ResNet8 on Digits, MSE, lr 0.05, seed 0, in words:"
    assert "from epoch 4 of 10 on" in words[1]
    assert line(words, "NC1").endswith("falls 10-fold, from 8 to 0.8")
    assert "rises, from 0.1 to 1" in line(words, "NC2")
    assert "otherwise for 25 % of the train images" in line(words, "NC4")
    path = line(words, "L_perp")
    assert "is 3 % of L_LS at the end, at most 50 % in that phase" in path
    assert "here: below 10 %" in path
    assert (
        line(words, "test accuracy") == "test accuracy in that phase: 62.0 % at its start, 80.0 % at the end"
    )


def test_thresholds_are_those_that_are_given(tmp_path):
    assert "here: below 5 %" in line(words_of(tmp_path, Thresholds(negligible=0.05), change=PHASE), "L_perp")


def test_without_a_terminal_phase_it_is_said_and_nothing_is_claimed_of_it(tmp_path):
    words = words_of(tmp_path, change={"train_accuracy": 0.97})
    assert "is not reached: 97.0 % in 10 epochs" in words[1]
    assert not any("in that phase" in line for line in words)


def test_cross_entropy_says_nothing_of_the_central_path(tmp_path):
    assert not any(line.startswith("L_perp") for line in words_of(tmp_path, loss="ce", change=PHASE))


def test_the_row_at_initialisation_alone_is_no_training(tmp_path):
    folder = add_initial_row(write_run(tmp_path, epochs=10, rows=1))
    path = folder / "metrics.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    assert in_words(read_run(folder)) == [
        "ResNet8 on Digits, MSE, lr 0.05, seed 0: no epoch of training is measured yet"
    ]


def test_the_command_prints_them_and_names_the_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "outputs", epochs=10, change=PHASE)
    assert plot.main(["outputs", "--in-words", "--only", "overview", "--format", "png"]) == 0
    printed = capsys.readouterr().out
    assert "in words:\n  - from epoch 4 of 10 on" in printed
    assert printed.endswith("begin with outputs/figures/overview.png\n")
    assert max(map(len, printed.splitlines())) <= 100
