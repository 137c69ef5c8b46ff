"""The last layer as ``head.*`` and ``classifier`` ask for it, in the place of a network's own classifier.

What is measured stays what the classifier sees and holds: its input h, ``weight`` W and ``bias`` b, with
output = W h + b. So features are normalised before it, and ``weight`` has the normalised rows.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nc_runner.config.head_schema import Head
from nc_runner.errors import ConfigError

ETF_TOLERANCE = 1e-5  # of the Gram matrix of rows of norm 1, which weights from a file may be off


class Sphere(nn.Module):
    """Features (B, P) of norm ``size``; those that are 0 stay 0."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        return self.size * F.normalize(features, dim=1)

    def extra_repr(self) -> str:
        return f"size={self.size:g}"


class FixedLinear(nn.Linear):
    """A linear layer whose ``weight`` (C, P) is a buffer: saved and moved with the network, never trained."""

    def __init__(self, weight: Tensor, bias: nn.Parameter | None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False, device="meta")
        del self.weight
        self.register_buffer("weight", weight)
        self.bias = bias  # type: ignore[assignment]  # None as in nn.Linear


@dataclass(frozen=True)
class LastLayer:
    """The settings of the last layer. ``etf``: its weight is a fixed simplex ETF."""

    head: Head
    etf: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is that of every network: linear, with a bias, trained."""
        head = self.head
        return not self.etf and head.bias and head.features is None and head.normalize == "none"


def with_head(model: nn.Module, name: str, last: LastLayer) -> tuple[nn.Module, nn.Linear]:
    """The network with the last layer that the settings ask for, and its classifier.

    ``name``: of the network's own linear classifier, in whose place it comes, empty where the network is it.
    What is drawn at random comes from torch's global generator, after the network's own weights.

    Raises ConfigError: the features are too few for an ETF.
    """
    head = last.head
    own = model.get_submodule(name)
    if not isinstance(own, nn.Linear):
        raise TypeError(f"{name} is no nn.Linear")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    classifier = own
    if head.features is not None:
        layers["features"] = nn.Linear(own.in_features, head.features).to(own.weight)
        classifier = nn.Linear(head.features, own.out_features).to(own.weight)
    if not head.bias:
        classifier.register_parameter("bias", None)
    if last.etf:
        classifier = FixedLinear(_etf_of(classifier, head.scale or 1.0), classifier.bias)
    temperature = head.temperature or 1.0
    if head.normalizes_features:
        layers["sphere"] = Sphere(1.0 if head.normalizes_rows else 1 / temperature)
    if head.normalizes_rows:
        parametrize.register_parametrization(classifier, "weight", Sphere(1 / temperature))
    layers["classifier"] = classifier
    whole = nn.Sequential(layers) if len(layers) > 1 else classifier
    if not name:
        return whole, classifier
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, whole)
    return model, classifier


def simplex_etf(num_classes: int, dim: int) -> Tensor:
    """(C, P) in float64: C unit vectors with all cosines -1/(C-1), in a random subspace, centred at 0.

    Drawn from torch's global generator, uniformly among all rotations.

    Raises ValueError: P < C - 1, where there are no such vectors.
    """
    if dim < num_classes - 1:
        raise ValueError(f"a simplex ETF of {num_classes} vectors needs {num_classes - 1} dimensions")
    drawn = torch.randn(dim, num_classes - 1, dtype=torch.float64)
    directions, triangle = torch.linalg.qr(drawn)
    directions = directions * triangle.diagonal().sign()  # else the rotations are not uniform
    centring = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    basis = torch.linalg.svd(centring).U[:, :-1]  # (C, C - 1), orthonormal, orthogonal to (1, ..., 1)
    etf: Tensor = (num_classes / (num_classes - 1)) ** 0.5 * basis @ directions.T
    return etf


def check_etf(classifier: nn.Linear, source: str) -> None:
    """Raise ConfigError where the weight that ``source`` gave is no simplex ETF with rows of one norm."""
    weight = classifier.weight.detach().double().cpu()
    C, unit = len(weight), weight / weight.norm(dim=1).mean()
    wanted = (torch.eye(C, dtype=torch.float64) * C - 1) / (C - 1)
    if not bool(((unit @ unit.T - wanted).abs() < ETF_TOLERANCE).all()):
        raise ConfigError(
            f"{source}: its classifier is no simplex ETF, as classifier=etf needs\n"
            "give weights of a run with classifier=etf, or classifier=gradient"
        )


def _etf_of(classifier: nn.Linear, scale: float) -> Tensor:
    C, P = classifier.out_features, classifier.in_features
    if P < C - 1:
        raise ConfigError(
            f"classifier=etf needs at least {C - 1} features: {C} vectors with equal angles do not fit into "
            f"{P} dimensions\ngive head.features={C - 1} or more, or another network"
        )
    return (scale * simplex_etf(C, P)).to(classifier.weight)
