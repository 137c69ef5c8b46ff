"""Where a run computes: what does not show in its numbers."""

import subprocess
import sys

import pytest

from nc_runner.training.devices import keep_freed_memory

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
