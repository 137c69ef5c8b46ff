"""README: its size, links and table of results; the code of README and pages measures what it says."""

import importlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import reference
from helpers.pages import PAGES, ROOT, blocks_of, commands_of
from helpers.process import FAST, nc_run
from helpers.settings import settings_of
from torch import nn

from nc_runner.columns import WIDER_COLUMNS
from nc_runner.config.identity import folder_name

README = ROOT / "README.md"
AFTER = ROOT / "docs" / "after_a_run.md"
RESULTS = ROOT / "docs" / "results_data" / "miniature_lr.csv"


def block(page, word):
    """The only Python block of a page that holds ``word``."""
    (text,) = (found.text for found in blocks_of(page, "python") if word in found.text)
    return text


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.hidden(x))


def test_it_is_short_and_begins_with_what_it_is():
    lines = README.read_text().splitlines()
    assert len(lines) <= 180
    assert "](docs/images/" in "\n".join(lines[:20])


def test_it_shows_the_paper_run_a_sweep_and_the_three_commands():
    commands = list(commands_of(README))
    assert ["pip", "install", "."] in commands
    assert ["nc-run"] in commands
    assert ["nc-run", "loss=mse", "net=resnet18", "data=cifar10"] in commands
    assert any(words[:2] == ["nc-run", "-m"] for words in commands)


def linked(page):
    """The files that a page's relative links name."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#", "mailto")):
            yield target.partition("#")[0]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "outputs" / "README.md"], ids=lambda page: page.name)
def test_the_relative_links_of_a_page_lead_somewhere(page):
    missing = [target for target in linked(page) if not (page.parent / target).exists()]
    assert not missing


def test_its_results_are_those_of_the_committed_runs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    study = importlib.import_module("study_tables")
    page = README.read_text(encoding="utf-8")
    assert study.filled(page, {"results": study.in_short(pd.read_csv(RESULTS))}) == page


def test_the_number_of_further_columns_is_right():
    (count,) = re.findall(r"(\d+) more columns of the\s+literature", README.read_text())
    assert int(count) == len(WIDER_COLUMNS)


@pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")
def test_the_code_for_any_model_measures_it(capsys):
    torch.manual_seed(0)
    images, labels = torch.randn(50, 6), torch.arange(50) % 3
    batches = list(zip(images.split(20), labels.split(20), strict=True))
    model = Small().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    given = {"epochs": 2, "model": model, "loader": batches, "all_train_batches": batches}
    given |= {"train_batches": batches, "test_batches": batches, "optimizer": optimizer}
    exec(block(ROOT / "docs" / "measure.md", "for epoch in range(epochs)"), given)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    exec(block(README, "nc_runner.measure("), given)
    assert capsys.readouterr().out.startswith("3 classes, 8 features, 50 train samples, 50 test samples")
    assert model.training

    model.eval()
    with torch.no_grad():
        features = model.hidden(images).double().numpy()
    expected = reference.collapse_metrics(features, labels.numpy(), model.fc.weight.detach().double().numpy())
    for row in (given["row"], given["measured"].row):
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9), name


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    done = nc_run("-m", *FAST, "loss=mse,ce", "weight_decay=5e-4,1e-3", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_code_for_after_a_run_loads_it_and_its_data(sweep, monkeypatch, capsys):
    monkeypatch.chdir(sweep)
    (folder,) = Path("outputs/mse-resnet8-digits").glob("lr0.1-seed0-epochs2-*")
    code, count = re.subn(
        r'load_run\("[^"]*"\)', f"load_run({str(folder)!r})", block(AFTER, "forward_with_features")
    )
    assert count == 1
    given = {}
    exec(code, given)
    last, images = given["run"].rows.iloc[-1], given["images"]
    assert given["outputs"].shape == (len(images), 10)
    assert given["features"].shape == (len(images), 64)
    assert capsys.readouterr().out.split()[:2] == ["0.0005", "2"]
    assert last["epoch"] == given["run"].epoch
    assert given["row"]["nc1"] == pytest.approx(last["nc1"], rel=1e-5)
    assert given["row"]["nc1_cdnv"] > 0


def test_the_code_for_many_runs_makes_a_table_of_the_last_nc1(sweep, monkeypatch, capsys):
    monkeypatch.chdir(sweep)
    given = {}
    exec(block(AFTER, "pivot_table"), given)
    table = given["table"].set_index(["loss", "weight_decay", "epoch"])["nc1"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["loss", "ce", "mse"]
    assert len(shown) == 4
    assert float(shown[3].split()[2]) == pytest.approx(table["mse", 1e-3, 2], rel=1e-4)
    assert np.isfinite(table).all()


def test_the_page_of_the_outputs_folder_names_a_run_as_nc_run_does():
    for page in (ROOT / "outputs" / "README.md", ROOT / "docs" / "run_folder.md"):
        assert f"outputs/{folder_name(settings_of('epochs=100'))}/" in page.read_text()
