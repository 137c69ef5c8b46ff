"""The wheel, in an environment of its own, started from another folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build folder left in the checkout would bring old files into later wheels."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("nc_runner", "conf"):
        shutil.copytree(ROOT / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source],
        check=True, timeout=280,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_every_config(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "nc_runner", "conf"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for path in tracked:
        assert (f"nc_runner/{path}" if path.startswith("conf/") else path) in names


def test_the_installed_wheel_runs_and_plots_from_another_folder(wheel, tmp_path):
    """The environment sees this one's torch and the other dependencies, but not the checkout."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True, timeout=120)
    (libraries,) = environment.glob("lib/python*/site-packages")
    import torch

    (libraries / "dependencies.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    # the checkout's editable install, if there is one, comes after the wheel on the path
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def call(*command):
        done = subprocess.run(command, cwd=elsewhere, env=clean, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = call(python, "-c", "import nc_runner; print(nc_runner.__file__)")
    assert where.startswith(str(environment))
    assert "complete: " in call(environment / "bin" / "nc-run", "epochs=1", "threads=1")
    call(environment / "bin" / "nc-plot", "outputs/", "--html")
    assert (elsewhere / "outputs" / "figures" / "nc1.png").stat().st_size > 5000
    assert "NC1 falls over training" in (elsewhere / "outputs" / "figures" / "report.html").read_text()
    assert "1 run: 1 complete" in call(environment / "bin" / "nc-status", "outputs/")
    call(python, "-m", "nc_runner", "--help")
