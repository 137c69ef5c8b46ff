"""Run by two ranks under torchrun: Transformers' Trainer with and without the callback; what both ranks saw.

Argument: a folder for the run folder and for ``ends.json``.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

import nc_runner
from nc_runner.integrations.transformers import NeuralCollapseCallback


class Tokens(Dataset):
    """Sequences in which one token is frequent: the label."""

    def __init__(self, seed: int, count: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % 4
        self.tokens = torch.randint(4, 32, (count, 8), generator=generator)
        self.tokens[:, 2] = self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


TRAIN, TEST = Tokens(0, 61), Tokens(1, 31)


def train(folder: Path, *, measured: bool) -> tuple[Trainer, NeuralCollapseCallback | None]:
    set_seed(3)
    arguments = TrainingArguments(
        str(folder / "trainer"), use_cpu=True, ddp_backend="gloo", per_device_train_batch_size=8,
        num_train_epochs=1, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=4,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    trainer, callback = Trainer(model, arguments, train_dataset=TRAIN, eval_dataset=TEST), None
    if measured:
        callback = NeuralCollapseCallback(trainer, out=folder / "run")
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


def main(folder: Path) -> None:
    plain, _ = train(folder, measured=False)
    trainer, callback = train(folder, measured=True)
    weights = trainer.model.state_dict()
    equal = all(tensor.equal(weights[name]) for name, tensor in plain.model.state_dict().items())
    train_batch, test_batch = (default_data_collator(list(part)) for part in (TRAIN, TEST))
    alone = nc_runner.measure(trainer.model, [train_batch], test=[test_batch]).row
    (logged,) = (entry["nc/nc1"] for entry in trainer.state.log_history if "nc/nc1" in entry)
    ends = {"rows": callback.rows, "equal weights": equal, "logged": logged}
    everyones: list[dict[str, object]] = [{}, {}]
    dist.all_gather_object(everyones, ends)
    if dist.get_rank() == 0:
        together = {name: [end[name] for end in everyones] for name in ends}
        (folder / "ends.json").write_text(json.dumps({**together, "alone": alone}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
