"""The parts of scripts/gpu_check.sh, each in a process of its own, and their report.

bash scripts/gpu_check.sh [--minutes M] [--out FOLDER] [--wheels FOLDER] [--device DEVICE]
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

CHECKOUT = Path(__file__).resolve().parents[1]
NEEDED = ("hydra", "omegaconf", "pydantic", "pandas", "matplotlib", "rich", "filelock", "sklearn")
RUN = (sys.executable, "-m", "nc_runner")
TIMES = ("train_seconds", "analysis_seconds")


@dataclass(frozen=True)
class Machine:
    """Where the check computes: torch's name of the device, its GPUs, and the folder of the results."""

    device: str
    gpus: int
    out: Path

    @property
    def has_gpu(self) -> bool:
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class Part:
    """One part: what it shows, the seconds that it may take, what it lacks (empty: nothing), and its work.

    ``work`` gets the seconds that it has and returns Markdown; it raises Failed with Markdown.
    """

    title: str
    seconds: float
    lacks: str
    work: Callable[[float], str]


class Failed(Exception):
    """A part did not show what it should."""


@dataclass(frozen=True)
class Result:
    part: Part
    verdict: str  # passed, failed, skipped
    text: str
    seconds: float = 0.0


def main() -> int:
    chosen = arguments()
    machine = Machine(chosen.device, torch.cuda.device_count(), chosen.out)
    machine.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * chosen.minutes
    results: list[Result] = []
    for part in parts(machine):
        print(f"gpu_check: {part.title} ...", flush=True)
        results.append(carried_out(part, ends - time.monotonic()))
        print(f"gpu_check: {part.title}: {results[-1].verdict}, {results[-1].seconds:.0f} s", flush=True)
        (machine.out / "report.md").write_text(report(machine, results))
    print(f"gpu_check: the report is {machine.out / 'report.md'}")
    return int(any(result.verdict == "failed" for result in results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--minutes", type=float, default=7.5, help="for all parts together (default: 7.5)")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the report")
    parser.add_argument(
        "--device", default="cuda", choices=("cuda", "cpu"), help="cpu tries the check itself (default: cuda)"
    )
    chosen = parser.parse_args()
    if not chosen.minutes > 0:
        parser.error("--minutes must be above 0")
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA GPU here; --device cpu tries the check itself")
    chosen.out = chosen.out.resolve()
    return chosen


def parts(machine: Machine) -> Iterator[Part]:
    """In the order of what matters most, should the time run out."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    lacks = f"missing: {', '.join(missing)}" if missing else ""
    no_gpu = lacks or ("" if machine.has_gpu else "there is no GPU")
    no_pytest = no_gpu or (
        "" if find_spec("pytest") and find_spec("pytest_timeout") else "missing: pytest, pytest-timeout"
    )
    two = no_gpu or ("" if machine.gpus > 1 else f"{machine.gpus} GPU, two are needed")
    yield Part(
        "Tests that need a GPU, no synchronisation inside an epoch among them",
        150,
        no_pytest,
        lambda s: tests(machine, s),
    )
    yield Part("The same seed twice, with deterministic=true", 60, lacks, lambda s: repeated(machine, s))
    yield Part("A real run, and its figures", 150, lacks, lambda s: real_run(machine, s))
    yield Part("bf16 and TF32 beside fp32", 120, lacks, lambda s: precisions(machine, s))
    yield Part("Speed", 240, lacks, lambda s: speed(machine, s))
    yield Part("Two processes", 90, two, lambda s: two_processes(machine, s))


def carried_out(part: Part, left: float) -> Result:
    if part.lacks:
        return Result(part, "skipped", part.lacks)
    if left < 10:
        return Result(part, "skipped", "no time was left; give more --minutes")
    began = time.monotonic()
    try:
        verdict, text = "passed", part.work(min(part.seconds, left))
    except Failed as failure:
        verdict, text = "failed", str(failure)
    except subprocess.TimeoutExpired as late:
        verdict, text = "skipped", f"not done within {late.timeout:.0f} s"
    return Result(part, verdict, text, time.monotonic() - began)


def report(machine: Machine, results: list[Result]) -> str:
    """In Markdown."""
    name = torch.cuda.get_device_name() if machine.has_gpu else platform.processor() or platform.machine()
    lines = [
        f"# nc-runner on {name}", "",
        f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}, "
        f"cuDNN {cudnn_version()}, {machine.gpus} GPU(s), {os.cpu_count()} CPU cores, "
        f"{time.strftime('%Y-%m-%d')}.", "",
        "| part | verdict | seconds |", "|---|---|---|",
        *(f"| {result.part.title} | {result.verdict} | {result.seconds:.0f} |" for result in results),
    ]  # fmt: skip
    for result in results:
        lines += ["", f"## {result.part.title}: {result.verdict}", "", result.text]
    return "\n".join(lines) + "\n"


def cudnn_version() -> int | None:
    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return version


def command(words: tuple[str, ...], seconds: float, folder: Path) -> str:
    """What a command printed. Raises Failed if it fails, TimeoutExpired if it takes too long."""
    folder.mkdir(parents=True, exist_ok=True)
    # torchrun needs a session of its own: with it all its processes end
    with subprocess.Popen(
        words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            raise
    if process.returncode:
        raise Failed(block(printed[-3000:]))
    return printed


def block(text: str) -> str:
    return f"```\n{text.strip()}\n```"


def tests(machine: Machine, seconds: float) -> str:
    where = (
        "-c",
        str(CHECKOUT / "pyproject.toml"),
        "--rootdir",
        str(CHECKOUT),
        str(CHECKOUT / "tests" / "training"),
    )
    options = ("-m", "gpu", "-p", "no:cacheprovider", "-q", "-rs", "--no-header", "--timeout", "120")
    # not in the checkout: there Python would take the package without its settings
    printed = command((sys.executable, "-m", "pytest", *where, *options), seconds, machine.out / "tests")
    return block("\n".join(printed.strip().splitlines()[-8:]))


def repeated(machine: Machine, seconds: float) -> str:
    """Two runs of one seed, each in a process of its own: the rows are equal to the last bit."""
    settings = ("net=resnet8", "epochs=10", "deterministic=true")
    first, second = (run(machine, f"repeat{turn}", settings, seconds / 2) for turn in (1, 2))
    if first != second:
        different = [name for name in first[-1] if first[-1][name] != second[-1].get(name)]
        raise Failed(f"the last rows differ in {', '.join(different)}")
    return f"{len(first)} rows of {len(first[0])} columns are equal to the last bit."


def real_run(machine: Machine, seconds: float) -> str:
    """ResNet18 on FashionMNIST where its files are, else ResNet8 on digits; then nc-plot."""
    root = Path(os.environ.get("NC_RUNNER_DATA", CHECKOUT / "data"))
    fashion = machine.has_gpu and (root / "FashionMNIST" / "raw").is_dir()
    large = (
        "net=resnet18",
        "data=fashionmnist",
        f"data.root={root}",
        "lr=0.05",
        "epochs=10",
        "precision=bf16",
    )
    small = ("net=resnet8", "lr=0.1303", f"epochs={350 if machine.has_gpu else 20}")
    rows = run(machine, "real", large if fashion else small, seconds - 30)
    plot = (
        sys.executable,
        "-m",
        "nc_runner.commands.plot",
        "--in-words",
        "--only",
        "overview,nc1,mse_decomposition",
    )
    return block(command(plot, 60, machine.out / "real")[-2500:]) + f"\n\n{pace(rows)}"


def precisions(machine: Machine, seconds: float) -> str:
    settings = ("net=resnet8", f"epochs={60 if machine.has_gpu else 5}", "analysis.schedule=[1]")
    kinds = ("fp32", "tf32", "bf16") if machine.has_gpu else ("fp32", "bf16")
    lines = [
        "| precision | train loss | test accuracy | NC1 | NC2, angles of the means | NC3 |",
        "|---|---|---|---|---|---|",
    ]
    names = ("train_loss", "test_accuracy", "nc1", "nc2_equiangular_means", "nc3_self_duality")
    for kind in kinds:
        last = run(machine, kind, (*settings, f"precision={kind}"), seconds / len(kinds))[-1]
        lines.append(f"| {kind} | " + " | ".join(f"{float(last[name]):.4g}" for name in names) + " |")
    return "\n".join(lines)


def speed(machine: Machine, seconds: float) -> str:
    """Parts of the bench, small."""
    words = (
        sys.executable,
        str(CHECKOUT / "scripts" / "bench.py"),
        "metrics",
        "analysis",
        "train",
        "--quick",
    )
    return block(command((*words, "--device", machine.device), seconds, machine.out / "bench"))


def two_processes(machine: Machine, seconds: float) -> str:
    """One run by one process and by two: equal up to rounding."""
    settings = ("net=resnet8", "epochs=3", "batch_size=128", "sync_batchnorm=true")
    one = run(machine, "one", settings, seconds / 2)
    torchrun = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "nc_runner",
    )
    two = run(machine, "two", settings, seconds / 2, torchrun)
    worst = max(
        abs(float(one[-1][name]) - float(two[-1][name])) / abs(float(one[-1][name]))
        for name in ("train_loss", "nc1")
    )
    if worst > 0.05:
        raise Failed(f"train loss and NC1 after 3 epochs differ by {worst:.1e}")
    return f"Train loss and NC1 after 3 epochs differ by {worst:.1e} at most."


def run(
    machine: Machine, name: str, settings: tuple[str, ...], seconds: float, by: tuple[str, ...] = RUN
) -> list[dict[str, str]]:
    """The rows of a run in a folder of its own, without their times."""
    folder = machine.out / name
    command((*by, f"device={machine.device}", "progress=none", "overwrite=true", *settings), seconds, folder)
    newest = max(folder.glob("outputs/*/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    with newest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def pace(rows: list[dict[str, str]]) -> str:
    last = rows[-1]
    return (
        f"{last['epoch']} epochs, {len(rows)} rows: train accuracy {float(last['train_accuracy']):.2%}, "
        f"test accuracy {float(last['test_accuracy']):.2%}, NC1 {float(last['nc1']):.3g}."
    )


if __name__ == "__main__":
    sys.exit(main())
