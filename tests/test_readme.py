"""The README's code does what the README says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import reference
from torch import nn

README = Path(__file__).parents[1] / "README.md"


def blocks(word):
    """The Python blocks of the README that hold ``word``."""
    return [b for b in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if word in b]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.hidden(x))


def test_the_recipe_for_a_plain_loop_trains_and_measures(capsys):
    (code,) = blocks("def neural_collapse")
    torch.manual_seed(0)
    images, labels = torch.randn(50, 6), torch.arange(50) % 3
    batches = list(zip(images.split(20), labels.split(20), strict=True))
    model = Small().train()
    before = model.fc.weight.detach().clone()
    given = {
        "epochs": 2,
        "model": model,
        "loader": batches,
        "all_train_batches": batches,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }
    exec(code.replace("num_classes=10", "num_classes=3"), given)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    assert model.training
    assert not model.fc._forward_hooks
    assert not model.fc.weight.equal(before)

    metrics = given["metrics"]
    model.eval()
    with torch.no_grad():
        features = model.hidden(images)
        predicted = model.fc(features).argmax(dim=1).numpy()
    h, y = features.double().numpy(), labels.numpy()
    expected = reference.collapse_metrics(h, y, model.fc.weight.detach().double().numpy())
    nearest = reference.nearest_class_mean(h, reference.class_means(h, y, 3))
    expected["nc4_ncc_mismatch"] = np.mean(nearest != predicted)
    assert metrics == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("word", ["lightning.Callback", "keras.callbacks.Callback"])
def test_the_other_recipes_are_python_at_least(word):
    (code,) = blocks(word)
    compile(code, str(README), "exec")
