"""From the ``net`` settings to a network whose outputs and last-layer features come from one forward pass."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nc_runner.config import schema
from nc_runner.config.plugins import check_arguments, locate, reason, taken
from nc_runner.errors import ConfigError, MeasurementError, NCRunnerError
from nc_runner.networks.densenets import densenet
from nc_runner.networks.heads import LastLayer, check_etf, with_head
from nc_runner.networks.loading import load_weights_file
from nc_runner.networks.resnets import resnet
from nc_runner.networks.ufm import ufm
from nc_runner.networks.vggs import vgg

FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "vgg": vgg,
    "densenet": densenet,
    "ufm": ufm,
}
PROVIDED = ("num_classes", "in_channels", "image_size")  # what a custom callable gets if it names them


@dataclass(frozen=True, eq=False)
class Network:
    """A model and its classifier, the last linear layer, which produces the model's output.

    ``model`` is what training calls, as it is, compiled (``torch.compile(network.model)``) or wrapped.
    All these share their weights; the measurement uses the model as it is. ``weights_digest``: SHA-256 of
    the file that the weights came from, None where they were drawn.
    """

    model: nn.Module
    classifier: nn.Linear
    weights_digest: str | None = None

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


def check_network(net: schema.Network) -> None:
    """Find a custom network's callable, and check that it takes the arguments that the settings give.

    Does nothing for the families that ship. Raises ConfigError.
    """
    if net.target not in FAMILIES:
        check_arguments(_located(net), "net", _arguments(net), PROVIDED)


def build_network(
    net: schema.Network,
    last: LastLayer | None = None,
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
) -> Network:
    """Build the network that the ``net`` settings describe, with weights drawn from torch's global generator.

    ``net.target`` is a family, or the path of a class or function. It gets the other settings as arguments,
    except ``name``, and those of num_classes, in_channels and image_size that its signature names. If it
    takes ``**kwargs`` it gets all three, less any that it then rejects by name: so torchvision's model
    functions work as they are.

    ``last``: what takes the place of the network's last linear layer; None leaves that as it is.
    ``net.weights`` is left to :func:`start_from`.

    One pass of two black images in eval mode checks that the last ``nn.Linear`` makes the output. It leaves
    batch-norm statistics and the generator as they were.

    Raises:
        ConfigError: the path leads nowhere, the callable fails, or its network cannot be measured.
    """
    path = net.target
    shape = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    if path in FAMILIES:
        model = FAMILIES[path](**net.model_dump(exclude={"target", "name", "weights"}), **shape)
    else:
        model = _custom(net, shape)
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ConfigError(
            f"net._target_={path} has no nn.Linear: nc-runner measures the input of the last linear layer\n"
            "end the network with an nn.Linear that has one output for each class"
        )
    name, classifier = linears[-1]
    images = torch.zeros(2, in_channels, image_size, image_size, device=classifier.weight.device)
    _verify(model, classifier, name or "the network itself", path, images, num_classes)
    if last is None or last.is_plain:
        return Network(model, classifier)
    model, classifier = with_head(model, name, last)
    _verify(model, classifier, f"the last layer in the place of {name}", path, images, num_classes)
    return Network(model, classifier)


def start_from(network: Network, net: schema.Network, last: LastLayer) -> Network:
    """The network with the weights of the file that ``net.weights`` names, where it names one.

    Strict: every weight of the network, last layer included, and no other. A custom callable that has a
    parameter ``weights`` got the setting itself; nothing is loaded then.

    Raises ConfigError where the file cannot be read or does not fit.
    """
    if net.weights is None or _takes_weights(net):
        return network
    path = Path(net.weights).expanduser()
    try:
        load_weights_file(network.model, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except MeasurementError as error:
        raise ConfigError(f"net.weights: {error}") from error
    except OSError as error:
        raise ConfigError(f"net.weights: {path} cannot be read: {error.strerror}") from error
    if last.etf:
        check_etf(network.classifier, f"net.weights={net.weights}")
    return replace(network, weights_digest=digest)


def _located(net: schema.Network) -> Any:
    # A module is imported once in a process: what it draws must not shift the weights of the first network.
    with torch.random.fork_rng(devices=[]):
        target = locate(net.target, "net._target_", FAMILIES)
    if isinstance(target, nn.Module):
        raise ConfigError(
            f"net._target_={net.target} is a network already, with weights that no seed decides\n"
            "give the dotted path of a class or function that builds it"
        )
    return target


def _custom(net: schema.Network, shape: dict[str, int]) -> nn.Module:
    """Call a custom callable with the settings, and with what the data set gives as far as it takes that."""
    path, settings = net.target, _arguments(net)
    target = _located(net)
    check_arguments(target, "net", settings, PROVIDED)
    arguments = {key: shape[key] for key in taken(target, shape)} | settings
    while True:  # ends: each turn but the last leaves out one of the three arguments that the data set gives
        try:
            model = target(**arguments)
            break
        except NCRunnerError:
            raise
        except Exception as error:
            rejected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            key = rejected[1] if rejected and isinstance(error, TypeError) else ""
            if key not in arguments or key in settings or not _takes_anything(target):
                raise ConfigError(
                    f"net._target_={path} failed to build the network: {reason(error)}"
                ) from error
            del arguments[key]
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"net._target_={path} returned an object of type {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def _arguments(net: schema.Network) -> dict[str, Any]:
    """What a custom callable gets of the settings: ``weights`` too, where it has a parameter of that name."""
    given = {"weights": net.weights} if net.weights is not None and _takes_weights(net) else {}
    return {**(net.model_extra or {}), **given}


def _takes_weights(net: schema.Network) -> bool:
    """Whether ``net.weights`` is an argument of a custom callable, which names it, and no file of ours."""
    if net.target in FAMILIES:
        return False
    try:
        return "weights" in inspect.signature(_located(net)).parameters
    except (TypeError, ValueError):  # some callables have no signature
        return False


def _takes_anything(target: Any) -> bool:
    return bool(taken(target, ["a name that no parameter has"]))


def _verify(
    model: nn.Module, classifier: nn.Linear, name: str, path: str, images: Tensor, num_classes: int
) -> None:
    """Check that the classifier makes the model's output, by putting a marker in the place of its output.

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
