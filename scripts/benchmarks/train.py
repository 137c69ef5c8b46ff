"""Training: against the notebook's loop, the bare loop, and the machine's rate of matrix products."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.apart import beside_note, notebook_ways
from benchmarks.common import (
    Bench,
    Finding,
    Times,
    medians,
    random_images,
    ratio,
    require_equal,
    settings_of,
    shown,
    train_an_epoch,
    trainer_of,
)
from benchmarks.rivals import bare_epoch, notebook_epoch, picture_loader, ready_batches
from nc_runner.data.dataset import Dataset, load_dataset

RATE = 0.01  # small, so that the weights of the ways stay close for longer


class Way:
    """An epoch to call, and the weights that it moves."""

    def __init__(self, epoch: Callable[[], None], model: torch.nn.Module) -> None:
        self.epoch, self.model = epoch, model

    def __call__(self) -> None:
        self.epoch()

    def weights(self) -> torch.Tensor:
        return flat(self.model)


class Contest:
    """One network on one data set, trained in all ways from the same weights on the same batches."""

    def __init__(self, bench: Bench, dataset: Dataset, *overrides: str) -> None:
        self.bench, self.given, self.overrides = bench, overrides, (*overrides, f"lr={RATE}")
        self.dataset = dataset.to(bench.device)
        self.start = trainer_of(bench, dataset, *self.overrides)
        training = self.start.training
        generator = torch.Generator().manual_seed(training.seed)
        order = torch.randperm(len(dataset.train), generator=generator)
        count = self.start.steps * training.batch_size
        self.indices = order[:count].view(self.start.steps, training.batch_size)

    def nc_runner(self, precision: str) -> Way:
        trainer = trainer_of(self.bench, self.dataset, *self.overrides, f"precision={precision}")
        return Way(lambda: train_an_epoch(trainer), trainer.network.model)

    def bare(self, precision: str) -> Way:
        model = copy.deepcopy(self.start.network.model)
        optimizer = self.optimizer(model, fused=True)
        batches = ready_batches(self.dataset, self.indices, channels_last=True)
        bf16 = precision == "bf16"
        return Way(lambda: bare_epoch(model, batches, optimizer, self.bench.device, bf16=bf16), model)

    def notebook(self) -> Way:
        model = copy.deepcopy(self.start.network.model).to(memory_format=torch.contiguous_format)
        optimizer = self.optimizer(model, fused=None)
        loader = picture_loader(
            self.dataset.train, self.dataset, self.indices.shape[1], self.indices.flatten().tolist()
        )
        device, classes = self.bench.device, self.dataset.num_classes
        return Way(lambda: notebook_epoch(model, loader, optimizer, device, classes), model)

    def optimizer(self, model: torch.nn.Module, fused: bool | None) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, fused=fused)

    def times(self, what: str, precisions: tuple[str, ...]) -> Times:
        """Seconds of an epoch in each way, after a check that all ways change the weights alike."""
        device = self.bench.device
        tasks = notebook_ways(device, notebook_way, device, self.dataset, self.given)
        for precision in precisions:
            tasks[f"bare {precision}"] = self.bare(precision)
            tasks[f"nc-runner {precision}"] = self.nc_runner(precision)
        start = flat(self.start.network.model)
        moved = {name: (task(), task.weights() - start)[1] for name, task in tasks.items()}
        for name, change in moved.items():
            rounding = 0.2 if name.endswith("bf16") else 0.02
            gap = (change - moved["bare fp32"]).norm() / moved["bare fp32"].norm()
            require_equal(f"{what}: the epoch of {name}", float(gap), 0.0, rtol=0, atol=rounding)
        return self.bench.alternate(tasks)


def notebook_way(device: torch.device, dataset: Dataset, overrides: tuple[str, ...]) -> Way:
    return Contest(Bench(device), dataset, *overrides).notebook()


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def product_rate(bench: Bench, dtype: torch.dtype) -> float:
    """Floating-point operations in a second of the fastest of a few large matrix products."""
    sizes = (8192, 4096) if bench.device.type == "cuda" else (1024, 2048)
    rates = []
    for n in sizes:
        a, b = (torch.randn(n, n, device=bench.device).to(dtype) for _ in range(2))
        times = bench.alternate({"product": lambda a=a, b=b: a @ b})
        rates.append(2 * n**3 / medians(times)["product"])
    return max(rates)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the machine itself; elsewhere it is emulated, and slow."""
    if device.type != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16"))


def run(bench: Bench) -> Iterator[Finding]:
    yield from large(bench)
    digits = load_dataset(settings_of("data=digits").data, seed=0)
    yield from small(bench, "digits", digits)
    yield from small(bench, "28 x 28 images", random_images(512 if bench.quick else 1024, 1, 28))


def large(bench: Bench) -> Iterator[Finding]:
    on_gpu = bench.device.type == "cuda"
    batch = 32 if bench.quick and not on_gpu else 128
    data = random_images(batch * (50 if on_gpu else 2), 3, 32)
    contest = Contest(bench, data, "net=resnet18", f"batch_size={batch}")
    precisions = ("fp32", "bf16") if has_bf16(bench.device) else ("fp32",)
    times = contest.times("ResNet18", precisions)
    seconds = medians(times)
    yield Finding(
        "ResNet18, fp32: the notebook's loop / nc-runner",
        ratio(times, "notebook", "nc-runner fp32"), "x", at_least=1.15, seconds=seconds,
        note=limit(times, "fp32"),
    )  # fmt: skip
    if "bf16" in precisions:
        yield Finding(
            "ResNet18, bf16: the notebook's loop / nc-runner",
            ratio(times, "notebook", "nc-runner bf16"), "x", at_least=2.4,
            note=limit(times, "bf16"),
        )  # fmt: skip
    for precision in precisions:
        yield Finding(
            f"ResNet18, {precision}: nc-runner / bare loop",
            ratio(times, f"nc-runner {precision}", f"bare {precision}"), "x", at_most=1.03,
        )  # fmt: skip
    counter = FlopCounterMode(display=False)
    with counter:
        contest.bare("fp32")()
    shares = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if precision in precisions:
            rate = counter.get_total_flops() / seconds[f"nc-runner {precision}"]
            shares[precision] = rate / product_rate(bench, dtype)
    best = max(shares, key=shares.__getitem__)
    others = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    yield Finding(
        "ResNet18: rate of training / rate of matrix products", shares[best], "%", at_least=0.85, note=others
    )


def limit(times: Times, precision: str) -> str:
    """The notebook's loop over nc-runner and over the bare loop, all with nc-runner's memory settings."""
    same = "beside" if "beside" in times else "notebook"
    bare = ratio(times, same, f"bare {precision}")
    return beside_note(times, f"nc-runner {precision}") + f"bare: {shown(bare, 'x')}"


def small(bench: Bench, name: str, data: Dataset) -> Iterator[Finding]:
    contest = Contest(bench, data, "net=resnet8", "batch_size=128")
    times = contest.times(f"ResNet8 on {name}", ("fp32",))
    yield Finding(
        f"ResNet8 on {name}: the notebook's loop / nc-runner",
        ratio(times, "notebook", "nc-runner fp32"), "x", at_least=5, seconds=medians(times),
        note=limit(times, "fp32"),
    )  # fmt: skip
    yield Finding(
        f"ResNet8 on {name}: nc-runner / bare loop",
        ratio(times, "nc-runner fp32", "bare fp32"), "x", at_most=1.05,
    )  # fmt: skip
