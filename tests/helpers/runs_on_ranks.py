"""Run by two ranks under torchrun: runs one after the other, and what each rank got of them.

Rank 0 writes it as JSON into the folder in the first argument; tests/training/test_ranks.py judges. Rank 1 is
given a folder that it must not make.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from helpers.settings import settings_of
from helpers.stops import StopAfter
from nc_runner.data.raw import RawDataset, RawSplit
from nc_runner.distributed.process_group import joined
from nc_runner.distributed.torchrun import place
from nc_runner.errors import DataError
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

SMOOTH = (
    "net=custom", "net._target_=helpers.pair.Smooth", "data.samples_per_class=12",
    "batch_size=20", "epochs=4", "progress=none", "checkpoint_seconds=0",
)  # fmt: skip
DROPOUT = (
    *SMOOTH, "net._target_=helpers.lab.TinyNetwork", "analysis.schedule=[0,1,2,3]",
    "keep_checkpoints=analysed",
)  # fmt: skip
SUBSET = (*SMOOTH, "analysis.samples=33", "analysis.batch_size=10", "data.resident=false")
CHANGED = (
    *(setting for setting in SMOOTH if "samples_per_class" not in setting),
    "data.augment=standard", "data.label_noise=0.2", "data.imbalance.kind=step",
    "data.imbalance.ratio=3", "data.imbalance.minority_classes=4", "data.samples_per_class=24",
    "analysis.metrics=all",
)  # fmt: skip
ADAMW = (
    *SMOOTH, "optimizer=adamw", "weight_decay=0.1", "lr_schedule=cosine", "lr_warmup_epochs=1",
    "data.augment=standard",
)  # fmt: skip
LOADER = ("data=custom", "data._target_=helpers.runs_on_ranks.digits", "data.mean=[0.5]", "data.std=[0.5]")


def digits(wrong: str) -> RawDataset:
    """Digits, but for what rank 1 gets."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images.reshape(-1, 8, 8, 1) * 15).astype(np.uint8), labels.astype(np.int64)
    if place().rank == 1 and wrong == "raises":
        raise DataError("this host has no such file")
    if place().rank == 1 and wrong == "differs":
        images[0] = 255 - images[0]
    return RawDataset(RawSplit(images, labels), RawSplit(images[:200], labels[:200]), 10)


def runs() -> dict[str, tuple]:
    """By name: folder, overrides, and signals of rank 0."""
    return {
        "whole": ("whole", SMOOTH, StopSignals()),
        "whole with dropout": ("dropout", DROPOUT, StopSignals()),
        "subset": ("subset", SUBSET, StopSignals()),
        "changed data": ("changed", CHANGED, StopAfter(11)),
        "changed data, resumed": ("changed", CHANGED, StopSignals()),
        "adamw": ("adamw", ADAMW, StopSignals()),
        "missing on rank 1": ("missing", (*SMOOTH, *LOADER, "+data.options.wrong=raises"), StopSignals()),
        "other data on rank 1": ("other", (*SMOOTH, *LOADER, "+data.options.wrong=differs"), StopSignals()),
        "damaged": ("damaged", SMOOTH, StopSignals()),
        "batch norm of all ranks": ("norm", (*DROPOUT, "sync_batchnorm=true"), StopSignals()),
        "diverges": ("diverged", (*SMOOTH, "lr=1e30"), StopSignals()),
        "stopped": ("stopped", DROPOUT, StopAfter(14)),
        "resumed": ("stopped", DROPOUT, StopSignals()),
        "left": ("left", SMOOTH, StopAfter(14)),
    }


def main(out: Path) -> None:
    ends = {}
    if place().rank == 0:
        (out / "damaged").mkdir()
        (out / "damaged" / "checkpoint.pt").write_bytes(b"garbage")
    with joined(120) as group:
        for name, (folder, overrides, signals) in runs().items():
            path = out / (folder if group.is_first else "never-made")
            if group.is_first:
                path.mkdir(exist_ok=True)
            try:
                execute(settings_of(*overrides), path, signals if group.is_first else StopSignals(), group)
                end = ["complete", ""]
            except BaseException as error:
                end = [type(error).__name__, str(error)]
            ends[name] = group.all_of(end)
        if group.is_first:
            (out / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
