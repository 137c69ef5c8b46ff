"""Random generators of their own for separate purposes."""

from __future__ import annotations

import hashlib

import torch


def generator_of(purpose: str, *numbers: int) -> torch.Generator:
    """A generator on the CPU whose numbers depend on ``purpose`` and ``numbers`` alone.

    Seeded with a hash: two purposes with one seed draw nothing alike. (With equal seeds ``torch.randperm``
    gives one order to all.)
    """
    text = "/".join([purpose, *map(str, numbers)])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return torch.Generator().manual_seed(number >> 1)  # below 2**63
