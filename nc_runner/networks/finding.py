"""Finding the classifier of any model: the linear layer that makes its output."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nc_runner.errors import MeasurementError

Call = Callable[[], object]  # one pass of a model; what it returns

_SHARDED = ("FullyShardedDataParallel", "FSDPModule")  # the latter is a base that fully_shard adds
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
COMPARED = 64  # samples and classes of which outputs are compared with weight @ input + bias
ROUNDING = 8  # how many units in the last place they may differ by
_HINT = "name the layer with classifier=, if its own output is what the model predicts by"

_QUANTISED = (
    "the model's linear layers are quantised: their weights are whole numbers, packed for integer products\n"
    "measure the model that it was made of, before it was quantised"
)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel or torch.compile; they share their weights.

    Raises MeasurementError for a model whose weights are not all here.
    """
    if not isinstance(model, nn.Module):
        raise MeasurementError(f"the model is an object of type {type(model).__name__}\ngive an nn.Module")
    while True:
        if isinstance(model, _WRAPPERS):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            break
    for module in model.modules():
        if any(kind.__name__ in _SHARDED for kind in type(module).__mro__):
            raise MeasurementError(
                "the model is sharded by FSDP: no process has its whole last layer\n"
                "gather it first, or save a full state_dict and measure that"
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)):
            raise MeasurementError(f"{name} is not initialised yet\npass one batch through the model first")
        if tensor.device.type == "meta":
            raise MeasurementError(f"{name} is on the meta device: the model has no weights\nload them first")
    return model


def main_output(returned: object) -> Tensor | None:
    """The tensor that holds a model's outputs: what it returns, its ``logits``, or its first entry."""
    if isinstance(returned, Tensor):
        return returned
    logits = getattr(returned, "logits", None)
    if logits is None and isinstance(returned, Mapping):
        logits = returned.get("logits")
    if isinstance(logits, Tensor):
        return logits
    if isinstance(returned, (tuple, list)) and returned and isinstance(returned[0], Tensor):
        return returned[0]
    return None


def chosen_classifier(model: nn.Module, chosen: nn.Module | str) -> nn.Linear:
    """The layer that the caller names. Raises MeasurementError where it is no linear layer of the model."""
    if isinstance(chosen, str):
        modules = dict(model.named_modules())
        linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
        if chosen not in modules:
            raise MeasurementError(
                f"classifier={chosen}: the model has no such module\n"
                f"its last linear layers are {', '.join(linear[-3:]) or 'none'}"
            )
        chosen = modules[chosen]
    if isinstance(chosen, nn.Module) and is_quantised(chosen):
        raise MeasurementError(_QUANTISED)
    if not isinstance(chosen, nn.Linear):
        raise MeasurementError(
            f"the classifier must be an nn.Linear, not {type(chosen).__name__}\n"
            "a 1 x 1 convolution after pooling is the same as an nn.Linear with its weights"
        )
    if not any(module is chosen for module in model.modules()):
        raise MeasurementError("the classifier is no part of the model")
    return chosen


def find_classifier(model: nn.Module, call: Call) -> nn.Linear:
    """The linear layer whose output is what the model returns, found by two passes.

    The second pass puts a marker in the place of the layer's output and looks for it in what the model
    returns: a comparison of values could pass by chance, as with a ReLU after outputs that are all positive.

    Args:
        model: in eval mode.
        call: passes a few samples through the model.

    Raises MeasurementError where there is none.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    outputs: dict[str, list[Tensor]] = {name: [] for name in linears}

    def note(name: str, _: nn.Module, args: object, output: Tensor) -> None:
        outputs[name].append(output)

    with ExitStack() as hooks:
        for name, module in linears.items():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        returned = main_output(call())
    if returned is None:
        raise MeasurementError(
            "the model returns no tensor, no .logits and no tuple that starts with a tensor\n"
            "give a model that returns its outputs, as lambda x: model(x).my_outputs in an nn.Module"
        )
    found = [name for name, made in outputs.items() if any(same_memory(output, returned) for output in made)]
    if not found and any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise MeasurementError(
            "the model is compiled to TorchScript, in which no layer can be found\n"
            "measure the model that it was made of, with its state_dict"
        )
    if not found and any(map(is_quantised, model.modules())):
        raise MeasurementError(_QUANTISED)
    if not found:
        last = (
            f"; the last one called is {called[-1]}" if (called := [n for n in outputs if outputs[n]]) else ""
        )
        raise MeasurementError(f"no nn.Linear makes the model's output as it is returned{last}\n{_HINT}")
    name = found[-1]
    if len(outputs[name]) != 1:
        raise MeasurementError(
            f"{name} is called {len(outputs[name])} times in a forward pass, not once: it cannot be measured"
        )
    if not _carries_marker(linears[name], call):
        raise MeasurementError(f"the model changes the output of {name} before it returns it\n{_HINT}")
    return linears[name]


def is_quantised(module: nn.Module) -> bool:
    """Whether it is a layer of torch.ao with whole numbers for weights, as quantize_dynamic makes them."""
    return re.match(r"torch\.ao\.nn\.(\w+\.)?quantized\b", type(module).__module__) is not None


def check_linear(model: nn.Module, classifier: nn.Linear, call: Call) -> None:
    """That the classifier makes weight @ input + bias, which the numbers of a row take for its output.

    A subclass of nn.Linear or a hook may do something else: normalise, add an adapter, scale. Compared is a
    part of the outputs, so that a vocabulary's weight is not copied.

    Raises MeasurementError where it does not.
    """
    caught: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        caught.append(((args[0] if args else kwargs["input"]).clone(), output.clone()))

    handle = classifier.register_forward_hook(keep, with_kwargs=True)
    try:
        call()
    finally:
        handle.remove()
    if len(caught) == 1 and not _is_linear(classifier, *caught[0]):
        name = next(name for name, module in model.named_modules() if module is classifier)
        raise MeasurementError(
            f"{name} ({type(classifier).__name__}) does not make weight @ input + bias: it, or a hook on it, "
            "does something else\nmerge that into its weight (adapters), or move it into another module"
        )


def _is_linear(classifier: nn.Linear, inputs: Tensor, outputs: Tensor) -> bool:
    classes = torch.linspace(0, classifier.out_features - 1, min(classifier.out_features, COMPARED)).long()
    chosen = classes.to(outputs.device)
    try:
        h, made = inputs.flatten(0, -2)[:COMPARED].float(), outputs.flatten(0, -2)[:COMPARED, chosen].float()
        weight = classifier.weight[chosen].float()
        bias = weight.new_zeros(len(weight)) if classifier.bias is None else classifier.bias[chosen].float()
        dtypes = inputs.dtype, outputs.dtype, classifier.weight.dtype, torch.float32
        eps = max(torch.finfo(dtype).eps for dtype in dtypes)
        with torch.autocast(outputs.device.type, enabled=False):
            error = (made - F.linear(h, weight, bias)).abs()
            size = F.linear(h.abs(), weight.abs(), bias.abs())
    except (RuntimeError, TypeError, IndexError, NotImplementedError):  # quantised weights cannot be had so
        return False
    return bool((~(error > ROUNDING * eps * size)).all())  # NaN is told apart when samples are collected


def same_memory(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are one, or views of each other that hold all of it."""
    return a is b or (a.numel() == b.numel() > 0 and a.device == b.device and a.data_ptr() == b.data_ptr())


def _carries_marker(classifier: nn.Linear, call: Call) -> bool:
    markers: list[Tensor] = []

    def plant(_: nn.Module, args: object, output: Tensor) -> Tensor:
        # large numbers, so that a clamp shows; float16 holds them
        marker = torch.linspace(-2e4, 3e4, output.numel(), dtype=output.dtype, device=output.device)
        markers.append(marker.clone())
        return marker.reshape(output.shape)

    handle = classifier.register_forward_hook(plant)
    try:
        returned = main_output(call())
    finally:
        handle.remove()
    return returned is not None and len(markers) == 1 and returned.flatten().equal(markers[0])
