"""Collapse of inner layers: outputs caught during the forward pass of a measurement, and their numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nc_runner.collapse import ClassStatistics, collapse_metrics, ncc_mismatch
from nc_runner.config.plugins import reason
from nc_runner.distributed.group import ALONE, Group
from nc_runner.errors import ConfigError
from nc_runner.measurement.precision import is_finite
from nc_runner.measurement.result import LayerRow
from nc_runner.measurement.samples import Samples
from nc_runner.networks.finding import Call

COLLAPSE = ("nc1", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_maxangle_means")
ACCURACIES = ("ncc_accuracy", "test_ncc_accuracy")


@dataclass(eq=False)
class InnerLayers:
    """Modules by name, in the order in which a forward pass leaves them; with none, nothing is measured.

    From a pass to :meth:`rows` the pooled outputs of all layers are kept, float32 on the network's device,
    4 bytes for each image and feature: the nearest class mean needs the means of the whole pass.
    """

    modules: dict[str, nn.Module]
    _caught: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict, repr=False)

    @contextmanager
    def listen(self, split: str) -> Iterator[None]:
        """Catch the outputs of all layers in the forward passes within, as those of ``split``."""
        caught: dict[str, list[Tensor]] = {name: [] for name in self.modules}
        self._caught[split] = caught

        def catch(name: str, _: nn.Module, args: object, output: object) -> None:
            caught[name].append(pooled(_first(output)))

        with ExitStack() as hooks:
            for name, module in self.modules.items():
                hooks.callback(module.register_forward_hook(partial(catch, name)).remove)
            yield

    def count(self, split: str) -> int:
        """How many samples were caught of ``split``."""
        caught = self._caught.get(split, {})
        return sum(len(part) for part in next(iter(caught.values()), []))

    def rows(
        self, train_labels: Tensor, test_labels: Tensor | None, num_classes: int, group: Group = ALONE
    ) -> list[LayerRow]:
        """The lines of ``layers.csv``, but for the epoch, for what was caught; it is then forgotten.

        Args:
            train_labels, test_labels: (N,) of this rank's images of each split; None without a test set.

        Raises ValueError where there are more labels than samples.
        """
        caught, self._caught = self._caught, {}
        rows: list[LayerRow] = []
        for depth, name in enumerate(self.modules, start=1):
            train = torch.cat(caught["train"].pop(name))[: len(train_labels)]
            samples = [Samples(train, train_labels)]
            if test_labels is not None:
                test = torch.cat(caught["test"].pop(name))[: len(test_labels)]
                samples.append(Samples(test, test_labels))
            metrics = layer_metrics(samples, num_classes, group)
            rows.append({"layer": name, "depth": depth, "features": train.shape[1], **metrics})
        return rows


def pooled(output: Tensor) -> Tensor:
    """A layer's output (B, P), its tokens (B, T, P) or its maps (B, P, H, W) averaged, as (B, P) float32.

    Always a copy: the next layer may work in place, as ReLU(inplace=True) does.
    """
    averaged = {3: (1,), 4: (2, 3)}.get(output.ndim)
    features = output if averaged is None else output.float().mean(dim=averaged)
    return features.to(torch.float32, copy=averaged is None)


def layer_metrics(samples: Sequence[Samples], num_classes: int, group: Group = ALONE) -> dict[str, float]:
    """NC1, NC2 of the class means, and the accuracies of the nearest class mean, of any features.

    Args:
        samples: of the train set, and of the test set where there is one, or this rank's part of them.

    Returns:
        ``nc1`` and ``nc2_*_means`` of the train set, as :func:`nc_runner.collapse.collapse_metrics` defines
        them; ``ncc_accuracy``, ``test_ncc_accuracy``: share of samples nearest to their class's train mean.
        All NaN where a number is not finite, as in a layer that makes -inf of what a later one leaves out;
        the last one also without a test set.
    """
    row = dict.fromkeys((*COLLAPSE, *ACCURACIES), math.nan)
    if group.agree(not all(is_finite(split.features) for split in samples))[0]:
        return row
    train = samples[0]
    stats = ClassStatistics(num_classes, train.features.shape[1])
    stats.update(train.features, train.labels)
    stats = group.merge(stats)
    metrics = collapse_metrics(stats, stats.centred_means)  # no classifier here; its columns are left out
    row |= {name: metrics[name] for name in COLLAPSE}
    for name, split in zip(ACCURACIES, samples, strict=False):
        mismatch = ncc_mismatch(split.features, split.labels, stats.means)
        row[name] = 1 - group.mean(mismatch, len(split))
    return row


def find_layers(
    model: nn.Module, patterns: Sequence[str], call: Call, count: int, setting: str = "analysis.layers"
) -> InnerLayers:
    """The layers that ``patterns`` name, checked on one pass.

    In a pattern ``*`` and ``?`` stand for letters within one part of a dotted name, ``**`` for any number of
    parts: ``layer*`` finds layer1 but not layer1.0, ``layer*.*`` the blocks.

    Args:
        call: passes ``count`` samples through the model, whose modes and random state are restored here.
        setting: what the patterns are called, for the messages.

    Raises ConfigError when a pattern finds nothing, or a layer whose output is not (B, P), (B, T, P) or
    (B, P, H, W).
    """
    modules = {name: module for name, module in model.named_modules() if name}
    chosen: dict[str, nn.Module] = {}
    for pattern in patterns:
        found = {n: m for n, m in modules.items() if _matches(n.split("."), pattern.split("."))}
        if not found:
            near = difflib.get_close_matches(pattern, modules, n=3, cutoff=0.5)
            known = f"did you mean {', '.join(near)}?" if near else f"it has {_few(list(modules))}"
            raise ConfigError(f"{setting}: no module of the network matches {pattern}\n{known}")
        chosen |= found
    outputs = _outputs(model, chosen, call, setting) if chosen else {}
    for name in chosen:
        if problem := _problem(outputs[name], count):
            raise ConfigError(f"{setting}: {name} cannot be measured: {problem}\nleave it out")
    return InnerLayers({name: chosen[name] for name in outputs})


def check_refitted(layers: InnerLayers, classifier: nn.Module) -> None:
    """Raises ConfigError where a layer's output is not the row's, since least_squares replaces the
    classifier between the pass and the row."""
    for name, module in layers.modules.items():
        if classifier in module.modules():
            raise ConfigError(
                f"analysis.layers: {name} holds the classifier, which classifier=least_squares refits after "
                "the forward pass\nleave it out"
            )


def _first(output: object) -> Any:
    """A module's output, or the first of several: the layers of many transformers return tuples."""
    return output[0] if isinstance(output, (tuple, list)) and output else output


def _matches(name: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(_matches(name[skipped:], pattern[1:]) for skipped in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], pattern[0]) and _matches(name[1:], pattern[1:])


def _few(names: Sequence[str]) -> str:
    tops = [name for name in names if "." not in name]
    return ", ".join(tops[:8]) + (", ..." if len(names) > len(tops[:8]) else "")


def _outputs(
    model: nn.Module, modules: dict[str, nn.Module], call: Call, setting: str
) -> dict[str, list[object]]:
    """What each module returned in one pass, by name in the order of return; last those never called."""
    returned: dict[str, list[object]] = {}
    modes = {module: module.training for module in model.modules()}

    def note(name: str, _: nn.Module, args: object, output: object) -> None:
        returned.setdefault(name, []).append(output)

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                model.eval()
                call()
        except Exception as error:
            raise ConfigError(f"{setting}: the network fails in a pass: {reason(error)}") from error
        finally:
            for module, training in modes.items():
                module.training = training
    return returned | {name: [] for name in modules if name not in returned}


def _problem(outputs: list[object], count: int) -> str | None:
    """Why these outputs of one layer in one pass of ``count`` samples cannot be measured, or None."""
    if len(outputs) != 1:
        return f"it is called {len(outputs)} times in a forward pass, not once"
    output = _first(outputs[0])
    if not isinstance(output, Tensor):
        return f"it returns an object of type {type(output).__name__}, not a tensor"
    if output.ndim not in (2, 3, 4) or len(output) != count or not output.is_floating_point():
        return (
            f"its output for {count} samples is {tuple(output.shape)} of {str(output.dtype)[6:]}; "
            "floats in (samples, features), (samples, tokens, features) or (samples, maps, height, width) "
            "are needed"
        )
    return None
