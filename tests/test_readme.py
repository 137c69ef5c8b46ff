"""The README's code and the commands of all pages do what the pages say."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.process import FAST, nc_run
from helpers.settings import settings_of
from sklearn.datasets import load_digits
from torch import nn

import nc_runner
from nc_runner.config.identity import folder_name

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MEASURE = ROOT / "docs" / "measure.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))


def blocks(word):
    """The Python blocks of the README that hold ``word``."""
    return [b for b in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if word in b]


def commands(page):
    """The arguments of each nc-run of a page's shell blocks, except those of sweeps."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():  # a line may go on after a backslash
            words = shlex.split(line, comments=True)
            start = next((i + 1 for i, word in enumerate(words) if word in ("nc-run", "nc_runner")), None)
            if start is not None and not {"-m", "--config-dir"} & set(words[start:]):
                yield words[start:]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.hidden(x))


@pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")
def test_the_code_for_any_model_measures_it(capsys):
    torch.manual_seed(0)
    images, labels = torch.randn(50, 6), torch.arange(50) % 3
    batches = list(zip(images.split(20), labels.split(20), strict=True))
    model = Small().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    given = {"epochs": 2, "model": model, "loader": batches, "all_train_batches": batches}
    given |= {"train_batches": batches, "test_batches": batches, "optimizer": optimizer}
    one_line, loop = blocks("nc_runner.measure(model,")
    exec(loop, given)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    exec(one_line, given)
    assert capsys.readouterr().out.startswith("3 classes, 8 features, 50 train samples, 50 test samples")
    assert model.training

    model.eval()
    with torch.no_grad():
        features = model.hidden(images).double().numpy()
    expected = reference.collapse_metrics(features, labels.numpy(), model.fc.weight.detach().double().numpy())
    for row in (given["row"], given["measured"].row):
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")
def test_the_lines_for_models_of_other_libraries_measure_them(monkeypatch):
    libraries = {name: pytest.importorskip(name) for name in ("torchvision", "timm", "transformers")}
    digits = load_digits()
    images = torch.tensor(digits.images[:200] / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    images = torch.nn.functional.interpolate(images, size=32)
    batches = list(zip(images.split(64), torch.tensor(digits.target[:200]).split(64), strict=True))
    code, prose = (ROOT / "CONTRIBUTING.md").read_bytes(), README.read_bytes()
    texts = [page[start : start + 40] for page in (code, prose) for start in range(0, 4000, 40)]
    ids = torch.tensor([list(text) for text in texts])
    of_text = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(200) // 100}
    config = libraries["transformers"].BertConfig(
        vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    (lines,) = re.findall(
        r"```python\n(nc_runner.measure\(torchvision.*?)```", MEASURE.read_text(), re.DOTALL
    )
    measured = []
    measure = nc_runner.measure
    monkeypatch.setattr(nc_runner, "measure", lambda *a, **o: measured.append(measure(*a, **o)))
    given = {"nc_runner": nc_runner, "batches": batches, "batches_of_dicts": [of_text], "config": config}
    torch.manual_seed(0)
    exec(lines, libraries | given)
    assert len(measured) == 4
    assert all(np.isfinite(one.row["nc1"]) and one.row["nc1"] > 0 for one in measured)
    assert [len(one.layers) for one in measured] == [0, 2, 0, 2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    done = nc_run("-m", *FAST, "loss=mse,ce", "lr=0.1,0.05", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_code_for_after_a_run_loads_it_and_its_data(sweep, monkeypatch, capsys):
    monkeypatch.chdir(sweep)
    (code,) = blocks("load_run(")
    (folder,) = Path("outputs/mse-resnet8-digits").glob("lr0.1-*")
    code, count = re.subn(r'load_run\("[^"]*"\)', f"load_run({str(folder)!r})", code)
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
    (code,) = blocks("read_runs(")
    given = {}
    exec(code, given)
    table = given["table"].set_index(["loss", "run_lr", "epoch"])["nc1"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["loss", "ce", "mse"]
    assert len(shown) == 4
    assert float(shown[3].split()[2]) == pytest.approx(table["mse", 0.1, 2], rel=1e-4)


@pytest.mark.parametrize("arguments", [words for page in PAGES for words in commands(page)], ids=" ".join)
def test_the_commands_of_the_pages_give_settings_that_exist(arguments):
    settings_of(*(argument for argument in arguments if not argument.startswith("--")))


def test_the_readme_has_commands_with_and_without_torchrun():
    found = list(commands(README))
    assert ["loss=mse", "net=resnet18", "data=cifar10"] in found
    assert ["net=resnet50", "data=cifar10"] in found


def test_the_page_of_the_outputs_folder_names_a_run_as_nc_run_does():
    assert (
        f"outputs/{folder_name(settings_of('epochs=100'))}/" in (ROOT / "outputs" / "README.md").read_text()
    )
