"""Files in place of those of SVHN, CIFAR10, CIFAR100 and STL10: none may be read, none may be unpickled."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.io import savemat

from fuzzing.accepted import Unexpected, accepted
from fuzzing.originals import Originals
from fuzzing.strategies import damaged
from nc_runner.data import standard

_FILES: Mapping[str, tuple[str, ...]] = {
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
    "cifar10": (
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        "cifar-10-batches-py/test_batch", "cifar-10-batches-py/batches.meta", "cifar-10-python.tar.gz",
    ),
    "cifar100": (
        "cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta", "cifar-100-python.tar.gz",
    ),
    "stl10": tuple(
        f"stl10_binary/{name}.bin" for name in ("train_X", "train_y", "unlabeled_X", "test_X", "test_y")
    ),
}  # fmt: skip


class _WritesFile:
    """Unpickled, it writes a file into the folder where that happens."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("executed",)


def files(originals: Originals) -> st.SearchStrategy[tuple[str, bytes]]:
    matlab = io.BytesIO()
    savemat(matlab, {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((2, 1), np.uint8)})
    batch = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]})
    whole = (matlab.getvalue(), batch, pickle.dumps(_WritesFile()), originals.packed_labels, b"")
    content = st.one_of(*map(damaged, whole), st.sampled_from(whole))
    return st.tuples(st.sampled_from(sorted(_FILES)), content)


def read(folder: Path, originals: Originals, given: tuple[str, bytes]) -> None:
    """Files of a known data set that are not those of its authors: all are turned away, none is unpickled."""
    name, content = given
    for place in _FILES[name]:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(content)
    before = os.getcwd()
    os.chdir(folder)
    try:
        accepted(lambda: _turned_away(lambda: getattr(standard, name)(folder, download=False)))
    finally:
        os.chdir(before)
    if (folder / "executed").exists():
        raise Unexpected("what a file says was executed")


def _turned_away(read: Callable[[], Any]) -> None:
    read()
    raise Unexpected("a file with another checksum was read")
