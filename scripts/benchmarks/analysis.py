"""A whole measurement of ResNet18 on 32 x 32 images: against the notebook's, and a bare forward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.apart import beside_note, notebook_ways
from benchmarks.common import Bench, Finding, medians, random_images, ratio, require_equal, trainer_of
from benchmarks.rivals import bare_forward, notebook_analysis, picture_loader
from nc_runner.data.dataset import Dataset
from nc_runner.measurement.precision import images_at_a_time

OVERRIDES = ("net=resnet18", "lr=0.01")


def notebook_way(data: Dataset, device: torch.device) -> Callable[[], dict[str, float]]:
    trainer = trainer_of(Bench(device), data, *OVERRIDES)
    model, data = trainer.network.model.to(memory_format=torch.contiguous_format), trainer.dataset
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    loader = picture_loader(data.train, data, 128, range(len(data.train)))
    return lambda: notebook_analysis(model, last, loader, data.num_classes, device)


def run(bench: Bench) -> Iterator[Finding]:
    on_gpu = bench.device.type == "cuda"
    count = 12_800 if on_gpu else 128 if bench.quick else 1024
    data = random_images(count, 3, 32)
    trainer = trainer_of(bench, data, *OVERRIDES)
    network, data = trainer.network, trainer.dataset
    plain = copy.deepcopy(network.model).to(memory_format=torch.contiguous_format)

    def ours() -> dict[str, float]:
        return trainer.measurer.measure().row

    ways = notebook_ways(bench.device, notebook_way, data, bench.device)
    row, theirs = ours(), ways["notebook"]()
    for name, value in theirs.items():
        require_equal(f"analysis: {name}", row[name], value, rtol=5e-3, atol=2 / count)
    size = min(trainer.measurer.plan.batch_size, images_at_a_time(32, bench.device))
    tasks = {"nc-runner": ours, **ways}
    for layout, model in (("channels_last", network.model), ("nchw", plain)):
        ready = ready_images(data, size, channels_last=layout == "channels_last")
        tasks[layout] = lambda model=model, ready=ready: bare_forward(model, ready)
    first = ready_images(data, size, channels_last=True)[0]
    convolutions = convolutions_of(network.model, first)
    tasks["one batch"] = lambda: bare_forward(network.model, [first])
    tasks["convolutions"] = lambda: pass_through(convolutions)
    times = bench.alternate(tasks)
    best = min(("channels_last", "nchw"), key=medians(times).__getitem__)
    yield Finding(
        "a row of ResNet18, 32 x 32: the notebook's analysis / nc-runner",
        ratio(times, "notebook", "nc-runner"), "x", at_least=2.5, seconds=medians(times),
        note=beside_note(times, "nc-runner")
        + f"its bare two passes alone: {2 * ratio(times, 'nchw', 'nc-runner'):.2f}",
    )  # fmt: skip
    yield Finding(
        "nc-runner / a bare eval forward pass over train and test images",
        ratio(times, "nc-runner", best), "x", at_most=1.03, note=f"best layout: {best}",
    )  # fmt: skip
    share = ratio(times, "convolutions", "one batch")
    yield Finding(
        "  the convolutions alone / the forward pass of their network",
        share, "x", note=f"the notebook's analysis / them: {ratio(times, 'notebook', best) / share:.2f}",
    )  # fmt: skip


def ready_images(data: Dataset, size: int, channels_last: bool) -> list[Tensor]:
    """All images of both splits, normalised, in batches."""
    return [
        data.normalise(images, channels_last=channels_last)
        for split in (data.train, data.test)
        for images in split.images.split(size)
    ]


Applied = list[tuple[nn.Conv2d, Tensor]]


@torch.inference_mode()
def convolutions_of(model: nn.Module, images: Tensor) -> Applied:
    """Each convolution, and its input when the network is applied to these images."""
    found: Applied = []

    def note(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        found.append((module, inputs[0].clone()))

    modules = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(note) for module in modules]
    model.eval()(images)
    for hook in hooks:
        hook.remove()
    return found


@torch.inference_mode()
def pass_through(convolutions: Applied) -> None:
    for convolution, images in convolutions:
        convolution(images)
