"""Good inputs, which the fuzzer damages: a real run and small files of each format."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from nc_runner.config.validation import leaves

SETTINGS = (
    "data=ufm", "net=ufm", "net.features=4", "data.options.classes=2", "data.options.samples_per_class=2",
    "batch_size=4", "epochs=3", "threads=1", "progress=none",
)  # fmt: skip


@dataclass
class Originals:
    """``run``: a run folder that nc-run made in ``folder``; the others are read from it, or made here."""

    folder: Path
    run: Path = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "nc_runner", *SETTINGS, "hydra.run.dir=run"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        self.run = self.folder / "run"
        self.metrics = (self.run / "metrics.csv").read_bytes()
        self.checkpoint = (self.run / "checkpoint.pt").read_bytes()
        self.record: Any = json.loads((self.run / "run.json").read_bytes())
        self.hydra: Any = yaml.safe_load((self.run / ".hydra" / "hydra.yaml").read_bytes())
        self.settings = [key for key, _ in leaves()]
        self.experiment = {"lr": 0.1, "net": {"depth": 8}, "defaults": [{"override /net": "resnet8"}]}
        self._arrays()

    def _arrays(self) -> None:
        random = np.random.default_rng(0)
        labels = np.arange(12) % 3
        features = random.normal(size=(12, 4)).astype(np.float32)
        layer = {"weight": np.eye(3, 4, dtype=np.float32), "bias": np.zeros(3, np.float32)}
        arrays = {"features": features, "labels": labels, **layer}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        npz, pt, images, image = (io.BytesIO() for _ in range(4))
        np.savez_compressed(npz, **arrays)  # type: ignore[arg-type]
        torch.save(tensors, pt)
        pixels = random.integers(0, 255, (12, 8, 8), dtype=np.uint8)
        np.savez(images, train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels)
        Image.fromarray(pixels[0]).save(image, "PNG")
        self.features = {".npz": npz.getvalue(), ".pt": pt.getvalue(), ".safetensors": save(tensors)}
        self.images, self.image = images.getvalue(), image.getvalue()
        self.labels = b"\0\0\x08\x01" + (100).to_bytes(4, "big") + bytes(i % 10 for i in range(100))
        self.packed_labels = gzip.compress(self.labels)
        self.layers = b"epoch,depth,layer,features\n1,1,a,4\n"
        self.sweep: Any = {
            "started": 1.0, "anew": False, "settings": {"lr": 0.1},
            "runs": [{"folder": "a/b", "epochs": 3, "settings": {"seed": 1}}],
        }  # fmt: skip

    def copy_run(self, folder: Path) -> Path:
        """The run's files in ``folder``/outputs/a; that folder."""
        place = folder / "outputs" / "a"
        shutil.copytree(self.run, place)
        return place
