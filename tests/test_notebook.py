"""The notebooks, executed with fewer epochs in an empty folder."""

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from nc_runner.runs.reader import find_runs, read_run

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
COLLAPSED, QUICKSTART = NOTEBOOKS


class ThisPython(AsyncKernelManager):
    """The kernel of the environment that runs the tests, whatever kernels are installed."""

    kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


def execute(notebook, folder, **environment):
    client = NotebookClient(
        notebook, timeout=200, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute(env={**os.environ, **environment})


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_saved_without_outputs_in_the_notebook_format(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)


def test_the_quickstart_runs_plots_reads_and_measures(tmp_path):
    notebook = nbformat.read(QUICKSTART, as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["run-code"].source, changed = re.subn("EPOCHS = 60", "EPOCHS = 2", cells["run-code"].source)
    assert changed == 1
    execute(notebook, tmp_path, OMP_NUM_THREADS="1")
    assert "2 runs: 2 complete" in printed(cells["run-code"])
    found = [read_run(folder) for folder in find_runs([tmp_path / "outputs"])]
    assert sorted(run.cell for run in found) == [("resnet8", "digits", loss) for loss in ("ce", "mse")]
    pictures = [output.data for output in cells["plot-code"].outputs if "data" in output]
    assert ["image/png" in data for data in pictures] == [True] * 3
    (table,) = (output.data["text/plain"] for output in cells["read-code"].outputs)
    for run in found:
        last = run.rows.iloc[-1]
        line = next(line for line in table.splitlines() if line.startswith(run.cell[2]))
        assert line.split()[1] == "2"
        assert float(line.split()[2]) == pytest.approx(last["train_accuracy"], abs=1e-5)
    measured = re.findall(r"step +(\d+)  NC1 (\S+)  NC3 (\S+)", printed(cells["features-code"]))
    assert [int(step) for step, _, _ in measured] == [0, 50, 100, 150, 200]
    assert float(measured[-1][1]) < 0.2 * float(measured[0][1])


def table_of(cell):
    """The numbers that a cell shows, by their row's name."""
    (shown,) = (output.data["text/plain"] for output in cell.outputs if "data" in output)
    lines = (line.split() for line in shown.splitlines())
    return {
        line[0]: [float(word) for word in line[1:]]
        for line in lines
        if re.fullmatch(r"\w*\d\w*|\w+_\w+", line[0])
    }


def test_the_second_one_measures_a_model_before_and_after_collapse(tmp_path):
    notebook = nbformat.read(COLLAPSED, as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    execute(notebook, tmp_path, OMP_NUM_THREADS="1")
    assert table_of(cells["accuracy-code"])["train_accuracy"] == [1, 1]
    early, late = table_of(cells["nc1-code"])["nc1"]
    assert late < early / 3
    falls = table_of(cells["verdict-code"])
    assert falls["nc1"] == [pytest.approx(early / late, rel=1e-3)]
    assert all(factor > 1 for (factor,) in falls.values())
    few, many = map(float, re.findall(r"images ([\d.e-]+)", printed(cells["cautions-code"])))
    assert few < many
    assert "too low" in printed(cells["cautions-code"])


def test_both_install_in_the_same_way():
    first, second = (
        [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.id == "install-code"]
        for path in NOTEBOOKS
    )
    assert first == second


def installs(folder, monkeypatch):
    """What the install cell gives to %pip, in ``folder``, where the package is missing."""
    notebook = nbformat.read(QUICKSTART, as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.id == "install-code")
    given, names = [], {}
    shell = SimpleNamespace(run_line_magic=lambda name, line: given.append((name, line.format(**names))))
    names["get_ipython"] = lambda: shell
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the cell changes it
    monkeypatch.setitem(sys.modules, "nc_runner.conf", None)  # importing it fails
    exec(TransformerManager().transform_cell(cell.source), names)
    return given


def test_without_the_package_or_a_clone_it_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="Clone it into this folder"):
        installs(tmp_path / "empty", monkeypatch)


@pytest.mark.parametrize("place", [".", "notebooks", ".."])
def test_without_the_package_it_installs_the_clone_around_or_beside_it(tmp_path, monkeypatch, place):
    clone = tmp_path / "my clone"
    for name in ("conf", "nc_runner", "notebooks"):
        (clone / name).mkdir(parents=True)
    assert installs(clone / place, monkeypatch) == [("pip", f'install --quiet "{clone}"')]
