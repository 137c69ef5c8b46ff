"""scripts/: the shell scripts' arguments, and what the reference runs leave when their time is over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import miniature

ROOT = Path(__file__).parents[1]
SITE = """
import sys
sys.path.insert(0, {tests!r})
import pytest
from pathlib import Path
from helpers import miniature
patch = pytest.MonkeyPatch()
for name in miniature.WITH_FILES:
    miniature.write(Path({scratch!r}) / name / str(__import__("os").getpid()), name, patch)
"""


def script(name, *arguments, cwd, timeout=240, **environment):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / name), *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "PYTHON": sys.executable, "PATH": path, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("reference.sh", ["--hours", "0"], "give a number above 0"),
        ("reference.sh", ["--hours", "soon"], "give a number above 0"),
        ("reference.sh", ["--huors", "1"], "--huors is no option"),
        ("gpu_check.sh", ["--fast"], "--fast is no option"),
        ("gpu_check.sh", ["--minutes", "0", "--device", "cpu"], "--minutes must be above 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, name, arguments, complaint):
    done = script(name, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize("name", ["reference.sh", "gpu_check.sh"])
def test_help_is_the_head_of_the_script(tmp_path, name):
    done = script(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"bash scripts/{name}" in done.stdout
    assert "#" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(7200)  # a measurement of VGG's 4,096 features takes minutes on a CPU
def test_reference_runs_of_all_cells_on_miniature_files(tmp_path, monkeypatch):
    """All 30 runs in the true file formats, stopped by the time once, then finished by the same command."""
    data, site = tmp_path / "data", tmp_path / "site"
    site.mkdir()
    for name in miniature.WITH_FILES:
        miniature.write(data, name, monkeypatch)
    (site / "sitecustomize.py").write_text(
        SITE.format(tests=str(ROOT / "tests"), scratch=str(tmp_path / "scratch"))
    )
    settings = ("epochs=2", "batch_size=5", "data.samples_per_class=2", "analysis.samples=20", "threads=2",
                "progress=none")  # fmt: skip
    common = {"PYTHONPATH": str(site), "NC_RUNNER_DATA": str(data)}
    first = script("reference.sh", "--hours", "0.01", *settings, cwd=tmp_path, **common)
    assert first.returncode == 3, first.stderr[-2000:]
    assert "the time is over; the same command goes on" in first.stdout
    done = script("reference.sh", "--hours", "1", *settings, cwd=tmp_path, timeout=3600, **common)
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "reference"
    assert len(list(out.glob("runs/*/*/metrics.csv"))) == len(list(out.glob("runs/*/*/run.json"))) == 30
    assert not list(out.glob("runs/**/checkpoint*"))
    assert (out / "figures" / "claims.csv").is_file()
    assert "torch" in (out / "versions.txt").read_text()
