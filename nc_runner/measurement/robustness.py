"""Robustness: how far inputs are from a network's decision boundary, as DeepFool finds it in the l2 norm."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nc_runner.data.dataset import AnySplit
from nc_runner.errors import TrainingError
from nc_runner.measurement.forward import Forward, Pause, no_pause
from nc_runner.measurement.precision import images_at_a_time
from nc_runner.measurement.undisturbed import gpus_of, random_state_kept

STEPS, CANDIDATES, OVERSHOOT = 50, 10, 0.02
AT_A_TIME = 128  # images: their graph is held, as a training step of the paper's protocol holds it


def robustness(forward: Forward, images: AnySplit, pause: Pause = no_pause) -> float:
    """Ave ‖r‖ / ‖x‖ over images x as the network sees them, normalised; r as :func:`deepfool` finds it.

    Of several ranks each takes its part of the images. In eval mode; leaves gradients, buffers and random
    state as they were. ``pause`` is called before each batch, equally often on all ranks.

    Returns NaN, on all ranks, where an image has none: it is 0, or no output depends on it.
    """
    group, model = forward.group, forward.network.model
    own = images.part(group.share(len(images)))
    size = min(AT_A_TIME, forward.batch_size, images_at_a_time(forward.dataset.image_size, images.device))
    shares = [torch.empty(0, dtype=torch.float64)]
    model.eval()
    with random_state_kept(*gpus_of(images.device)):
        for block in own.blocks(size) if len(own) else ():
            pause()
            x = forward.dataset.normalise(block, channels_last=forward.channels_last)
            shares.append(relative_norms(deepfool(model, x), x))
    if group.world_size > 1:
        for _ in range(len(shares) - 1, -(-group.pieces(len(images), 1) // size)):
            pause()
    return group.mean(float(torch.cat(shares).mean()), len(own))


def relative_norms(r: Tensor, x: Tensor) -> Tensor:
    """‖r‖ / ‖x‖ (B,) in float64 on the CPU, of perturbations and inputs (B, ...); NaN where x is 0."""
    of_r, of_x = (torch.linalg.vector_norm(t.flatten(1), dim=1).cpu().double() for t in (r, x))
    return torch.where(of_x > 0, of_r / of_x, math.nan)


def deepfool(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    steps: int = STEPS,
    candidates: int = CANDIDATES,
    overshoot: float = OVERSHOOT,
) -> Tensor:
    """A small perturbation of each input that changes the decision (Moosavi-Dezfooli et al. 2016).

    Each step goes to the nearest of the boundaries that the linearised network has between the class
    predicted at first and the other candidates. An input is left at its first other decision; one that keeps
    its decision through all steps has what they came to, as in the authors' code. Unlike that code, 1e-4 is
    not added to the length of each step: the overshoot alone crosses the boundary.

    Args:
        model: (B, ...) -> outputs (B, C), in eval mode; each input's outputs depend on that input alone.
        x: (B, ...) floating-point inputs; perturbed inputs are not clipped to any box.
        candidates: classes of the largest outputs that are considered, the predicted one among them.
        overshoot: by which share the perturbation goes beyond the boundary; it is part of the result.

    Returns:
        r (B, ...), NaN for inputs of which no candidate's output depends on them, or is finite.

    Raises TrainingError where outputs have no gradient with respect to the inputs.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        outputs = model(x)
        classes = outputs.argsort(dim=1, descending=True, stable=True)[:, :candidates]
        r = torch.zeros_like(x)
        going = torch.arange(len(x), device=x.device)
        for _ in range(steps):
            moved = x[going] + (1 + overshoot) * r[going]
            step, found = _nearest_boundary(model, moved, classes[going])
            r[going] += step
            r[going[~found]] = math.nan
            going = going[found]
            if len(going):
                decided = model(x[going] + (1 + overshoot) * r[going]).argmax(dim=1)
                going = going[decided == classes[going, 0]]
            if not len(going):  # waits for the device, once a step
                break
        return (1 + overshoot) * r


def _nearest_boundary(model: Callable[[Tensor], Tensor], x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The step (B, ...) to the nearest boundary of the linearised network, and whether there is one (B,).

    ``classes`` (B, K): the candidates, the predicted one first.
    """
    nearest = torch.full((len(x),), math.inf, dtype=x.dtype, device=x.device)
    step = torch.zeros_like(x)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        outputs = model(leaf.clone())  # a copy: the first layer may work in place
        if not outputs.requires_grad:
            raise TrainingError(
                "analysis.robustness needs gradients with respect to the images, and the network's outputs "
                "have none\nleave it out, or let the network's forward compute with gradients"
            )
        ordered = outputs.gather(1, classes)
        gaps = ordered[:, 1:] - ordered[:, :1]
        for k in range(gaps.shape[1]):
            last = k == gaps.shape[1] - 1
            (gradient,) = torch.autograd.grad(gaps[:, k].sum(), leaf, retain_graph=not last)
            norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
            distance = gaps[:, k].detach().abs() / norm
            nearer = distance < nearest  # not where it is NaN
            nearest = torch.where(nearer, distance, nearest)
            shape = (-1, *[1] * (x.ndim - 1))
            step = torch.where(nearer.view(shape), (distance / norm).view(shape) * gradient, step)
    return step, nearest.isfinite()
