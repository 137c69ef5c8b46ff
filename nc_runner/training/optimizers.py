"""Optimizers, from the settings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from nc_runner.config.schema import Optimizer


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: Optimizer, device: torch.device
) -> torch.optim.Optimizer:
    """SGD with momentum and weight decay on all parameters that are trained."""
    return torch.optim.SGD(
        [p for p in parameters if p.requires_grad],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cuda", "cpu"),
    )
