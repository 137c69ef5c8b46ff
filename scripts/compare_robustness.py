"""The column robustness beside what it should be: foolbox's DeepFool, a linear network, and its price.

    python scripts/compare_robustness.py [--epochs 20] [--images 100]

Trains a ResNet8 on scikit-learn's digits on the CPU, one thread. Then, for the same test images: the norms
that ``deepfool`` and foolbox's L2DeepFoolAttack find (given the predicted labels, and bounds that nothing
reaches), the norms for a linear network, whose distance to the boundary is known, and the seconds of one
measurement beside those of an epoch. Needs foolbox (``pip install foolbox``), which nc-runner does not.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import foolbox
import torch
from torch import Tensor, nn

from nc_runner.data.dataset import Split
from nc_runner.measurement.robustness import OVERSHOOT, deepfool, robustness
from nc_runner.training.run import prepare
from nc_runner.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.lab import Listening, settings_of

BOUNDS = (-1e3, 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    trainer = prepare(
        settings_of(
            f"epochs={given.epochs}", f"analysis.schedule=[{given.epochs}]", "device=cpu", "threads=1",
            f"analysis.robustness={given.images}",
        )
    )  # fmt: skip
    trainer.run(Listening())
    images = trainer.measurer.plan.robustness
    assert isinstance(images, Split)
    x = trainer.dataset.normalise(images.images, channels_last=True)
    model = trainer.network.model.eval()
    beside("ResNet8", norms(deepfool(model, x)), by_foolbox(model, x))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 10)).eval()
    beside("a linear network", norms(deepfool(linear, x)), by_foolbox(linear, x))
    ours, exact = norms(deepfool(linear, x)), distances(linear, x)
    print(f"a linear network, exact: norms / {1 + OVERSHOOT} differ from the distance by at most "
          f"{float((ours / (1 + OVERSHOOT) / exact - 1).abs().max()):.1e}")  # fmt: skip
    price(trainer)


def by_foolbox(model: nn.Module, x: Tensor) -> Tensor:
    attack = foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=10, overshoot=OVERSHOOT)
    wrapped = foolbox.PyTorchModel(model, bounds=BOUNDS, device="cpu")
    with torch.no_grad():
        labels = model(x).argmax(dim=1)
    _, found, success = attack(wrapped, x.contiguous(), labels, epsilons=None)
    print(f"foolbox changed the decision of {int(success.sum())} of {len(x)} images")
    return norms(found - x)


def norms(r: Tensor) -> Tensor:
    return torch.linalg.vector_norm(r.flatten(1), dim=1)


def distances(linear: nn.Sequential, x: Tensor) -> Tensor:
    """Of a linear network, to the nearest boundary: min over c of (z_0 - z_c) / ‖w_0 - w_c‖, in float64."""
    layer = linear[1]
    W, b = layer.weight.detach().double(), layer.bias.detach().double()
    z = x.flatten(1).double() @ W.T + b
    top = z.argmax(dim=1)
    gaps = z.gather(1, top[:, None]) - z
    lengths = torch.linalg.vector_norm(W[top][:, None] - W[None], dim=2)
    return torch.where(lengths > 0, gaps / lengths, torch.inf).amin(dim=1)


def beside(name: str, ours: Tensor, theirs: Tensor) -> None:
    a, b = float(ours.median()), float(theirs.median())
    print(f"{name}: median norm {a:.6g}, foolbox {b:.6g}, {100 * (a / b - 1):+.3f} %; "
          f"means {float(ours.mean()):.6g}, {float(theirs.mean()):.6g}; "
          f"largest difference of an image {100 * float((ours / theirs - 1).abs().max()):.2g} %")  # fmt: skip


def price(trainer: Trainer) -> None:
    """Each three times, in turns: the machine may do other work."""
    measurer, epochs, seconds = trainer.measurer, [], []
    assert measurer.plan.robustness is not None
    for _ in range(3):
        trainer.epochs, trainer.train_seconds = trainer.epochs + 1, 0.0
        trainer.run(Listening())
        epochs.append(trainer.train_seconds)
        began = time.perf_counter()
        value = robustness(measurer.forward, measurer.plan.robustness)
        seconds.append(time.perf_counter() - began)
    ratio = min(seconds) / min(epochs)
    print(f"robustness {value:.4f}: {min(seconds):.2f} s, an epoch {min(epochs):.2f} s: {ratio:.2f} epochs")


if __name__ == "__main__":
    main()
