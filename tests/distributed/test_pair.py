"""Two real ranks under torchrun compute what one process does."""

import json
import math
import os
import subprocess
import sys

import pytest
from helpers import pair as script
from helpers.launched import TORCHRUN

from nc_runner.columns import TIME_COLUMNS


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What tests/helpers/pair.py computed on two ranks."""
    path = tmp_path_factory.mktemp("pair") / "result.json"
    search = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", "-m", "helpers.pair", path],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(path.read_text())


def assert_rows_agree(joint, single, tolerance):
    """All numbers; the residual, which is rounding, against the loss itself."""
    assert joint.keys() == single.keys()
    for column, value in single.items():
        if isinstance(value, str):
            assert joint[column] == value
        elif column == "mse_residual":
            assert abs(joint[column] - value) <= tolerance * single["mse_total"]
        else:  # minority columns are NaN: all classes are equally large, or some are absent from a few images
            assert math.isfinite(value) or column.startswith(("minority", "majority")), column
            assert joint[column] == pytest.approx(value, rel=tolerance, abs=tolerance / 10, nan_ok=True), (
                column
            )


@pytest.mark.parametrize("case", script.CASES)
def test_a_measurement_on_two_ranks_equals_that_of_one(pair, case):
    together, alone = ({k: v for k, v in row.items() if k != "pauses"} for row in pair["rows"][case])
    layers = list(zip(together.pop("layers"), alone.pop("layers"), strict=True))
    attacked: list[float] = []
    for joint, single in [(together, alone), *layers]:
        # images are attacked in other batches, in which float32 rounds in another way
        for part in (joint, single):
            attacked.append(part.pop("robustness", 0.0))
        assert_rows_agree(joint, single, 1e-12)
    assert attacked[0] == pytest.approx(attacked[1], rel=1e-3)
    assert (attacked[1] > 0) == (case == "robustness")
    assert len(alone) > 50 or case in ("core", "least_squares", "refitted", "robustness")
    assert layers or case in ("core", "robustness")


@pytest.mark.parametrize(
    ("case", "pauses"),
    [
        ("core", (1 + 1, 2 + 1)),
        ("uneven", (4 + 2 + 2, 7 + 4 + 4)),
        ("recomputed", (2 + 1 + 1 + 1, 3 + 2 + 1 + 1)),
        ("both", (1 + 1 + 1 + 1 + 1, 2 + 1 + 1 + 1 + 2)),
        ("robustness", (150 + 75 + 2, 300 + 149 + 4)),
    ],
)
def test_each_rank_passes_its_share_and_pauses_before_each_pass(pair, case, pauses):
    """600 train, 297 test and, in one case, 297 other images, 512 or 97 at a time."""
    assert tuple(row["pauses"] for row in pair["rows"][case]) == pauses


def test_both_ranks_hold_the_same_row_to_the_last_bit(pair):
    assert pair["equal"] == [True, True]


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_training_on_two_ranks_equals_that_on_one(pair, loss):
    """Without batch norm, in float64: each step's gradient is that of the whole batch, but for rounding."""
    together, alone = pair["trained"][loss]
    assert len(alone) == 4
    for joint, single in zip(together, alone, strict=True):
        joint, single = ({k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in (joint, single))
        assert_rows_agree(joint, single, 1e-9)
    assert alone[-1]["train_loss"] < 0.99 * alone[0]["train_loss"]


def test_merged_statistics_keep_their_digits_in_deep_collapse(pair):
    assert pair["merged"] < 1e-12


def test_collectives_give_what_their_names_say(pair):
    first, second = pair["exchanged"]
    rows = [[[0, 0], [0, 1], [0, 2]], [[1, i] for i in range(5)]]
    common = {
        "gather": rows[0] + rows[1],
        "nothing": rows[1][:2],
        "sum": [3.0, 1.0],
        "mean": 2.0,
        "align": [[0.0, 0.0]] * 3,
        "agree": [1, 0, 5],
        "all_of": [{"rank": 0}, {"rank": 1}],
        "broadcast": "from 0",
        "on_first": "by 0",
        "failed on first": ["DataError", "no file"],
        "unforeseen on first": ["TrainingError", "KeyError: 'key'"],
        "and on": 2,
    }
    for rank, given in enumerate((first, second)):
        assert {name: given[name] for name in common} == common
        assert given["exchange"] == [row for part in rows for row in part[rank::2]]


def test_a_divergence_on_one_rank_is_one_on_all(pair):
    kinds, messages = zip(*pair["diverged"], strict=True)
    assert kinds == ("DivergedError", "DivergedError")
    assert all("no longer finite in epoch 1" in message for message in messages)
