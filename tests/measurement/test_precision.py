"""Where, in which pieces and with which precision a measurement computes."""

import pytest
import torch

from nc_runner.measurement.precision import (
    float64_device,
    full_precision,
    images_at_a_time,
    is_finite,
)


def test_a_cpu_takes_few_large_images_at_a_time_and_a_gpu_many():
    sizes = (8, 28, 32, 96, 224)
    assert [images_at_a_time(size, torch.device("cpu")) for size in sizes] == [512, 83, 64, 16, 16]
    assert images_at_a_time(224, torch.device("cuda")) > 512


def test_inside_full_precision_neither_autocast_nor_tf32_is_on_and_both_come_back():
    h = torch.randn(4, 4)
    cudnn = torch.backends.cudnn
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (h @ h).dtype == torch.bfloat16
        before = cudnn.allow_tf32
        with full_precision(torch.device("cpu")):
            assert (h @ h).dtype == torch.float32
            assert not cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
        assert (h @ h).dtype == torch.bfloat16
        assert cudnn.allow_tf32 == before


def test_mps_has_no_float64():
    kinds = ("mps", "cpu", "cuda")
    assert [float64_device(torch.device(kind)).type for kind in kinds] == ["cpu", "cpu", "cuda"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_not_finite_is_found(value, dtype):
    table = torch.zeros(5, 3, dtype=dtype)
    assert is_finite(table)
    assert is_finite(table[:0])
    table[3, 1] = value
    assert not is_finite(table)


def test_numbers_beyond_float32_count_as_infinite():
    assert is_finite(torch.tensor([3e38, -3e38], dtype=torch.float64))
    assert not is_finite(torch.tensor([-1e39], dtype=torch.float64))
