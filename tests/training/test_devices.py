"""Where a run computes: what does not show in its numbers."""

import subprocess
import sys

import pytest
import torch

from nc_runner.distributed.torchrun import Place
from nc_runner.errors import ConfigError
from nc_runner.training.devices import choose_device, keep_freed_memory, set_threads

PAGES_ASKED_FOR = """
import resource, torch
from nc_runner.training.devices import keep_freed_memory
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(24 * 2**20)  # 96 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(pages())
keep_freed_memory()
pages(), pages()  # the heap grows until it has room between whatever else lies there
print(pages())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_kept_for_the_next_tensor():
    """In a process of its own, since it cannot be taken back."""
    command = [sys.executable, "-c", PAGES_ASKED_FOR]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    handed_back, kept = map(int, done.stdout.split())
    assert handed_back > 10 * kept


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_freed_memory()


@pytest.fixture
def two_gpus(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize(("name", "place"), [("auto", Place()), ("cpu", Place(1, 2, 1, 2))])
def test_without_a_gpu_runs_compute_on_the_cpu(name, place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device(name, place) == torch.device("cpu")
    for absent in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match="sees no CUDA GPU"):
            choose_device(absent, place)


def test_one_process_takes_the_gpu_that_it_is_given(two_gpus):
    assert choose_device("auto", Place()) == torch.device("cuda")
    assert choose_device("cuda:1", Place()) == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="has 2 GPU"):
        choose_device("cuda:2", Place())


def test_each_rank_takes_the_gpu_of_its_number_on_its_host(two_gpus):
    assert choose_device("auto", Place(3, 4, 1, 2)) == torch.device("cuda:1")
    assert two_gpus == [1]
    assert choose_device("cpu", Place(3, 4, 1, 2)) == torch.device("cpu")
    with pytest.raises(
        ConfigError, match=r"3 processes on a host with 2 GPU.*\ngive --nproc-per-node=2 or fewer"
    ):
        choose_device("auto", Place(2, 3, 2, 3))


@pytest.mark.parametrize(
    ("threads", "ranks", "omp", "expected"),
    [(None, 1, None, None), (3, 1, None, 3), (None, 2, None, 4), (None, 2, "1", None), (3, 2, None, 3)],
)
def test_ranks_on_one_cpu_share_its_threads_unless_told_otherwise(threads, ranks, omp, expected, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    set_threads(threads, torch.device("cpu"), ranks)
    assert chosen == ([] if expected is None else [expected])
