"""What a large sweep costs beside its training: memory, open files, and each run trained once.

    python scripts/load.py many [--runs 2000] [--folder DIR]
    python scripts/load.py interrupted [--runs 750] [--stops 5] [--seed 0] [--folder DIR]

``many``: a sweep of very short runs through joblib; memory and open files of the command and of its
processes, as /proc has them, in each tenth of the sweep. ``interrupted``: the same sweep is killed at random
moments and given again, until it ends by itself; then the logs say how often each run was begun. Linux only.
What folders of 10,000 runs cost nc-status and nc-plot: scripts/benchmarks/synthetic.py makes such folders.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

SHORTEST = (
    "data=ufm", "net=ufm", "net.features=4", "data.options.classes=2", "data.options.samples_per_class=2",
    "batch_size=4", "epochs=1", "threads=1", "progress=none", "launcher=joblib",
)  # fmt: skip
SECONDS_BETWEEN_LOOKS = 1.0
MIB = 2**20


@dataclass(frozen=True)
class Look:
    """At one moment: complete runs; MiB and open files of the command, and of its largest process."""

    complete: int
    command: tuple[float, int]
    process: tuple[float, int]


def main() -> int:
    arguments = parsed()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.part == "many":
            return many(folder, arguments.runs or 2000)
        return interrupted(folder, arguments.runs or 750, arguments.stops, random.Random(arguments.seed))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("many", "interrupted"))
    parser.add_argument("--runs", type=int, metavar="N")
    parser.add_argument("--stops", type=int, default=5, metavar="N", help="times the command is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="kept; default: a temporary one")
    return parser.parse_args()


@contextmanager
def sweep(folder: Path, runs: int) -> Iterator[subprocess.Popen[bytes]]:
    """The command, in a process group of its own, which is ended on leaving."""
    command = [sys.executable, "-m", "nc_runner", "-m", *SHORTEST, f"seed=range(0,{runs})"]
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def many(folder: Path, runs: int) -> int:
    began, looks = time.monotonic(), []
    with sweep(folder, runs) as process:
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            with suppress(OSError, ValueError):  # it ended meanwhile
                looks.append(look(process.pid, folder))
    seconds = time.monotonic() - began
    print(f"{runs} runs in {seconds:.0f} s, exit code {process.returncode}; medians over each tenth")
    print("complete     command: MiB  files     largest process: MiB  files")
    for tenth in range(10):
        within = [at for at in looks if tenth * runs <= 10 * at.complete < (tenth + 1) * runs and at.complete]
        if within:
            numbers = [
                median(values) for values in zip(*(at.command + at.process for at in within), strict=True)
            ]
            print("up to {:5d}  {:12.0f} {:6.0f} {:24.0f} {:6.0f}".format((tenth + 1) * runs // 10, *numbers))
    return process.returncode


def interrupted(folder: Path, runs: int, stops: int, moments: random.Random) -> int:
    print(f"{runs} runs; the command and all its processes are killed {stops} times")
    targets = sorted(moments.randrange(1, runs) for _ in range(stops))
    for target in targets:
        with sweep(folder, runs) as process:
            while process.poll() is None and complete(folder) < target:
                time.sleep(0.1)
        print(f"killed at {complete(folder)} complete runs")
    with sweep(folder, runs) as process:
        code = process.wait()
    times = begun(folder)
    print(f"the last command ended with {code}: {complete(folder)} of {runs} are complete")
    print(f"times that a run was begun: {dict(sorted(Counter(starts for starts, _, _ in times).items()))}")
    print(f"times that a run was completed: {dict(Counter(ends for _, ends, _ in times))}")
    print(f"rows of a run: {dict(Counter(rows for _, _, rows in times))}")
    once = len(times) == runs and all(ends == rows == 1 for _, ends, rows in times)
    print("each run was completed once" if once else "NOT each run was completed once")
    return 0 if once and code == 0 else 1


def begun(folder: Path) -> list[tuple[int, int, int]]:
    """Of each run: how often its log says that it began and that it was complete, and its rows."""
    result = []
    for log in folder.glob("outputs/*/*/nc-run.log"):
        text, table = log.read_text(), log.with_name("metrics.csv")
        rows = table.read_text().count("\n") - 1 if table.exists() else 0
        result.append((text.count(", from epoch "), text.count("INFO complete"), rows))
    return result


def complete(folder: Path) -> int:
    """Runs whose last checkpoint is written: each has one epoch."""
    return sum(1 for _ in folder.glob("outputs/*/*/checkpoint.pt"))


def look(command: int, folder: Path) -> Look:
    usages = [usage(pid) for pid in children(command)]
    return Look(complete(folder), usage(command), max(usages, default=(0.0, 0)))


def children(pid: int) -> list[int]:
    """All processes below ``pid``."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def usage(pid: int) -> tuple[float, int]:
    """Resident memory in MiB, and open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB, len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    sys.exit(main())
