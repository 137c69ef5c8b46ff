"""What Slurm's own commands say of jobs and partitions. Imports neither torch nor Hydra.

``squeue`` and ``sinfo`` answer wherever jobs can be submitted; ``sacct``, which submitit asks, needs
accounting.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_SECONDS = 60  # that Slurm's controller has for an answer
# A job in one of these states will not run again; all others will, or are running.
_ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
)  # fmt: skip
# Why a job may wait for ever: somebody has to change something.
_HOPELESS = (
    "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "JobHeldUser", "JobHeldAdmin",
    "InvalidAccount", "InvalidQOS", "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit",
    "AccountNotAllowed",
    "QOSNotAllowed", "AssocGrpMemLimit", "DependencyNeverSatisfied",
)  # fmt: skip


@dataclass(frozen=True)
class QueuedJob:
    """A job as squeue shows it. ``why``: the reason for which it waits."""

    state: str
    why: str

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def may_wait_for_ever(self) -> bool:
        return self.state == "PENDING" and self.why in _HOPELESS


def jobs_of_user() -> dict[str, QueuedJob] | None:
    """The user's jobs in the queue, and those that ended a short while ago; None where Slurm does not answer.

    Each job of an array is by itself, as ``12_3``.
    """
    text = _ask(
        "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r"
    )
    if text is None:
        return None
    jobs = {}
    for line in text.splitlines():
        name, _, rest = line.strip().partition("|")
        state, _, why = rest.partition("|")
        jobs[name] = QueuedJob(state, why)
    return jobs


def going_on(jobs: Mapping[str, str]) -> dict[str, str] | None:
    """Those of the jobs (whatever they stand for, by id) that wait or run.

    None where there are jobs, and a Slurm that does not answer.
    """
    if not jobs or shutil.which("squeue") is None:
        return {}
    found = jobs_of_user()
    if found is None:
        return None
    return {name: what for name, what in jobs.items() if name in found and not found[name].ended}


def time_limit(partition: str | None) -> float | None:
    """Minutes that a job may take on a partition (or the longest of several, or the default one).

    None where there is no limit, or no answer.
    """
    text = _ask("sinfo", "--noheader", "--format=%P|%l")
    limits = dict(line.strip().split("|", 1) for line in (text or "").splitlines() if "|" in line)
    if partition is None:
        asked = [name for name in limits if name.endswith("*")]
    else:
        asked = [name for name in limits if name.rstrip("*") in partition.split(",")]
    minutes = [_minutes(limits[name]) for name in asked]
    known = [limit for limit in minutes if limit is not None]
    return max(known) if known and len(known) == len(minutes) else None


def _minutes(text: str) -> float | None:
    """Minutes of ``D-HH:MM:SS``, ``HH:MM:SS``, ``MM:SS`` or ``MM``; None for ``infinite``.

    >>> _minutes("1-02:30:00"), _minutes("10:00"), _minutes("2:00:00"), _minutes("infinite")
    (1590.0, 10.0, 120.0, None)
    """
    days, _, clock = text.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        before = 24 * 60 * int(days or 0)
    except ValueError:
        return None
    if days:  # D-HH, D-HH:MM, D-HH:MM:SS
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:  # MM, MM:SS
        hours, minutes, seconds = 0, *(*parts, 0)[:2]
    return before + 60 * hours + minutes + seconds / 60


def _ask(command: str, *arguments: str) -> str | None:
    if shutil.which(command) is None:
        return None
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
