"""A model on several ranks: gradients averaged over them, and batch norm over the images of all of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nc_runner.errors import ConfigError


def parallel(model: nn.Module, images: Tensor, device: torch.device) -> nn.Module:
    """``model`` in DistributedDataParallel: each step's gradients are averaged over the ranks.

    Buffers, such as the running statistics of batch norm, are those of rank 0. ``images`` (2, C, H, W) pass
    through the model once, to find parameters that its output does not depend on: in one process they stay
    as they are, and so they do here.
    """
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=_has_idle_parameters(model, images),
    )


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with batch norms that normalise over the images of all ranks in training.

    Parameters, buffers and their names stay. Raises ConfigError on a CPU, where torch has no such batch norm.
    """
    if device.type != "cuda":
        raise ConfigError(
            "sync_batchnorm=true needs GPUs: on a CPU torch's batch norm sees the images of one rank\n"
            "leave it out, or give each rank a GPU"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a module of the model normalises over the batch."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def _has_idle_parameters(model: nn.Module, images: Tensor) -> bool:
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    training = {module: module.training for module in model.modules()}
    devices = [images.device] if images.is_cuda else []
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()(images).sum().backward()
        return any(p.requires_grad and p.grad is None for p in model.parameters())
    finally:
        for module, was in training.items():
            module.training = was
        for buffer, value in buffers:
            buffer.data.copy_(value)
        model.zero_grad(set_to_none=True)
