"""From the ``net`` settings to a network whose outputs and last-layer features come from one forward pass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nc_runner.config.plugins import locate, reason
from nc_runner.errors import ConfigError, NCRunnerError


@dataclass(frozen=True, eq=False)
class Network:
    """A model and its classifier, the last linear layer, which produces the model's output.

    ``model`` is what training calls, as it is, compiled (``torch.compile(network.model)``) or wrapped.
    All these share their weights; the measurement uses the model as it is.
    """

    model: nn.Module
    classifier: nn.Linear

    def forward_with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (B, C) and last-layer features (B, P) of images (B, channels, S, S), in one forward pass.

        The features are the classifier's input, so that outputs = features @ weight.T + bias.
        """
        seen: list[Tensor] = []

        def keep(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> None:
            seen.append(args[0] if args else kwargs["input"])

        handle = self.classifier.register_forward_hook(keep, with_kwargs=True)
        try:
            outputs = self.model(images)
        finally:
            handle.remove()
        return outputs, seen[-1]


def build_network(net: Mapping[str, Any], *, num_classes: int, in_channels: int, image_size: int) -> Network:
    """Build the network that the ``net`` settings describe, with weights drawn from torch's global generator.

    ``net._target_`` is the dotted path of a class or function, of an installed package or of a file in the
    current folder. It gets the other settings as arguments, except ``name``, and those of num_classes,
    in_channels and image_size that its signature names. If it takes ``**kwargs`` it gets all three, less any
    that it then rejects by name: so torchvision's model functions work as they are.

    One pass of two black images in eval mode checks that the last ``nn.Linear`` makes the output. It leaves
    batch-norm statistics and the generator as they were.

    Raises:
        ConfigError: the path leads nowhere, the callable fails, or its network cannot be measured.
    """
    path = str(net["_target_"])
    # A module is imported once in a process: what it draws must not shift the weights of the first network.
    with torch.random.fork_rng(devices=[]):
        target = locate(path, "net._target_")
    if isinstance(target, nn.Module):
        raise ConfigError(
            f"net._target_={path} is a network already, with weights that no seed decides\n"
            "give the dotted path of a class or function that builds it"
        )
    settings = {key: value for key, value in net.items() if key not in ("_target_", "name")}
    data = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    model = _call(target, path, settings, data)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"net._target_={path} returned an object of type {type(model).__name__}, not a torch.nn.Module"
        )
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ConfigError(
            f"net._target_={path} has no nn.Linear: nc-runner measures the input of the last linear layer\n"
            "end the network with an nn.Linear that has one output for each class"
        )
    name, classifier = linears[-1]
    images = torch.zeros(2, in_channels, image_size, image_size, device=classifier.weight.device)
    _verify(model, classifier, name or "the network itself", path, images, num_classes)
    return Network(model, classifier)


def _call(target: Any, path: str, settings: dict[str, Any], data: dict[str, int]) -> Any:
    """Call with the settings, and with what the data set gives as far as the callable takes it."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    except (TypeError, ValueError):  # written in C, without a signature
        parameters, takes_any = [], True
    named = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    arguments = {key: value for key, value in data.items() if takes_any or key in named} | settings
    for key in arguments:
        if not takes_any and key not in named:
            raise ConfigError(
                f"net.{key} is refused: {path} has no such argument\nit takes {', '.join(named) or 'none'}"
            )
    for key, required in named.items():
        if required and key not in arguments:
            raise ConfigError(f"net.{key} is not set, and {path} needs it\ngive it as +net.{key}=VALUE")
    while True:  # ends: each turn but the last leaves out one of the three arguments that the data set gives
        try:
            return target(**arguments)
        except NCRunnerError:
            raise
        except Exception as error:
            rejected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            key = rejected[1] if rejected and isinstance(error, TypeError) else ""
            if not takes_any or key not in arguments or key not in data or key in settings:
                raise ConfigError(
                    f"net._target_={path} failed to build the network: {reason(error)}"
                ) from error
            del arguments[key]


def _verify(
    model: nn.Module, classifier: nn.Linear, name: str, path: str, images: Tensor, num_classes: int
) -> None:
    """Check that the classifier makes the model's output, by planting a marker where it makes its own.

    A comparison of values could pass by chance, for instance a ReLU after outputs that are all positive.
    """
    calls: list[tuple[Tensor, Tensor]] = []

    def plant(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
        marker = torch.linspace(-2, 3, output.numel(), dtype=output.dtype, device=output.device)
        calls.append((args[0] if args else kwargs["input"], marker.reshape(output.shape)))
        return calls[-1][1]

    modes = {module: module.training for module in model.modules()}
    handle = classifier.register_forward_hook(plant, with_kwargs=True)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = model.eval()(images)
    except Exception as error:
        raise ConfigError(
            f"net._target_={path} fails on images of {' x '.join(map(str, images.shape[1:]))} "
            f"(channels x height x width): {reason(error)}"
        ) from error
    finally:
        handle.remove()
        for module, training in modes.items():
            module.training = training
    if len(calls) != 1:
        problem = f"{name} is called {len(calls)} times in a forward pass"
    elif calls[0][0].ndim != 2:
        problem = f"the input of {name} has shape {tuple(calls[0][0].shape)}, not (images, features)"
    elif not isinstance(outputs, Tensor) or not outputs.equal(calls[0][1]):
        problem = f"the network does not return the output of {name} as it is"
    else:
        problem = ""
    if problem:
        raise ConfigError(
            f"net._target_={path} cannot be measured: its last nn.Linear must make its output, "
            f"but {problem}\n"
            "register the classifier last, call it once, and return its output with no softmax after it"
        )
    if outputs.shape[1] != num_classes:
        raise ConfigError(
            f"net._target_={path} has {outputs.shape[1]} outputs, but the data has {num_classes} classes\n"
            "let it take num_classes as an argument"
        )
