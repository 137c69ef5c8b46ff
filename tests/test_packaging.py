"""The wheel: what is in it, and its commands in a separate environment, from another folder."""

import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_every_module_and_every_config(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "nc_runner", "conf"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for path in tracked:
        assert (f"nc_runner/{path}" if path.startswith("conf/") else path) in names


def test_the_installed_wheel_runs_and_plots_from_another_folder(installed_wheel, tmp_path):
    python, clean = installed_wheel
    programs = Path(python).parent

    def call(*command):
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = call(python, "-c", "import nc_runner; print(nc_runner.__file__)")
    assert where.startswith(str(programs.parent))
    assert "complete: " in call(programs / "nc-run", "epochs=1", "threads=1")
    call(programs / "nc-plot", "outputs/", "--html")
    assert (tmp_path / "outputs" / "figures" / "nc1.png").stat().st_size > 5000
    assert "NC1 falls over training" in (tmp_path / "outputs" / "figures" / "report.html").read_text()
    assert "1 run: 1 complete" in call(programs / "nc-status", "outputs/")
    call(python, "-m", "nc_runner", "--help")
