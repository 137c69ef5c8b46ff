"""Batch norm over the images of all processes, with its exact gradient.

torch's own SyncBatchNorm refuses tensors on the CPU; there :class:`CPUSyncBatchNorm` takes its place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch norm of ``model``: in training it then normalises over all processes' images.

    Parameters, buffers and their names stay; in eval mode nothing changes. ``model`` is changed in place, and
    returned unless it is a batch norm itself.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    replaced: dict[nn.Module, nn.Module] = {}  # a module that stands in two places stays one
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                if child not in replaced:
                    replaced[child] = CPUSyncBatchNorm.like(child)
                setattr(module, name, replaced[child])
    return model


def has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in model.modules())


class CPUSyncBatchNorm(_BatchNorm):
    """nn.SyncBatchNorm over gloo: of images (B, C, ...), of which processes may hold different numbers."""

    @classmethod
    def like(cls, norm: _BatchNorm) -> CPUSyncBatchNorm:
        """One with the parameters, buffers and settings of ``norm``."""
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name in ("weight", "bias"):
            new.register_parameter(name, getattr(norm, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            new.register_buffer(name, getattr(norm, name))
        return new.train(norm.training)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Tensor) -> Tensor:
        alone = not dist.is_initialized() or dist.get_world_size() == 1
        if alone or not self.training:
            return super().forward(input)
        output: Tensor
        output, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            share = self._share_of_this_batch()
            unbiased = variance * (count / (count - 1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        return output

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def _share_of_this_batch(self) -> float:
        """In the running statistics; without a momentum they are the mean over all batches."""
        if self.num_batches_tracked is None:
            return self.momentum or 0.0
        self.num_batches_tracked += 1
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum


class _Normalise(torch.autograd.Function):
    """(h - mean) / sqrt(variance + eps) * weight + bias per channel, over the images of all processes.

    Also returns mean and variance (C,), divided by the number of values, and that number, all in float64.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = _all_but_channels(images)
        variances, means = torch.var_mean(images.to(_wide(images)), dims, correction=0)
        own = torch.full_like(means, images.numel() // len(means))
        parts = torch.stack([own, means, variances]).double()
        everyones = [torch.empty_like(parts) for _ in range(dist.get_world_size())]
        dist.all_gather(everyones, parts)
        counts, means, variances = torch.stack(everyones, dim=1)  # each (processes, C)
        count = counts.sum(dim=0)[0]
        shares = counts / count
        mean = (shares * means).sum(dim=0)
        variance = (shares * (variances + (means - mean).square())).sum(dim=0)
        wide = _wide(images)
        ctx.save_for_backward(images, weight, mean.to(wide), (variance + eps).rsqrt().to(wide), count)
        output = F.batch_norm(images, mean.to(wide), variance.to(wide), weight, bias, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, variance, count)
        return output, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        images, weight, mean, inverse_std, count = ctx.saved_tensors
        dims, wide = _all_but_channels(images), mean.dtype
        shape = [1, -1] + [1] * (images.ndim - 2)
        gradient = gradient.to(wide)
        normal = (images.to(wide) - mean.view(shape)) * inverse_std.view(shape)
        own = torch.stack([gradient.sum(dims), (gradient * normal).sum(dims)])
        # a copy: this process's gradients of bias and weight stay its own, for DDP to average
        sums = own.to(torch.float64, copy=True)
        dist.all_reduce(sums)
        mean_gradient, mean_product = (sums / count).to(wide)
        scale = inverse_std if weight is None else inverse_std * weight
        through = gradient - mean_gradient.view(shape) - normal * mean_product.view(shape)
        of_weight, of_bias = (None, None) if weight is None else (own[1].to(weight), own[0].to(weight))
        return (through * scale.view(shape)).to(images.dtype), of_weight, of_bias, None


def _all_but_channels(images: Tensor) -> list[int]:
    return [0, *range(2, images.ndim)]


def _wide(images: Tensor) -> torch.dtype:
    """The dtype of sums: float32 for halves."""
    return images.dtype if images.dtype == torch.float64 else torch.float32
