"""Every command and every Python block of README and documentation runs, shortened, as it stands there.

How a command is shortened, and which are only checked and why, is in helpers/pages.py.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pages import PAGES, ROOT, SHORT, blocks_of, carry_out, commands_of, run_as_command
from sklearn.datasets import load_digits
from torch import nn

from nc_runner.commands.run import main as nc_run
from nc_runner.config.identity import folder_name

pytestmark = pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")
FIRST = "mse-resnet8-digits/lr0.1-seed0-76933a25"  # the run that a bare nc-run makes, on the pages
SECOND = "ce-resnet8-digits/lr0.1-seed0-4e64c8d7"  # that of nc-run loss=ce
LANGUAGES = {"python", "sh", "text", "bibtex", "yaml", "toml", "html", "bat"}
ELSEWHERE = {"integrations.md": "tests/integrations/test_page.py"}  # pages whose Python another test runs

MODEL = """
from torch import nn

class MyModel(nn.Sequential):
    def __init__(self, num_classes, in_channels):
        hidden = nn.Conv2d(in_channels, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        super().__init__(*hidden, nn.Linear(32, num_classes))
"""


class Small(nn.Module):
    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer1(x))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as the pages have it: runs of both losses, the first under its name; saved models."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [])
        run_as_command(nc_run, "-m", "loss=mse,ce", "weight_decay=5e-4,1e-3", "keep_checkpoints=[10]", *SHORT)
    for name in (FIRST, SECOND):
        (made,) = (folder / "outputs" / name).parent.glob("lr0.1-seed0-epochs10-samples*")
        made.rename(folder / "outputs" / name)
    digits = load_digits()
    features = digits.data[:400].astype(np.float32)
    np.savez(folder / "features.npz", features=features, labels=digits.target[:400])
    (folder / "my_model.py").write_text(MODEL)
    exec(MODEL, given := {})
    for name, channels in (("epoch-1.pt", 1), ("epoch-2.pt", 1), ("mine.pt", 3)):
        torch.save(given["MyModel"](10, channels).state_dict(), folder / name)
    make_photos(folder / "photos", digits)
    return folder


def make_photos(folder: Path, digits) -> None:
    from PIL import Image

    for number, (image, label) in enumerate(zip(digits.images[:200], digits.target, strict=False)):
        place = folder / ("test" if number >= 150 else "train") / f"digit{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(place / f"{number}.png")


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it as the current folder; modules that a page's files were imported as are forgotten."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def write_files(page: Path) -> None:
    """The files that a page shows, into the current folder."""
    for block in blocks_of(page, "python"):
        if block.file_name:
            Path(block.file_name).write_text(block.text)


def named(page: Path) -> str:
    return page.name


def test_the_first_runs_have_the_names_that_the_pages_give_them():
    from helpers.settings import settings_of

    assert folder_name(settings_of()) == FIRST
    assert folder_name(settings_of("loss=ce")) == SECOND


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_its_language(page):
    fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands_of(page))], ids=named)
def test_the_commands_of_a_page_run(page, here):
    write_files(page)
    for words in commands_of(page):
        carry_out(words)


def given_to() -> dict[str, object]:
    """What a page's Python takes for granted: a model of the reader's, and batches."""
    torch.manual_seed(0)
    images, labels = torch.randn(50, 6), torch.arange(50) % 3
    batches = list(zip(images.split(20), labels.split(20), strict=True))
    model = Small().train()
    return {
        "epochs": 2,
        "model": model,
        "loader": batches,
        "all_train_batches": batches,
        "train_batches": batches,
        "test_batches": batches,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "num_classes": 3,
        "dim": 8,
        "layer": model.fc,
        "batches_of_features": [(torch.randn(30, 8), torch.arange(30) % 3)],
    }


def runnable(page: Path) -> list[str]:
    found = [block for block in blocks_of(page, "python") if not block.file_name]
    return [block.text.replace('device="cuda"', 'device="cpu"') for block in found]


def of_other_libraries() -> dict[str, object]:
    """Small images and sentences with labels, for models of torchvision, timm and Transformers."""
    found = {name: pytest.importorskip(name) for name in ("torchvision", "timm", "transformers")}
    digits = load_digits()
    images = torch.tensor(digits.images[:60] / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    images = nn.functional.interpolate(images, size=32)
    ids = torch.randint(256, (60, 40))
    config = found["transformers"].BertConfig(
        vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    labels = torch.tensor(digits.target[:60])
    return found | {
        "batches": list(zip(images.split(30), labels.split(30), strict=True)),
        "batches_of_dicts": [
            {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels % 2}
        ],
        "config": config,
    }


class Bigrams(nn.Module):
    """A language model of one token's context."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(5, 8), nn.Linear(8, 5)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(input_ids))


def of_language() -> dict[str, object]:
    ids = torch.randint(5, (20, 30))
    return {"model": Bigrams(), "batches": [{"input_ids": ids, "labels": ids}]}


GIVEN = {"torchvision.models": of_other_libraries, "shift=True": of_language}  # to the block with this word


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p) and p.name not in ELSEWHERE], ids=named)
def test_the_python_of_a_page_runs(page, here, monkeypatch):
    import matplotlib.pyplot as plt

    write_files(page)
    given = given_to()
    for code in runnable(page):
        given |= next((make() for word, make in GIVEN.items() if word in code), {})
        exec(compile(code, page.name, "exec"), given)
    plt.close("all")


@pytest.mark.parametrize("page", ELSEWHERE)
def test_pages_whose_python_another_test_runs_are_named_there(page):
    assert page in (ROOT / ELSEWHERE[page]).read_text()
