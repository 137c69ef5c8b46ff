"""Features from a file, .npz, .pt or .safetensors, read in blocks: it may be larger than memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from nc_runner.config.plugins import reason
from nc_runner.config.values import nearest
from nc_runner.errors import MeasurementError
from nc_runner.measurement.features import Features, Split
from nc_runner.measurement.precision import full, is_finite
from nc_runner.measurement.samples import FitMeter, LossFunction, Samples, linear_outputs
from nc_runner.measurement.tables import GrowingRows
from nc_runner.networks.saved import load_saved

_SHAPES = {
    "features": "NP", "labels": "N", "weight": "CP", "bias": "C", "test_features": "MP", "test_labels": "M",
    "ood_features": "KP",
}  # fmt: skip
KEYS = tuple(_SHAPES)
BLOCK = 2**24  # bytes of a compressed array that are read at a time
# (key, other): a file has the key if it has the other; None: always
_TOGETHER = (
    ("features", None), ("labels", None), ("test_labels", "test_features"), ("test_features", "test_labels"),
    ("weight", "bias"),
)  # fmt: skip
MOST_CLASSES = 2**16  # of labels without a weight, or as many as samples; larger labels are no class numbers
PROBE = 4096  # rows that tell whether float64 features hold float32 values


def read_features(path: Path, loss: LossFunction) -> Features:
    """The features in a file, as memory maps where the format allows it.

    The file holds ``features`` (N, P) and ``labels`` (N,); where there are some also ``weight`` (C, P) and
    ``bias`` (C,) of the classifier, ``test_features`` (M, P), ``test_labels`` (M,), and ``ood_features``
    (K, P). Without a weight C is the largest label plus 1, and what needs a classifier is NaN.

    Args:
        loss: of train_loss and test_loss; outputs are computed as the layer does, in the weight's dtype.

    Raises MeasurementError where the file cannot be read, or its arrays do not fit together.
    """
    arrays = _read(path)
    _check(path, arrays)
    weight, bias = arrays.get("weight"), arrays.get("bias")
    if weight is not None and bias is not None:
        bias = bias.to(weight.dtype)
    train, test = _samples(arrays, ""), _samples(arrays, "test_")
    num_classes = len(weight) if weight is not None else 1 + _largest(train.labels)
    if weight is None and num_classes > max(MOST_CLASSES, len(train)):
        raise MeasurementError(
            f"{path}: label {num_classes - 1} is too large: labels must be 0..C-1 for C classes"
        )
    for samples in (train, test):
        if len(samples) and _largest(samples.labels) >= num_classes:
            raise MeasurementError(
                f"{path}: label {_largest(samples.labels)} is too large: there are {num_classes} classes"
            )

    def split(samples: Samples) -> Split:
        if weight is None:
            return Split(samples)
        meter, done = FitMeter(loss), 0
        for outputs in linear_outputs(samples.features, weight, bias):
            meter.add(full(outputs), samples.labels[done : done + len(outputs)])
            done += len(outputs)
        return Split(samples, meter.fit())

    return Features(
        split(train), split(test) if len(test) else None, num_classes, weight, bias,
        arrays.get("ood_features"), _resolution(train.features),
    )  # fmt: skip


def _samples(arrays: Mapping[str, Tensor], prefix: str) -> Samples:
    """Of one split; none of them where the file has none."""
    none = torch.empty(0, arrays["features"].shape[1]), torch.empty(0, dtype=torch.int64)
    features = arrays.get(f"{prefix}features", none[0])
    return Samples(features, arrays.get(f"{prefix}labels", none[1]).to(torch.int64))


def _largest(labels: Tensor) -> int:
    return int(labels.max()) if len(labels) else -1


def _check(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """That the arrays are those of a features file, and fit together."""
    usage = f"a features file has {', '.join(KEYS[:2])}, and may have {', '.join(KEYS[2:])}"
    for key in arrays:
        if key not in KEYS:
            raise MeasurementError(f"{path}: {key} is unknown{nearest(key, KEYS)}\n{usage}")
    for key, other in _TOGETHER:
        if key not in arrays and other in (None, *arrays):
            raise MeasurementError(f"{path} has no {key}: it holds {', '.join(arrays) or 'nothing'}\n{usage}")
    sizes: dict[str, int] = {}
    for key, array in arrays.items():
        axes = _SHAPES[key]
        fits = array.ndim == len(axes) and len(array) > 0
        if not fits or any(sizes.setdefault(a, n) != n for a, n in zip(axes, array.shape, strict=True)):
            wanted = ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes)
            raise MeasurementError(f"{path}: {key} must have shape ({wanted}), not {tuple(array.shape)}")
        if array.layout != torch.strided or array.is_quantized:
            raise MeasurementError(f"{path}: {key} is sparse or quantised\nsave an ordinary dense array")
        whole = not (array.is_floating_point() or array.is_complex() or array.dtype == torch.bool)
        if not (whole if key.endswith("labels") else array.is_floating_point()):
            kind = "whole numbers" if key.endswith("labels") else "floating-point numbers"
            raise MeasurementError(f"{path}: {key} must be {kind}, not {str(array.dtype)[6:]}")
        # torch finds no minimum of unsigned numbers; those above int64's range become negative
        if whole and (least := int(array.to(torch.int64).min())) < 0:
            raise MeasurementError(f"{path}: {key} must be from 0 on; one is {least}")
        # the train features are checked when they are read; a pass over them may take minutes
        if not whole and key != "features" and not is_finite(array):
            raise MeasurementError(f"{path}: {key} must be finite, and within the range of float32")


def _resolution(features: Tensor) -> float | None:
    """float32's where the file's float64 features hold nothing finer; None where the dtype tells."""
    few = features[:PROBE]
    if features.dtype == torch.float64 and bool((few.float().double() == few).all()):
        return torch.finfo(torch.float32).eps
    return None


def _read(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by name. Nothing in it is executed."""
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".npz": _read_npz, ".pt": _read_torch, ".pth": _read_torch, ".safetensors": _read_safetensors,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise MeasurementError(f"{path} is no features file: it ends in none of {', '.join(readers)}")
    if not path.exists():
        raise MeasurementError(f"there is no file {path}")
    if not path.is_file():  # a pipe would be waited for
        raise MeasurementError(f"{path} is no file")
    try:
        with torch.no_grad():
            return {key: array.detach() for key, array in reader(path).items()}
    except MeasurementError:
        raise
    except Exception as error:  # a damaged file can fail in any way inside the readers
        raise MeasurementError(f"{path} cannot be read as {path.suffix}: {reason(error)}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    content = load_saved(path, mapped=True)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise MeasurementError(f"{path} is no features file: it is no dict of tensors")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise MeasurementError(f"{path} needs the package safetensors\npip install safetensors") from None
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Arrays are mapped; compressed ones, and those in another byte order than this machine's, are copied in
    blocks, if need be to a file."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                shape, dtype, in_columns = _npy_header(file, f"{path}: {name}")
                size = math.prod(shape) * dtype.itemsize
                if file.tell() + size != member.file_size:
                    raise MeasurementError(f"{path}: {name} is damaged: its size is not that of {shape}")
                if member.compress_type == zipfile.ZIP_STORED and size and dtype.isnative:
                    offset = _data_offset(path, member) + file.tell()
                    mapped = np.memmap(path, dtype, "c", offset, shape, order="F" if in_columns else "C")
                    arrays[name] = torch.from_numpy(mapped)
                elif in_columns:
                    transposed = _copied(file, shape[::-1], dtype)
                    arrays[name] = transposed.permute(tuple(reversed(range(transposed.ndim))))
                else:
                    arrays[name] = _copied(file, shape, dtype)
    return arrays


def _npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, dtype, and whether the array is in column order, as a transposed one."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(file)
    if dtype.hasobject:
        raise MeasurementError(f"{name} holds Python objects, which are not read")
    if dtype.kind not in "biufc" or dtype.itemsize > 16 or dtype == np.longdouble:
        raise MeasurementError(f"{name} is of type {dtype}\nsave numbers: float32, float64 or int64")
    return shape, dtype, in_columns


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its local header, whose length is in it."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = int.from_bytes(file.read(2), "little"), int.from_bytes(file.read(2), "little")
    return member.header_offset + 30 + name + extra


def _copied(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    row = math.prod(shape[1:]) * dtype.itemsize
    rows, left, native = GrowingRows(), shape[0] if shape else 0, dtype.newbyteorder("=")
    while left:
        count = min(left, max(1, BLOCK // max(row, 1)))
        content = file.read(count * row)
        block = np.frombuffer(content, dtype).reshape(count, *shape[1:])
        rows.append(torch.from_numpy(block.astype(native)))
        left -= count
    return rows.table if rows.count else torch.empty(shape, dtype=torch.from_numpy(np.empty(0, native)).dtype)
