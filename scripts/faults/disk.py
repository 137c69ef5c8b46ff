"""A small file system of its own for a sweep: it can be filled, and made read-only. Needs root, Linux."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MIB = 16
_FILLER = "filler"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs mounted on ``folder``, unmounted on leaving."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def full(folder: Path, chance: random.Random) -> Iterator[None]:
    """Within, the disk of ``folder`` has so few bytes left that some file or other cannot be written."""
    left = chance.choice((0, 0, 4096, 16384, 65536))
    filler = folder / _FILLER
    with filler.open("wb", buffering=0) as file:
        block = bytes(1 << 16)
        try:
            while file.write(block):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - left))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within, files below ``folder`` cannot be opened to be written.

    The folder is mounted on itself, read-only: the kernel refuses to remount a file system that has files
    open for writing, and those that are open stay so, as on a disk that fails.
    """
    beside = folder.with_name(f"{folder.name}-read-only")
    beside.mkdir(exist_ok=True)
    _mount("--bind", str(folder), str(beside))  # made read-only there, where nothing is open
    try:
        _mount("-o", "remount,ro,bind", str(beside))
        _mount("--bind", str(beside), str(folder))
        try:
            yield
        finally:
            _unmount(folder)
    finally:
        _unmount(beside)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
