"""What all tests share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.kinds import (  # noqa: F401  hooks
    pytest_collection_modifyitems,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

ROOT = Path(__file__).parents[1]

# The tests' networks are small. With -n each worker has one core: two processes of two threads each, on two
# cores, slow each other down a hundredfold.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


@pytest.fixture(autouse=True)
def _random_state_is_kept():
    """A run seeds torch's global generator; later tests must not depend on that."""
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch else None
    yield
    if torch:
        torch.set_rng_state(state)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Built from a copy: a build folder left in the checkout would bring old files into later wheels."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("nc_runner", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source],
        check=True, timeout=280,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed_wheel(wheel, tmp_path_factory):
    """(python, environment variables) of an environment that has the wheel and this one's dependencies."""
    import torch

    environment = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=120)
    python = environment / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True, timeout=120,
    )  # fmt: skip
    (libraries,) = environment.glob("lib/python*/site-packages")
    # the checkout's editable install, if there is one, comes after the wheel on the path
    (libraries / "dependencies.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    return python, {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
