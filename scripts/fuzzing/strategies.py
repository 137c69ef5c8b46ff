"""Hypothesis strategies: bytes, JSON, YAML and names that are damaged, or made to do harm."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

HOSTILE_NAMES = (
    "../../outside",
    "/etc/passwd",
    "..",
    "a/b",
    "",
    " ",
    "-rf",
    "$x_{",
    "$\\frac{",
    "\\undefined",
    "a\nb",
    "[red]x",
    "[/]",
    "\x1b[2J\x1b]0;title\x07",
    "\x00",
    "</script><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7*7 }}",
    "{% raw %}",
    "${oc.env:HOME}",
    "a" * 5000,
    "\u202eevil",
    "naïve",
    "\ud800",
    "%s%n",
    "__class__",
    "nan",
    "null",
    "os.system",
)
HOSTILE_NUMBERS = (0, -1, 2**63, 10**400, 1e308, -1e-320, float("nan"), float("inf"), 0.5, True)
_ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    [None],
    {"": None},
    [[[]]],
    {"name": []},
    *HOSTILE_NUMBERS,
    *HOSTILE_NAMES,
)

hostile_values = st.sampled_from(_ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

_edit = st.tuples(
    st.floats(0, 1), st.sampled_from(("replace", "insert", "delete", "double", "flip")), st.binary(max_size=6)
)


def damaged(original: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that differ from the original in a few places, or are cut, or are something else altogether."""
    edited = st.lists(_edit, min_size=1, max_size=5).map(lambda edits: _edited(original, edits))
    cut = st.integers(0, len(original)).map(lambda length: original[:length])
    return st.one_of(edited, edited, edited, cut, st.binary(max_size=200))


def _edited(original: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    content = bytearray(original)
    for where, kind, new in edits:
        place, length = int(where * len(content)), max(1, len(new))
        if kind == "replace":
            content[place : place + len(new)] = new
        elif kind == "insert":
            content[place:place] = new
        elif kind == "delete":
            del content[place : place + length * 10]
        elif kind == "double":
            content[place:place] = content[place : place + length * 40]
        elif content and place < len(content):
            content[place] ^= 1 << (new[0] % 8 if new else 0)
    return bytes(content)


@st.composite
def altered(draw: st.DrawFn, document: Any) -> Any:
    """The document, JSON or YAML, with one to three of its values replaced, or taken away."""
    result = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        paths = list(_paths(result))
        if not paths:
            return result
        *above, key = draw(st.sampled_from(paths))
        holder = result
        for step in above:
            holder = holder[step]
        if draw(st.integers(0, 4)) == 0:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(hostile_values))  # the next alteration may be within it
    return result


def altered_json(document: Any) -> st.SearchStrategy[bytes]:
    """As bytes: altered as a document, or as bytes."""
    whole = json.dumps(document).encode()
    return altered(document).map(lambda content: json.dumps(content).encode()) | damaged(whole)


def _paths(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from _paths(value, (*above, key))
