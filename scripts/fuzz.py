"""Gives damaged and hostile inputs to all that reads files or a command line, for a given time.

    python scripts/fuzz.py [TARGET ...] [--minutes M] [--seed S]

Inputs are Hypothesis' (scripts/fuzzing/strategies.py): real files with bytes changed, cut or doubled, JSON
and YAML with other values, hostile names. What is read must end as a result or as an error of one or two
lines: a traceback, a wait of more than 20 s or more than 4 GiB of memory is a finding, which is printed with
the smallest input that shows it. Targets take turns; without names all of them. Exit code 1: there are
findings.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from fuzzing.originals import Originals
from fuzzing.targets import TARGETS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

SECONDS_A_CASE, MEMORY = 20, 4 * 2**30


class Hangs(BaseException):
    """A case takes too long; no reader may take it for an error of its file."""


def main() -> int:
    arguments = parsed()
    findings, cases, turn = [], dict.fromkeys(arguments.targets or TARGETS, 0), 0
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as temporary:
        originals = Originals(Path(temporary))
        for name in cases:  # imports, which take memory too
            fuzz(name, originals, 1, arguments.seed)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
        while time.monotonic() < end:
            for name in cases:
                turn += 1
                count = 5 if TARGETS[name].slow else 40
                finding = fuzz(name, originals, count, arguments.seed * 1_000_000 + turn)
                cases[name] += count
                if finding:
                    findings.append(f"{name}: {finding}")
                    print(findings[-1].encode("utf-8", "backslashreplace").decode(), flush=True)
    for name, count in cases.items():
        print(f"{name:24} {count:7} cases")
    print(f"{len(findings)} findings")
    return 1 if findings else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=5, metavar="M")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}")
    return arguments


def fuzz(name: str, originals: Originals, count: int, seed: int) -> str | None:
    """Give ``count`` inputs to a target; the smallest one that it does not take, with the traceback."""
    target, last = TARGETS[name], [None]

    @seeded(seed)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(target.inputs(originals))
    def check(content: Any) -> None:
        last[0] = content
        with tempfile.TemporaryDirectory() as folder, limited():
            target.read(Path(folder), originals, content)

    try:
        check()
    except (Exception, Hangs) as error:
        where = "".join(traceback.format_tb(error.__traceback__)[-8:])
        return f"{type(error).__name__} for {str(last[0])[:6000]}\n{where}{str(error)[:600]}"
    return None


@contextlib.contextmanager
def limited() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Hangs(f"no end after {SECONDS_A_CASE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS_A_CASE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
