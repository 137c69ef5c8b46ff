"""Files of ``torch.save`` that may come from anybody: read without running code, in bounded memory.

``weights_only`` alone keeps code from running. A small file can still stand for much: packed entries that
expand, a tensor that repeats one number, a list that holds another one many times.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SLACK = 2**20  # bytes, and objects, that a file may stand for beyond its size


class Unreadable(ValueError):
    """A file is not, or no longer, what was written; the message says why."""


def load_saved(path: Path, *, mapped: bool = False) -> Any:
    """What a file of ``torch.save`` holds, on the CPU.

    Args:
        mapped: leave tensors in the file where its format allows that.

    Raises Unreadable where it stands for more than it holds, OSError where it cannot be opened, and whatever
    torch's reader raises for a damaged file.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise Unreadable("it is no file")
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise Unreadable("its entries are compressed, which torch.save does not do")
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipped)
    _check_size(content, path.stat().st_size + SLACK)
    return content


def _check_size(content: object, limit: int) -> None:
    """Raise Unreadable where a tensor has more bytes, or all has more objects, than ``limit``."""
    count, left = 0, [content]
    while left:
        node = left.pop()
        count += 1
        if isinstance(node, Tensor) and node.numel() * node.element_size() > limit:
            raise Unreadable(f"it has a tensor of shape {tuple(node.shape)}, which is larger than the file")
        if isinstance(node, Mapping):
            left += (*node.keys(), *node.values())
        elif isinstance(node, (list, tuple, set, frozenset)):
            left += node
        if count + len(left) > limit:
            raise Unreadable("it holds more objects than a file of its size can have")
