"""Disturbs sweeps of tiny runs at random, and holds what they leave against a quiet one, to the last bit.

    python scripts/chaos.py [--launcher basic joblib torchrun] [--faults N | --minutes M] [--seed S]

A cycle: the sweep is started, a fault strikes at a random moment (processes killed or stopped, the disk
full or read-only, files damaged, the clock set back), the same command is given again, with the next fault;
in the end it is given until it says that all is complete. Then rows, weights and records are compared. The
seed decides faults, moments (so many rows after a start, and a delay) and victims; what the machine makes of
it differs a little each time. Each sweep has a small disk of its own, a tmpfs: root on Linux is needed, and
Debian's package libfaketime. Exit code 1: a row was lost or doubled, or something else went wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.command import EPOCHS, LAUNCHERS, RUNS, Command, rows_in, started
from faults.compare import differences
from faults.disk import small_disk
from faults.kinds import CLOCK, FAULTS, clock_environment

FAULTS_IN_A_CYCLE = 3
MOST_COMMANDS = 6  # to finish a sweep after its last fault
LONGEST_WAIT = 300.0  # seconds for the moment of a fault


@dataclass
class Tally:
    """How the command ended in which a fault struck, by launcher and fault; what was wrong afterwards."""

    ends: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    faults: int = 0
    again: Counter[int] = field(default_factory=Counter)  # commands that it took to finish after the faults

    def add(self, launcher: str, fault: str, end: str) -> None:
        self.ends.setdefault((fault, launcher), Counter())[end] += 1
        self.faults += 1


def main() -> int:
    arguments = parsed()
    if os.geteuid() != 0 or not Path(CLOCK).exists():
        print("chaos.py needs root, and libfaketime: apt-get install libfaketime", file=sys.stderr)
        return 2
    tally, chance = Tally(), random.Random(arguments.seed)
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as temporary:
        quiet = {launcher: quiet_sweep(Path(temporary), launcher) for launcher in arguments.launcher}
        cycle = 0
        while tally.faults < arguments.faults and time.monotonic() < end:
            launcher = arguments.launcher[cycle % len(arguments.launcher)]
            cycle += 1
            Cycle(Path(temporary), launcher, cycle, random.Random(chance.random()), tally).run(
                quiet[launcher]
            )
    print("\n".join(table(tally)))
    return 1 if tally.problems else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--launcher", nargs="+", choices=LAUNCHERS, default=list(LAUNCHERS))
    parser.add_argument("--faults", type=int, default=1_000_000, metavar="N", help="stop after so many")
    parser.add_argument("--minutes", type=float, default=30, metavar="M", help="stop after so long (30)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    return parser.parse_args()


def quiet_sweep(temporary: Path, launcher: str) -> Path:
    """The folder of a sweep that nothing disturbed."""
    folder = temporary / f"quiet-{launcher}"
    folder.mkdir()
    with started(folder, launcher, 0) as command:
        code = command.wait()
        if code != 0 or command.rows() != RUNS * EPOCHS:
            raise SystemExit(f"chaos: the quiet sweep ended with {code}\n{command.said()}")
    return folder


@dataclass
class Cycle:
    """One sweep with its faults."""

    temporary: Path
    launcher: str
    number: int
    chance: random.Random
    tally: Tally
    abandoned: list[Command] = field(default_factory=list)

    def run(self, quiet: Path) -> None:
        folder = self.temporary / f"cycle-{self.number}"
        with small_disk(folder):
            for _ in range(FAULTS_IN_A_CYCLE):
                self._strike(folder)
            self._finish(folder)
            for command in self.abandoned:
                command.end()
            for line in differences(quiet, folder):
                self._problem(line)
        shutil.rmtree(folder)

    def _strike(self, folder: Path) -> None:
        chance = self.chance
        name = chance.choice([n for n, fault in FAULTS.items() if self.launcher in fault.launchers])
        fault = FAULTS[name]
        environment = clock_environment(folder) if fault.clock else {}
        moment = (chance.randrange(RUNS * EPOCHS // FAULTS_IN_A_CYCLE), chance.uniform(0, 1))
        with started(folder, self.launcher, chance.choice((0, 0.3, 60)), environment) as command:
            if not wait_for(command, *moment):
                self._log(f"{name}: came too late")  # not counted: it ended before
                return
            fault.strike(command, chance)
            if command.abandoned:
                self.abandoned.append(command)
            code = command.wait()
            end = ending(code)
            self.tally.add(self.launcher, name, end)
            self._log(f"{name} at {moment[0]} rows + {moment[1]:.1f} s: {end}")
            if code is None or "Traceback (most recent call last)" in command.said():
                self._problem(f"{name}: {end}\n{command.said()}")

    def _finish(self, folder: Path) -> None:
        """Give the command until it succeeds."""
        for count in range(1, MOST_COMMANDS + 1):
            with started(folder, self.launcher, self.chance.choice((0, 0.3, 60))) as command:
                code = command.wait()
                if code == 0:
                    self.tally.again[count] += 1
                    return
                said = command.said()
                self._log(f"given again: {ending(code)}\n{said}")
        self._problem(f"it does not finish: {ending(code)}\n{said}")

    def _log(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.number} {self.launcher}: {line}", flush=True)

    def _problem(self, line: str) -> None:
        self._log(f"PROBLEM: {line}")
        self.tally.problems.append(f"cycle {self.number}, {self.launcher}: {line}")


def wait_for(command: Command, rows: int, delay: float) -> bool:
    """Until the command has added so many rows, and a moment longer; whether it is still running then."""
    before, end = rows_in(command.folder), time.monotonic() + LONGEST_WAIT
    if rows == 0:
        delay *= 5  # anywhere in its start
    while command.process.poll() is None and command.rows() < before + rows and time.monotonic() < end:
        time.sleep(0.02)
    command.wait(delay)
    return command.process.poll() is None


def ending(code: int | None) -> str:
    names = {None: "hung", 0: "finished", 1: "exit 1, with the reason", 130: "stopped", 143: "stopped"}
    return names.get(code, "killed" if code is not None and code < 0 else f"exit {code}")


def table(tally: Tally) -> Iterator[str]:
    """The summary, in Markdown."""
    yield "| fault | launcher | how many | how the command ended |"
    yield "|---|---|---|---|"
    for (fault, launcher), ends in sorted(tally.ends.items()):
        how = ", ".join(f"{end} {count}" for end, count in ends.most_common())
        yield f"| {fault} | {launcher} | {ends.total()} | {how} |"
    yield f"\n{tally.faults} faults; commands given afterwards: {dict(sorted(tally.again.items()))}"
    yield f"{len(tally.problems)} problems"
    yield from tally.problems


if __name__ == "__main__":
    sys.exit(main())
