"""A model made ready to be measured, and left as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from nc_runner.errors import MeasurementError
from nc_runner.measurement.precision import full_precision

_COMPILED = "_compiled_call_impl"  # what nn.Module.compile() sets


@contextmanager
def undisturbed(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Inside, a model is in eval mode and on ``device``; after, all is as before, whatever happened.

    Also inside: no gradients, no autocast, no TF32, nothing compiled (compiled code calls no hooks), and a
    random state that nothing outside sees: that of torch, NumPy and Python.

    Args:
        device: None for where the model is.

    Yields the device that inputs must be on. Raises MeasurementError for a model on several devices that is
    asked to another, and for a device that is not there.
    """
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else torch.device("cpu")
    place = _device(device, home)
    if device is not None and len({tensor.device for tensor in tensors}) > 1:
        raise MeasurementError(
            f"the model is on several devices, and device={device} would gather it on one\nleave device out"
        )
    modes = {module: module.training for module in model.modules()}
    gpus = {tensor.device.index for tensor in tensors if tensor.device.type == "cuda"}
    gpus |= {place.index or 0} if place.type == "cuda" else set()
    with ExitStack() as stack:
        stack.enter_context(random_state_kept(*sorted(gpus)))
        stack.enter_context(torch.no_grad())
        stack.enter_context(full_precision(place))
        if any(getattr(module, _COMPILED, None) is not None for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if place != home:
            stack.callback(model.to, home)
            model.to(place)
        stack.callback(_restore, modes)
        model.eval()
        yield place


@contextmanager
def random_state_kept(*gpus: int) -> Iterator[None]:
    """After, the generators of torch (the CPU's and those of these GPUs), NumPy and Python are as before."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def gpus_of(device: torch.device) -> list[int]:
    """The GPUs whose random state a pass on ``device`` may move."""
    return [device.index or 0] if device.type == "cuda" else []


def _device(device: torch.device | str | None, home: torch.device) -> torch.device:
    if device is None:
        return home
    try:
        place = torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        why = str(error).splitlines()[0].partition(". ")[0]
        raise MeasurementError(
            f"device={device} cannot be used: {why}\ngive cpu, cuda, cuda:N or mps"
        ) from None
    if place.type == "meta":
        raise MeasurementError("device=meta has no numbers, and would forget the model's weights")
    return place


def _restore(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():  # parents first
        if module.training != training:
            module.train(training)  # some modules do more in it, as adapters that are merged for eval
    for module, training in modes.items():
        module.training = training
