"""Unconstrained features: the features of each sample are parameters, and a linear layer classifies them.

The model of Mixon et al. (2022), Fang et al. (2021, "layer-peeled") and Zhu et al. (2021): a network so
expressive that its last-layer features can be anything. What its training finds is known in closed form for
several losses: docs/ufm.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BYTES = 255.0  # pixels come scaled to [0, 1]


class UnconstrainedFeatures(nn.Module):
    """``features`` (N, P), drawn from N(0, 1/P), and ``classifier``, an ``nn.Linear`` from P to C.

    Its input are the "images" of :func:`nc_runner.data.ufm.ufm`, (B, 3, 1, 1), which number the samples.
    """

    def __init__(self, samples: int, features: int, num_classes: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.randn(samples, features, dtype=dtype) / features**0.5)
        self.classifier = nn.Linear(features, num_classes, dtype=dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (B, C)."""
        low, middle, high = (images.flatten(1) * BYTES).round().long().unbind(dim=1)
        outputs: Tensor = self.classifier(self.features[low + (middle << 8) + (high << 16)])
        return outputs


def ufm(
    features: int, class_size: int, dtype: str, num_classes: int, in_channels: int, image_size: int
) -> UnconstrainedFeatures:
    """The model for ``class_size`` samples of each class, for the images of ``data=ufm``."""
    return UnconstrainedFeatures(num_classes * class_size, features, num_classes, getattr(torch, dtype))
