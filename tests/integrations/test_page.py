"""The code of docs/integrations.md runs as it stands, on small things."""

import re
from pathlib import Path

import lightning.pytorch
import numpy as np
import pytest
import torch
from helpers import reference
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nc_runner.runs.reader import read_run

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
pytestmark = pytest.mark.filterwarnings("ignore::nc_runner.errors.MeasurementWarning")


def block(word):
    """The page's only Python block that holds ``word``."""
    (code,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if word in b)
    return code


@pytest.fixture
def digits():
    """400 real digits (N, 64) and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images[:400].astype(np.float32) / 16), torch.from_numpy(labels[:400])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.1))
        self.fc = nn.Linear(8, 10)

    def forward(self, images):
        return self.fc(self.hidden(images))


class Module(lightning.pytorch.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, count = re.subn("max_epochs=100", 'max_epochs=2, accelerator="cpu"', block("pl.Trainer"))
    assert count == 1
    loader = DataLoader(TensorDataset(*digits), batch_size=50, shuffle=True)
    exec(
        code,
        given := {"module": Module(), "train_loader": loader, "val_loader": DataLoader(loader.dataset, 50)},
    )
    rows = read_run(tmp_path / "outputs" / "mine").rows
    assert list(rows["epoch"]) == [0, 1, 2]
    assert (
        float(capsys.readouterr().out.split()[-1])
        == rows["nc1"].iloc[-1]
        == given["collapse"].rows[-1]["nc1"]
    )


def test_transformers(tmp_path, monkeypatch, capsys):
    from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    samples = [{"input_ids": [1, 2, i % 2, 3 + i % 7], "labels": i % 2} for i in range(40)]
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, num_train_epochs=2, save_strategy="no",
                                  report_to="none", disable_tqdm=True)  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = {"model": BertForSequenceClassification(config), "arguments": arguments}
    exec(block("add_callback"), given | {"train_set": Samples(samples), "test_set": Samples(samples[:9])})
    rows = read_run(tmp_path / "outputs" / "bert").rows
    assert eval(capsys.readouterr().out.splitlines()[-1]) == list(rows["nc1"])


class Samples(torch.utils.data.Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_torchmetrics(digits):
    model, batches = Net(), list(zip(*(part.split(70) for part in digits), strict=True))
    exec(block("collapse.update"), given := {"model": model, "batches": batches})
    h = model.hidden(digits[0]).detach()
    expected = expected_of(h, model.fc(h), digits[1], model.fc.weight)
    columns = {name: float(given["columns"][name]) for name in expected}
    assert columns == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_keras(digits, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # before it is imported
    keras = pytest.importorskip("keras")
    images, labels = (part.numpy() for part in digits)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.1), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    exec(block("keras.callbacks.Callback"), given := {"images": images, "labels": labels, "model": model})
    rows = given["collapse"].rows
    assert len(rows) == 5
    h = layers[0](images).detach().cpu()
    kernel, bias = (torch.as_tensor(keras.ops.convert_to_numpy(v)) for v in layers[2].variables)
    expected = expected_of(h, h @ kernel + bias, digits[1], kernel.T)
    assert rows[-1] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert float(capsys.readouterr().out.split()[-1]) == rows[-1]["nc1"]


def expected_of(features, outputs, labels, weight):
    """The reference's NC1 to NC4."""
    h, y = features.double().numpy(), labels.numpy()
    expected = reference.collapse_metrics(h, y, weight.detach().double().numpy())
    nearest = reference.nearest_class_mean(h, reference.class_means(h, y, 10))
    return {**expected, "nc4_ncc_mismatch": np.mean(nearest != outputs.argmax(dim=1).numpy())}
