"""Files on disk that are whole or absent, and tables that grow by rows. Knows no file's or column's name."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from nc_runner.errors import RunFolderError

MOST = 2**31  # bytes of a table; one of 50,000 classes has 1 MB a row


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or none: a temporary file beside it, fsync, rename."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_whole(path: Path, most: int = MOST) -> bytes:
    """All bytes of a file. Raises OSError as :func:`opened` does."""
    with opened(path, most) as file:
        return file.read()


@contextmanager
def opened(path: Path, most: int = MOST) -> Iterator[BinaryIO]:
    """A file, to be read.

    Raises OSError as ``open`` does; also where it is no regular file, which might never end, and where it has
    more than ``most`` bytes: a large file with holes takes no room on the disk, but in memory.
    """
    with open(path, "rb", opener=_opened_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB", str(path))
        yield file


def _opened_at_once(path: str, flags: int) -> int:
    """A descriptor; that of a pipe without a writer, too, which would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def unused_name(path: Path, ending: str) -> Path:
    """``NAME`` + ending + the first number from 1 on that is free, beside ``path``."""
    number = 1
    while (free := path.with_name(f"{path.name}{ending}{number}")).exists():
        number += 1
    return free


class Table:
    """A CSV file with fixed columns that grows by rows. Used by one process at a time; it notices others."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)
        self._size = 0  # bytes

    def start(self, text: str | None = None) -> Path | None:
        """Begin the file: with its header, or with ``text``, the rows that a checkpoint kept.

        Rows that came after the checkpoint are dropped: they will be computed again. A file that was
        changed otherwise is first copied to the path that is returned. Columns that an earlier version did
        not have are NaN in its rows.
        """
        content = (text or ",".join(self.columns) + "\n").encode()
        present = read_whole(self.path) if self.path.exists() else b""
        kept = None
        if text and not present.startswith(content) and not content.startswith(present):
            kept = unused_name(self.path, ".edited-")
            write_atomically(kept, present)
        if text:
            content = self._completed(text).encode()
        write_atomically(self.path, content)
        self._size = len(content)
        return kept

    def _completed(self, text: str) -> str:
        """A table of an earlier version with the columns of this one, where those are its own and more."""
        lines = list(csv.reader(io.StringIO(text)))
        if tuple(lines[0]) == self.columns or not set(lines[0]) < set(self.columns):
            return text
        completed = io.StringIO()
        writer = csv.writer(completed, lineterminator="\n")
        writer.writerow(self.columns)
        for cells in lines[1:]:
            row = dict(zip(lines[0], cells, strict=True))
            writer.writerow([row.get(column, "nan") for column in self.columns])
        return completed.getvalue()

    def text(self) -> str:
        """All that the file holds. Raises RunFolderError where something else wrote to it."""
        self._check()
        return self.path.read_text()

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Add rows in one write; they are in the file when this returns. Each has the columns as its keys.

        Raises RunFolderError where something else wrote to the file: no row is added after others that are
        missing.
        """
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        for row in rows:
            if set(row) != set(self.columns):
                raise ValueError(f"a row's keys differ from the columns: {set(row) ^ set(self.columns)}")
            writer.writerow([_cell(row[column]) for column in self.columns])
        self._check()
        content = lines.getvalue().encode()
        with self.path.open("ab") as file:
            file.write(content)
        self._size += len(content)

    def _check(self) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            reason = f"{self.path} is gone: was the folder moved or deleted while the run went on?"
            raise RunFolderError(reason) from None
        if size != self._size:
            raise RunFolderError(
                f"{self.path} was changed while the run went on: it has {size} bytes, not {self._size}\n"
                "give the same command again: it goes on from the last checkpoint, which has all rows before"
            )


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, (int, str)) else repr(float(value))


def whole_lines(content: bytes) -> tuple[list[str], bool]:
    """The lines that end with a newline, and whether something was left after the last of them."""
    whole, newline, rest = content.decode("utf-8", errors="replace").rpartition("\n")
    return whole.split("\n") if newline else [], bool(rest)


def parse_numbers(cells: Sequence[str], length: int) -> list[float] | None:
    """``length`` cells as numbers, an empty one as NaN; None where they are not that."""
    try:
        values = [float(cell) if cell else float("nan") for cell in cells]
    except ValueError:
        return None
    return values if len(values) == length else None
