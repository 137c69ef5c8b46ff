"""Several processes compute what one does: the division of the work, and two real processes side by side."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.lab import few_images, settings_of

from nc_runner.config.schema import deciding_settings
from nc_runner.distributed import torchrun
from nc_runner.distributed.group import Processes
from nc_runner.errors import ConfigError


@pytest.mark.parametrize(("size", "batch", "count"), [(2, 4, 30), (3, 7, 7), (4, 100, 30), (5, 1, 13)])
def test_parts_are_whole_passes_and_join_to_the_split(size, batch, count):
    split = few_images(count=count).train
    group = [Processes(rank, size, batch) for rank in range(size)]
    parts = [processes.part(split) for processes in group]
    assert torch.equal(torch.cat([part.images for part in parts]), split.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), split.labels)
    starts = torch.tensor([len(part) for part in parts]).cumsum(0)
    assert all(int(start) % batch == 0 or int(start) == count for start in starts)
    assert max(-(-len(part) // batch) for part in parts) == group[0].passes(count)


def test_the_slices_of_a_batch_are_the_batch():
    batches = torch.arange(24).view(2, 12)
    slices = [Processes(rank, 3).slices(batches) for rank in range(3)]
    assert torch.equal(torch.cat(slices, dim=1), batches)
    assert {tuple(part.shape) for part in slices} == {(2, 4)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What tests/experiment/pair.py measured on two processes."""
    path = tmp_path_factory.mktemp("pair") / "result.json"
    here = Path(__file__).parent
    search = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         here / "pair.py", path],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(path.read_text())


CASES = ("core", "all", "least_squares", "fewer passes than processes", "uneven")


@pytest.mark.parametrize("case", CASES)
def test_a_measurement_on_two_processes_equals_that_of_one(pair, case):
    together, alone = pair["rows"][case]
    assert together.keys() == alone.keys()
    together, alone = ({k: v for k, v in row.items() if k != "pauses"} for row in (together, alone))
    layers = list(zip(together.pop("layers"), alone.pop("layers"), strict=True))
    residuals = together.pop("mse_residual"), alone.pop("mse_residual")
    assert abs(residuals[0] - residuals[1]) <= 1e-12 * alone["mse_total"]
    for joint, single in [(together, alone), *layers]:
        for column, value in single.items():
            if isinstance(value, str):
                assert joint[column] == value
                continue
            assert math.isfinite(value), column
            assert joint[column] == pytest.approx(value, rel=1e-12, abs=1e-13), column
    assert len(alone) > 50 or case in ("core", "least_squares")
    assert layers or case == "core"


@pytest.mark.parametrize(("case", "pauses"), [("core", (1 + 1, 2 + 1)), ("uneven", (4 + 2 + 2, 7 + 4 + 4))])
def test_each_process_passes_its_share_and_pauses_before_each_pass(pair, case, pauses):
    """600 train, 297 test and, in one case, 297 other images, 512 or 97 at a time."""
    assert tuple(row["pauses"] for row in pair["rows"][case]) == pauses


def test_both_processes_hold_the_same_row_to_the_last_bit(pair):
    assert pair["equal"] == [True, True]


def test_merged_statistics_keep_their_digits_in_deep_collapse(pair):
    assert pair["merged"] < 1e-12


def test_synchronised_batch_norm_has_the_gradients_of_the_whole_batch(pair):
    assert pair["gradients"]["error"] < 1e-13
    assert pair["gradients"]["names"]


@pytest.fixture
def three_processes(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 3, "LOCAL_RANK": 0, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")


@pytest.mark.usefixtures("three_processes")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=128", "cannot be divided among 3\ntry batch_size=126 or batch_size=129"),
        ("batch_size=2", "try batch_size=3, or another"),
        ("device=cuda:1", "device=cuda:1 is one device, and torchrun started 3 processes"),
        ("device=mps", "device=mps is one device"),
    ],
)
def test_what_processes_cannot_share_is_refused(override, message):
    settings = settings_of("batch_size=126", override)
    with pytest.raises(ConfigError) as refused:
        torchrun.check(settings)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.usefixtures("three_processes")
def test_another_launcher_under_torchrun_is_refused():
    torchrun.check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    with pytest.raises(ConfigError, match="one job after the other"):
        torchrun.check_launcher("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")


def test_one_process_refuses_nothing_and_a_launcher_without_local_ranks_is_not_torchrun(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # some clusters set it for nodes
    assert torchrun.place() == torchrun.Place()
    torchrun.check(settings_of("batch_size=127", "device=cuda:1"))


def test_synchronised_batch_norm_is_another_run_and_its_absence_is_not():
    assert "sync_batchnorm" not in deciding_settings(settings_of())
    assert deciding_settings(settings_of("sync_batchnorm=true"))["sync_batchnorm"] is True
