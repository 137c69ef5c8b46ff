"""Files of the standard data sets: finding, fetching and verifying them.

torchvision downloads and unpacks. This module adds what it does not do: a failed download leaves nothing
behind, a missing file and a damaged one have different messages, and the IDX files of MNIST and FashionMNIST
are checked, which torchvision reads without an error when they are altered or cut short.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import re
import socket
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from nc_runner.errors import DataError

# MD5 of the unpacked IDX files. torchvision publishes those of the .gz files alone; these were computed from
# .gz files that have torchvision's sums (for FashionMNIST: from Debian's package dataset-fashion-mnist, whose
# gzip headers lack the original name and time; with both restored, all four have torchvision's sums).
# None: there was no such .gz file to compute it from.
IDX_MD5: dict[str, dict[str, str | None]] = {
    "MNIST": {
        "train-images-idx3-ubyte": None,
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}

STALL_SECONDS = 30.0  # a download without a byte for so long has failed

_FETCH_ERRORS = (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zlib.error)


@dataclass(frozen=True, eq=False)
class FileSet:
    """The files of one data set below ``root``, and how to get them."""

    title: str
    root: Path
    folder: Path  # that holds the files: root or a folder below it
    files: Mapping[str, str | None]  # name in folder -> MD5, or None
    fetch: Callable[[Path], None]  # torchvision's download into another root
    by_hand: str  # what to put where
    archives: Mapping[str, str] = field(default_factory=dict)  # name in root -> MD5: what holds the files
    packed: str = ""  # suffix of a packed file that is as good as the file itself

    def missing(self) -> list[str]:
        """Names of the files that are not there, neither as they are nor packed."""
        names = ((name, (name, name + self.packed)) for name in self.files)
        return [name for name, forms in names if not any((self.folder / form).is_file() for form in forms)]

    def remedy(self) -> str:
        inside = "them" if self.folder == self.root else self.folder.relative_to(self.root)
        return (
            f"{self.by_hand}, or name the folder that holds {inside} with data.root=DIR or NC_RUNNER_DATA=DIR"
        )


def obtain(wanted: FileSet, download: bool) -> None:
    """Make sure that every file is there: unpack an archive in the root, or else download.

    Raises :class:`DataError` that says which files are missing, why no download helped, and what to do.
    """
    missing = wanted.missing()
    if not missing:
        return
    archives = [name for name in wanted.archives if (wanted.root / name).is_file()]
    for name in archives:
        _verify_md5(wanted.root / name, wanted.archives[name], wanted.title)
    # All archives of a set are needed; with fewer, torchvision downloads the others.
    complete = bool(archives) and len(archives) == len(wanted.archives)
    which = "" if len(missing) == len(wanted.files) else f" (missing: {', '.join(missing)})"
    what = f"{wanted.title} is not complete in" if which else f"{wanted.title} is not in"
    if not download and not complete:
        raise DataError(f"{what} {wanted.folder}{which}, and data.download is false\n{wanted.remedy()}")
    try:
        _fetch(wanted, archives)
    except _FETCH_ERRORS as error:
        raise DataError(
            f"{what} {wanted.folder}{which}, and the download failed: {_reason(error)}\n{wanted.remedy()}"
        ) from error


def verify(wanted: FileSet) -> None:
    """Raise :class:`DataError` naming the first file whose MD5 is not the published one."""
    for name, md5 in wanted.files.items():
        if md5 is not None:
            _verify_md5(wanted.folder / name, md5, wanted.title)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torchvision's progress bars, prints and NumPy deprecation warnings from the user's terminal."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def read_idx(wanted: FileSet, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, packed or not, that must hold exactly ``shape``.

    Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the values in C order (``yann.lecun.com/exdb/mnist``).
    """
    path = wanted.folder / name
    if not path.is_file():
        path = path.with_name(name + wanted.packed)

    def invalid(problem: str) -> DataError:
        return DataError(
            f"{wanted.title}: {path} {problem}\n"
            f"remove this file (it is fetched again where data.download is true) or {wanted.by_hand}"
        )

    try:
        most = 4 + 4 * len(shape) + math.prod(shape)
        with path.open("rb") if path.name == name else gzip.open(path) as file:
            content = file.read(most + 1)  # a packed file may expand to any size
    except (OSError, EOFError, zlib.error) as error:
        raise invalid(f"cannot be read: {_reason(error)}") from error

    header = 4 + 4 * len(shape)
    kind = "labels" if len(shape) == 1 else "images"
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        begins = content[:4].hex(" ") or "nothing"
        raise invalid(f"is not an IDX file of unsigned bytes: it begins with {begins}")
    if content[3] != len(shape):
        other = {1: "labels", 3: "images"}.get(content[3], f"{content[3]}-dimensional values")
        raise invalid(f"holds {other} where {kind} belong: are files swapped?")
    if len(content) < header:
        raise invalid(f"is cut short: {len(content)} bytes")
    found = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=len(shape), offset=4))
    if found != shape:
        raise invalid(f"has {_times(found)} {kind} where {_times(shape)} belong: is it another file?")
    expected = header + int(np.prod(shape))
    if len(content) != expected:
        state = "is cut short" if len(content) < expected else "is too long"
        size = len(content) if len(content) < expected else f"more than {expected}"
        raise invalid(f"{state}: {size} bytes unpacked, not {expected}")
    values = np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
    if kind == "labels" and int(values.max()) > 9:
        raise invalid(f"has the label {int(values.max())}; labels go from 0 to 9")
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if wanted.files[name] not in (None, md5):
        owners = [title for title, sums in IDX_MD5.items() if md5 in sums.values()]
        belongs = f"is a file of {owners[0]}" if owners else "is not the published file"
        raise invalid(f"{belongs}: its MD5 is {md5} unpacked, not {wanted.files[name]}")
    return values


def _fetch(wanted: FileSet, archives: list[str]) -> None:
    """Download beside the files, then move them in place one by one; on failure nothing new remains."""
    new = [folder for folder in (wanted.root, *wanted.root.parents) if not folder.exists()]
    wanted.root.mkdir(parents=True, exist_ok=True)
    lock = wanted.root / f".{wanted.title}.lock"
    try:
        with FileLock(lock):
            try:
                # The runs of a sweep start together: another may have fetched the files by now.
                if wanted.missing():
                    _fetch_alone(wanted, archives)
            finally:
                lock.unlink(
                    missing_ok=True
                )  # another process may then fetch a second time, which does no harm
    finally:
        with suppress(OSError):  # not empty: keep
            for folder in new:
                folder.rmdir()


def _fetch_alone(wanted: FileSet, archives: list[str]) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        with TemporaryDirectory(prefix=f".{wanted.title}-", dir=wanted.root) as temporary:
            beside = Path(temporary)
            for name in archives:  # torchvision unpacks what is there instead of downloading it
                os.symlink((wanted.root / name).absolute(), beside / name)
            with quiet():
                wanted.fetch(beside)
            for path in sorted(beside.rglob("*")):
                target = wanted.root / path.relative_to(beside)
                packed = path.suffix == ".gz" or path.name in wanted.archives.keys() - wanted.files.keys()
                if path.is_file() and not path.is_symlink() and not packed and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
    finally:
        socket.setdefaulttimeout(timeout)
    if missing := wanted.missing():
        raise RuntimeError(f"the download has no {', '.join(missing)}")


def _verify_md5(path: Path, expected: str, title: str) -> None:
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            md5.update(chunk)
    if md5.hexdigest() != expected:
        raise DataError(
            f"{title}: {path} is damaged or altered: its MD5 is {md5.hexdigest()}, not {expected}\n"
            "remove it (it is fetched again where data.download is true) or put the right one in its place"
        )


def _reason(error: BaseException) -> str:
    """One line: torchvision's own messages run over several, the last of which says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "corrupted" in lines[-1]:
        return "the download does not have the published MD5"
    return re.sub(r"^<urlopen error (.*)>$", r"\1", lines[-1])


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
