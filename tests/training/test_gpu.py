"""What only a GPU can show of training and measurement (scripts/gpu_check.sh runs these)."""

import numpy as np
import pytest
import torch
from helpers.settings import settings_of
from helpers.stops import StopAfter

from nc_runner.runs.reader import read_run
from nc_runner.runs.record import COMPLETE
from nc_runner.training.run import execute
from nc_runner.training.signals import StopRequested, StopSignals

pytestmark = pytest.mark.gpu
SMALL = ("epochs=3", "data.samples_per_class=50", "batch_size=50", "progress=none")
COMPARED = [
    "train_loss",
    "test_loss",
    "nc1",
    "nc2_equiangular_means",
    "nc3_self_duality",
    "mse_ls",
    "mse_perp",
]


def rows(folder, *overrides):
    folder.mkdir()
    execute(settings_of(*SMALL, *overrides), folder, StopSignals())
    run = read_run(folder)
    assert run.state == COMPLETE
    return run.rows


@pytest.mark.parametrize("loss", ["loss=mse", "loss=ce"])
def test_the_first_epochs_are_those_of_the_cpu(tmp_path, loss):
    """The same weights and batches; what rounding makes of them in three epochs is small."""
    on_cpu = rows(tmp_path / "cpu", loss, "device=cpu")
    on_gpu = rows(tmp_path / "gpu", loss, "device=cuda")
    np.testing.assert_allclose(on_gpu[COMPARED], on_cpu[COMPARED], rtol=0.02)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_faster_precisions_stay_near_fp32(tmp_path, precision):
    if precision == "bf16" and not torch.cuda.is_bf16_supported():
        pytest.skip("this GPU has no bf16")
    exact = rows(tmp_path / "fp32", "device=cuda")
    fast = rows(tmp_path / precision, "device=cuda", f"precision={precision}")
    assert (fast["train_loss"] != exact["train_loss"]).any()
    np.testing.assert_allclose(fast[COMPARED], exact[COMPARED], rtol=0.3)


def test_the_measurement_ignores_what_torch_is_set_to(tmp_path):
    """TF32 switched on by somebody else changes no row; at this rate training changes no weight."""
    exact = rows(tmp_path / "fp32", "device=cuda", "lr=1e-30", "deterministic=true")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        other = rows(tmp_path / "tf32", "device=cuda", "lr=1e-30", "deterministic=true")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    assert other[COMPARED].equals(exact[COMPARED])


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    whole = rows(tmp_path / "whole", "device=cuda", "deterministic=true")
    settings = settings_of(*SMALL, "device=cuda", "deterministic=true")
    folder = tmp_path / "parts"
    folder.mkdir()
    with pytest.raises(StopRequested):
        execute(settings, folder, StopAfter(14))
    assert 0 < len(read_run(folder).rows) < 3
    execute(settings, folder, StopSignals())
    assert read_run(folder).rows[COMPARED].equals(whole[COMPARED])
