"""What nc-runner is timed against.

The notebook's way, as its description says: images as PIL files through a DataLoader, a synchronising
``.item()`` for every batch, two forward passes for a measurement, one P x P outer product for each sample, a
loop for the nearest class mean, all in float32 and NCHW. And the bare loop: forward, backward and step on
tensors that are in memory already, which nothing can beat by much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.sparse.linalg import svds
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from nc_runner.data.dataset import Dataset, Split


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """A split as torchvision serves it: each image becomes a PIL image, then a normalised tensor."""

    def __init__(self, split: Split, dataset: Dataset) -> None:
        pixels = split.images.cpu().numpy().transpose(0, 2, 3, 1)
        self.pixels = pixels[..., 0] if pixels.shape[3] == 1 else pixels
        self.labels = split.labels.tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def picture_loader(
    split: Split, dataset: Dataset, batch_size: int, order: Sequence[int] | None
) -> DataLoader:
    """In the given order, shuffled where it is None; the last incomplete batch dropped, as in training."""
    pictures = Pictures(split, dataset)
    return DataLoader(pictures, batch_size, shuffle=order is None, sampler=order, drop_last=True)


def notebook_epoch(
    model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, device: torch.device, classes: int
) -> float:
    """One epoch of training; the mean loss."""
    model.train()
    criterion = nn.MSELoss()
    losses = []
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, F.one_hot(labels, classes).float())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        (outputs.argmax(dim=1) == labels).float().mean().item()  # the accuracy that its progress bar shows
    return sum(losses) / len(losses)


Batches = list[tuple[Tensor, Tensor]]


def ready_batches(dataset: Dataset, indices: Tensor, channels_last: bool) -> Batches:
    """Normalised images and one-hot targets of an epoch's batches (steps, B), as tensors on the device."""
    batches = []
    for index in indices.to(dataset.device):
        images = dataset.normalise(dataset.train.images[index], channels_last)
        batches.append((images, F.one_hot(dataset.train.labels[index], dataset.num_classes).float()))
    return batches


def bare_epoch(
    model: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer, device: torch.device, bf16: bool
) -> None:
    """Forward, backward, step."""
    model.train()
    for images, targets in batches:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            outputs = model(images)
        loss = F.mse_loss(outputs.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def bare_forward(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """A forward pass in eval mode over images that are in memory already; keeps nothing."""
    model.eval()
    for images in batches:
        model(images)


# ---- the measurement of the notebook


Source = Callable[[], "Sequence[tuple[Tensor, Tensor, Tensor]] | DataLoader"]


def notebook_statistics(
    source: Callable[[], object], classes: int, dim: int, device: torch.device
) -> tuple[Tensor, Tensor, float]:
    """Class means (C, P), within-class covariance (P, P) and NC4 mismatch, in two passes over ``source()``.

    ``source()`` yields features (B, P), outputs (B, C) and labels (B,) batch by batch.
    """
    means = torch.zeros(classes, dim, device=device)
    counts = [0] * classes
    for features, outputs, labels in source():  # type: ignore[attr-defined]
        for c in range(classes):
            members = (labels == c).nonzero(as_tuple=True)[0]
            if len(members):
                means[c] += features[members].sum(dim=0)
                counts[c] += len(members)
        F.mse_loss(outputs, F.one_hot(labels, classes).float()).item()
    means /= torch.tensor(counts, device=device)[:, None]
    within = torch.zeros(dim, dim, device=device)
    agreeing = 0
    for features, outputs, labels in source():  # type: ignore[attr-defined]
        for c in range(classes):
            members = (labels == c).nonzero(as_tuple=True)[0]
            if not len(members):
                continue
            h = features[members]
            centred = h - means[c]
            within += torch.matmul(centred[:, :, None], centred[:, None, :]).sum(dim=0)  # one for each sample
            predicted = outputs[members].argmax(dim=1)
            nearest = torch.stack([(h[i] - means).norm(dim=1) for i in range(len(h))]).argmin(dim=1)
            agreeing += (nearest == predicted).sum().item()
    return means, within / sum(counts), 1 - agreeing / sum(counts)


def notebook_metrics(means: Tensor, within: Tensor, mismatch: float, weight: Tensor) -> dict[str, float]:
    """NC1 to NC4 from them; NC1 by a truncated singular value decomposition of the P x P Sigma_B."""
    classes = len(means)
    centred = means - means.mean(dim=0)
    between = centred.T @ centred / classes
    vectors, values, _ = svds(between.cpu().double().numpy(), k=classes - 1)
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    nc1 = float(np.trace(within.cpu().double().numpy() @ inverse)) / classes
    metrics = {"nc1": nc1, "nc4_ncc_mismatch": mismatch}
    for name, rows in (("means", centred), ("classifier", weight)):
        norms = rows.norm(dim=1)
        metrics[f"nc2_equinorm_{name}"] = (norms.std() / norms.mean()).item()
        cosines = (rows / norms[:, None]) @ (rows / norms[:, None]).T + 1 / (classes - 1)
        pairs = cosines[~torch.eye(classes, dtype=torch.bool, device=cosines.device)]
        metrics[f"nc2_maxangle_{name}"] = pairs.abs().mean().item()
        metrics[f"nc2_equiangular_{name}"] = pairs.std(unbiased=False).item()
    difference = weight / weight.norm() - centred / centred.norm()
    metrics["nc3_self_duality"] = difference.square().sum().item()
    return metrics


def notebook_analysis(
    model: nn.Module, last: nn.Linear, loader: DataLoader, classes: int, device: torch.device
) -> dict[str, float]:
    """A whole measurement: the images pass through the network twice."""
    seen: list[Tensor] = []
    hook = last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))

    def passes():
        for images, labels in loader:
            seen.clear()
            with torch.no_grad():
                outputs = model(images.to(device))
            yield seen[0].flatten(1), outputs, labels.to(device)

    model.eval()
    try:
        statistics = notebook_statistics(passes, classes, last.in_features, device)
    finally:
        hook.remove()
    return notebook_metrics(*statistics, last.weight.detach())
