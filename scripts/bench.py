"""Measures the speed of nc-runner against the notebook's way, a bare loop, and the machine's own limits.

    python scripts/bench.py [PART ...] [--json FILE] [--quick] [--threads N] [--device DEVICE]

Parts: metrics, analysis, train, memory, pipeline, start, scale (these by default), plot, features_file,
fidelity.
Each ends with a table of measured values and their targets. docs/benchmarks.md describes how they are
measured. Times are medians of at least five rounds in which all ways take turns; run nothing else on the
machine meanwhile.
Whether two commits give the same numbers is another question: scripts/compare_rows.py answers it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import platform
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import torch
import torchvision
from benchmarks.common import Bench, Finding, shown
from rich.console import Console
from rich.table import Table

import nc_runner
from nc_runner.distributed.torchrun import place
from nc_runner.training.devices import choose_device, device_name, keep_freed_memory

DEFAULT = ("metrics", "analysis", "train", "memory", "pipeline", "start", "scale")
PARTS = (*DEFAULT, "plot", "features_file", "fidelity")


def main() -> int:
    arguments = parsed()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as nc-run does; all ways that are timed in this process have the same
    bench = Bench(choose_device(arguments.device, place()), arguments.quick)
    console = Console(width=None if sys.stdout.isatty() else 150)
    surroundings = environment(bench)
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()), soft_wrap=True)
    results = {}
    for part in arguments.parts or DEFAULT:
        began = time.monotonic()
        findings = list(importlib.import_module(f"benchmarks.{part}").run(bench))
        results[part] = findings
        console.print(table(part, findings, time.monotonic() - began))
    if arguments.json:
        arguments.json.write_text(json.dumps(report(surroundings, results), indent=2) + "\n")
    missed = [finding for findings in results.values() for finding in findings if finding.met is False]
    console.print(f"{len(missed)} targets missed" if missed else "all targets met")
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", type=part, help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to this file as well")
    parser.add_argument("--quick", action="store_true", help="small sizes, three rounds: not to be quoted")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: auto)")
    return parser.parse_args()


def part(name: str) -> str:
    """``name``, if it is a part. With argparse's own choices the message would list the empty default too."""
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"{name!r} (choose from {', '.join(PARTS)})")
    return name


def environment(bench: Bench) -> dict[str, str]:
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "device": device_name(bench.device),
        "threads": str(torch.get_num_threads()),
        "nc-runner": nc_runner.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "rounds": f"{bench.repeats} (quick)" if bench.quick else str(bench.repeats),
    }


def table(part: str, findings: list[Finding], seconds: float) -> Table:
    result = Table(title=f"{part} ({seconds:.0f} s)", title_justify="left")
    for column, justify in (
        ("", "left"),
        ("measured", "right"),
        ("target", "right"),
        ("met", "left"),
        ("", "left"),
    ):
        result.add_column(column, justify=justify)  # type: ignore[arg-type]
    for finding in findings:
        met = {True: "yes", False: "[bold]no[/bold]", None: ""}[finding.met]
        value = shown(finding.value, finding.unit)
        result.add_row(finding.name, value, finding.target, met, finding.note)
    return result


def report(surroundings: dict[str, str], results: dict[str, list[Finding]]) -> dict[str, object]:
    return {
        "environment": surroundings,
        "parts": {
            part: [
                dataclasses.asdict(finding)
                | {"target": finding.target, "met": finding.met}
                | {"value": finding.value if math.isfinite(finding.value) else None}
                for finding in findings
            ]
            for part, findings in results.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
