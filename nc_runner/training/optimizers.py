"""Optimizers, from the settings: torch's own classes, and weight decay for each group of parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nc_runner.config.decay import Kind, decay_of, has_objective
from nc_runner.config.optimizer_schema import LBFGS, OPTIMIZERS, Adam, Optimization, Optimizer
from nc_runner.config.plugins import check_arguments, locate, reason
from nc_runner.errors import ConfigError, NCRunnerError
from nc_runner.measurement.measurer import sum_of_squares
from nc_runner.networks import Network

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_COVERS: Mapping[str, tuple[tuple[Kind, ...], str]] = {  # what a network may lack
    "bias": (("bias", "head_bias"), "biases but for those of norms"),
    "norm": (("norm",), "norms with parameters"),
}


def build_optimizer(network: Network, settings: Optimization, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that the settings describe, on all parameters that are trained.

    They are one group where all have the same weight decay, else a group for each weight decay.

    Raises:
        ConfigError: a ``decay`` is given for parameters that the network does not have, or a custom optimizer
            cannot be found or made, or needs more than gradients.
    """
    groups: list[dict[str, Any]] = []
    for decay, parameters in decay_groups(network, settings):
        if trained := [p for p in parameters if p.requires_grad]:
            groups.append({"params": trained} | ({} if math.isnan(decay) else {"weight_decay": decay}))
    name = settings.optimizer.target
    if name not in OPTIMIZERS:
        return _custom(groups, settings)
    fused = device.type in ("cuda", "cpu")
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": fused}
    if isinstance(settings.optimizer, Adam):
        make = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        return make(groups, betas=settings.optimizer.betas, eps=settings.optimizer.eps, **options)
    if isinstance(settings.optimizer, LBFGS):  # takes no groups: the penalty is in its closure, see objective
        parameters = [parameter for group in groups for parameter in group["params"]]
        iterations, history = settings.optimizer.iterations, settings.optimizer.history
        return torch.optim.LBFGS(
            parameters, settings.lr, iterations, history_size=history, line_search_fn="strong_wolfe",
            tolerance_grad=0, tolerance_change=0,
        )  # fmt: skip
    options["momentum"] = settings.momentum
    return torch.optim.SGD(groups, nesterov=name == "nesterov", **options)


def decay_groups(network: Network, settings: Optimization) -> list[tuple[float, list[nn.Parameter]]]:
    """All parameters of a network by their weight decay, in the network's order; NaN where it is not known.

    Raises ConfigError where ``decay`` is given for parameters that the network does not have.
    """
    kinds = parameter_kinds(network)
    for key, (covered, what) in _COVERS.items():
        value = getattr(settings.decay, key)
        if value is not None and not any(kind in covered for _, kind in kinds):
            raise ConfigError(
                f"decay.{key}={value:g} has no use: this network has no {what}\nleave decay.{key} out"
            )
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter, kind in kinds:
        decay = decay_of(settings, kind)
        groups.setdefault(-1.0 if math.isnan(decay) else decay, []).append(parameter)
    return [(math.nan if decay < 0 else decay, parameters) for decay, parameters in groups.items()]


def parameter_kinds(network: Network) -> list[tuple[nn.Parameter, Kind]]:
    """Each parameter of a network, once, and what it is for its weight decay.

    A bias is a parameter whose name ends with ``bias``; scale and shift of a norm are ``norm``, both.
    """
    norms = {id(p) for m in network.model.modules() if isinstance(m, _NORMS) for p in m.parameters(False)}
    head = {id(p) for p in network.classifier.parameters()}

    def kind(name: str, parameter: nn.Parameter) -> Kind:
        if id(parameter) in norms:
            return "norm"
        if name.endswith("bias"):
            return "head_bias" if id(parameter) in head else "bias"
        return "head" if id(parameter) in head else "rest"

    return [(parameter, kind(name, parameter)) for name, parameter in network.model.named_parameters()]


def penalty(network: Network, settings: Optimization) -> float:
    """What training adds to the loss: the sum over all parameters of wd/2 · their squares, each with its wd.

    NaN where training has no such objective: weight decay is decoupled, or a custom optimizer's.
    """
    if not has_objective(settings):
        return math.nan
    groups = decay_groups(network, settings)
    return sum(decay / 2 * sum_of_squares(parameters) for decay, parameters in groups)


def differentiable_penalty(network: Network, settings: Optimization) -> Tensor:
    """The same as a tensor to differentiate, for an optimizer that minimises the objective itself."""
    terms = [decay / 2 * p.square().sum() for decay, group in decay_groups(network, settings) for p in group]
    return torch.stack(terms).sum()


def check_optimizer(settings: Optimization) -> None:
    """Find a custom optimizer's callable, and check that it takes the arguments that the settings give.

    Does nothing for those that ship. Raises ConfigError.
    """
    if settings.optimizer.target not in OPTIMIZERS:
        _located(settings)


def _located(settings: Optimization) -> Callable[..., Any]:
    """The custom callable, with its arguments checked."""
    optimizer = settings.optimizer
    with torch.random.fork_rng(devices=[]):  # an import must not move the generator
        target = locate(optimizer.target, "optimizer._target_", OPTIMIZERS)
    parameters = _parameters(target)
    for key in ("lr", "momentum", "weight_decay"):
        value = getattr(settings, key)
        if parameters is not None and value is not None and key not in parameters:
            advice = "write one that does" if key == "lr" else f"give {key}=null"
            raise ConfigError(f"{key}={value:g}: {optimizer.target} takes no argument {key}\n{advice}")
    provided = ("lr", "momentum", "weight_decay")
    check_arguments(target, "optimizer", optimizer.model_extra or {}, provided, positional=1)
    return target  # type: ignore[no-any-return]


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """What a callable takes, by name; None where it takes anything, or does not say."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else parameters


def _custom(groups: list[dict[str, Any]], settings: Optimization) -> torch.optim.Optimizer:
    optimizer: Optimizer = settings.optimizer
    target = _located(settings)
    given = {key: getattr(settings, key) for key in ("lr", "momentum", "weight_decay")}
    arguments = {key: value for key, value in given.items() if value is not None}
    try:
        with torch.random.fork_rng(devices=[]):  # what it draws must not shift the training's generator
            made = target(groups, **arguments, **(optimizer.model_extra or {}))
    except NCRunnerError:
        raise
    except Exception as error:
        raise ConfigError(f"optimizer._target_={optimizer.target} failed with {reason(error)}") from error
    problem = _problem(made, several=len(groups) > 1)
    if problem:
        raise ConfigError(f"optimizer._target_={optimizer.target} {problem}")
    return made  # type: ignore[no-any-return]


def _problem(made: object, *, several: bool) -> str:
    """What is wrong with what a custom callable made, and what to do."""
    if not isinstance(made, torch.optim.Optimizer):
        return f"makes a {type(made).__name__}\ngive a class or function that makes a torch.optim.Optimizer"
    if several and "weight_decay" not in made.defaults:
        return "has no weight decay for each group of parameters\nleave decay.head, bias and norm out"
    closure = inspect.signature(type(made).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        return "evaluates the loss several times in a step, which optimizer=lbfgs alone may do"
    return ""
