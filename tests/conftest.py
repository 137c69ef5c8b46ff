"""What all tests share."""

import os
import sys

import pytest

# The tests' networks are small. With -n each worker has one core: two processes of two threads each on two
# cores slow each other down a hundredfold.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


@pytest.fixture(autouse=True)
def _own_random_state():
    """A run seeds torch's global generator; the tests after it must not depend on that."""
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch else None
    yield
    if torch:
        torch.set_rng_state(state)
