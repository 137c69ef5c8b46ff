"""Batches as people have them: (x, y), tuples with more, dicts with labels; moved, read and flattened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from nc_runner.errors import MeasurementError

IGNORED = -100  # the label of samples that are left out, as in torch.nn.functional.cross_entropy
LABEL_KEYS = ("labels", "label")


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model is called with, and the labels; None where there are none."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    labels: Tensor | None

    @classmethod
    def of(cls, raw: object, *, labelled: bool = True) -> Batch:
        """Read a batch.

        ``(x, y)`` or a tuple or list with more entries, of which the first two are used; x may be a tensor, a
        dict of keyword arguments, or a tuple of positional ones. Or a dict with ``labels`` (or ``label``),
        whose other entries are keyword arguments. Without ``labelled`` also x alone, and labels are left out.

        Raises MeasurementError for anything else.
        """
        if isinstance(raw, Mapping):
            key = next((key for key in LABEL_KEYS if key in raw), None)
            if key is None and labelled:
                raise MeasurementError(
                    f"a batch has no labels: its keys are {', '.join(map(str, raw))}\n"
                    f"put them under the key {LABEL_KEYS[0]}, or give (x, y)"
                )
            kwargs = {name: value for name, value in raw.items() if name not in LABEL_KEYS}
            return cls((), kwargs, None if key is None else _labels(raw[key]))
        if isinstance(raw, (tuple, list)) and len(raw) > labelled:
            return cls(*_arguments(raw[0]), _labels(raw[1]) if labelled else None)
        if isinstance(raw, Tensor) and not labelled:
            return cls((raw,), {}, None)
        raise MeasurementError(
            f"a batch is {_described(raw)}\n"
            "give batches of (x, y), or dicts with labels, as a DataLoader yields them"
        )

    def to(self, device: torch.device) -> Batch:
        labels = None if self.labels is None else self.labels.to(device)
        return Batch(_moved(self.args, device), _moved(self.kwargs, device), labels)

    def call(self, model: nn.Module) -> object:
        return model(*self.args, **self.kwargs)

    @property
    def count(self) -> int:
        """How many samples it has: the length of its first tensor."""
        tensors = [x for x in (*self.args, *self.kwargs.values()) if isinstance(x, Tensor) and x.ndim]
        return len(tensors[0]) if tensors else 0

    def few(self) -> Batch:
        """Its first two samples, or all where it is not clear what a sample is."""
        tensors = [x for x in (*self.args, *self.kwargs.values()) if isinstance(x, Tensor) and x.ndim]
        plain = len(tensors) == len(self.args) + len(self.kwargs)
        if not plain or len({len(x) for x in tensors}) != 1:
            return self
        kwargs = {name: value[:2] for name, value in self.kwargs.items()}
        return Batch(tuple(x[:2] for x in self.args), kwargs, None)


def _arguments(x: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(x, Mapping):
        return (), dict(x)
    several = isinstance(x, (tuple, list)) and not isinstance(x, PackedSequence)
    return (tuple(cast("tuple[Any, ...]", x)), {}) if several else ((x,), {})


def _labels(labels: object) -> Tensor:
    try:
        tensor = torch.as_tensor(labels)
    except Exception:  # strings, None, lists of unequal length: each raises something else
        raise MeasurementError(
            f"labels must be whole numbers from 0 on, in a tensor; they are {_described(labels)}"
        ) from None
    if not tensor.ndim:
        raise MeasurementError(
            "a batch has a single label: it looks like one sample\n"
            "give batches, as DataLoader(data, batch_size=256) yields them"
        )
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise MeasurementError(
            f"labels must be whole numbers from 0 on, not {str(tensor.dtype)[6:]}\n"
            "of one-hot or soft labels take labels.argmax(dim=1)"
        )
    return tensor


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, (Tensor, PackedSequence)):
        return cast(Any, value).to(device)  # the annotations of PackedSequence.to lack this form
    if isinstance(value, Mapping):
        return {key: _moved(inner, device) for key, inner in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_moved(inner, device) for inner in value)
    return value


def _described(raw: object) -> str:
    if isinstance(raw, (tuple, list)):
        return f"a {type(raw).__name__} of {len(raw)}"
    return f"an object of type {type(raw).__name__}"
