"""What all tests share."""

import os
import sys

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "2"
)  # the tests' networks are small; more threads get in each other's way


@pytest.fixture(autouse=True)
def _own_random_state():
    """A run seeds torch's global generator; the tests after it must not depend on that."""
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch else None
    yield
    if torch:
        torch.set_rng_state(state)
