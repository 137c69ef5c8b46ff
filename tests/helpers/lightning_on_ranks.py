"""Run by two ranks under torchrun: Lightning trains with and without the callback; what both ranks saw.

Argument: a folder for the run folder and for ``ends.json``.
"""

import json
import sys
import warnings
from pathlib import Path

import lightning.pytorch as lightning
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nc_runner
from helpers.lab import TinyNetwork
from nc_runner.errors import MeasurementWarning, NCRunnerError
from nc_runner.integrations.lightning import NeuralCollapse


def split(seed: int, count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randn(count, 1, 4, 4, generator=generator)
    images[torch.arange(count), 0, labels] += 2
    return TensorDataset(images, labels)


TRAIN, TEST = split(0, 99), split(1, 41)


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = TinyNetwork(4, 1, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, *callbacks: lightning.Callback) -> tuple[Module, lightning.Trainer]:
    lightning.seed_everything(7)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", callbacks=list(callbacks), logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    model = Module()
    trainer.fit(model, DataLoader(TRAIN, batch_size=16, shuffle=True), DataLoader(TEST, batch_size=16))
    return model, trainer


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore", category=MeasurementWarning)
    plain, _ = fit(folder)
    callback = NeuralCollapse(at_start=True, metrics="all", out=folder / "run")
    model, trainer = fit(folder, callback)
    equal = all(tensor.equal(model.state_dict()[name]) for name, tensor in plain.state_dict().items())
    error = ""
    try:
        fit(folder, NeuralCollapse(model="body"))
    except NCRunnerError as raised:
        error = str(raised).splitlines()[0]
    alone = nc_runner.measure(model, DataLoader(TRAIN, 99), test=DataLoader(TEST, 41), metrics="all").row
    ends = {
        "rows": callback.rows,
        "logged": float(trainer.callback_metrics["nc/nc1"]),
        "equal weights": equal,
        "errors": error,
    }
    everyones: list[dict[str, object]] = [{}, {}]
    dist.all_gather_object(everyones, ends)
    if dist.get_rank() == 0:
        together = {name: [end[name] for end in everyones] for name in ends}
        (folder / "ends.json").write_text(json.dumps({**together, "alone": alone}))
    dist.barrier()
    dist.destroy_process_group()  # Lightning leaves it: gloo's thread may outlive Python, and aborts it then


if __name__ == "__main__":
    main(Path(sys.argv[1]))
