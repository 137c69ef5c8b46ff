"""What a setting accepts, and whether it identifies a run, in words: read off its field of the schema."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator
from pydantic.fields import FieldInfo

from nc_runner.config.validation import shown
from nc_runner.config.values import ACCEPTED

_TYPES = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`", dict: "table"}


def accepted(field: FieldInfo) -> str:
    """The type and range of a setting, in Markdown."""
    parts = list(_parts(field.annotation, tuple(field.metadata)))
    words = list(dict.fromkeys(word for word, _ in parts if word))
    limits = _limits([data for _, metadata in parts for data in metadata])
    words[0] += f" {limits}" if limits else ""
    null = ["`null`"] if any(not word for word, _ in parts) else []
    return " or ".join([*words, *null])


def identity(field: FieldInfo) -> str:
    """Whether a setting is part of what identifies a run, and its neutral value, in Markdown."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if extra.get("passive"):
        return "no"
    return f"unless `{shown(extra['neutral'])}`" if "neutral" in extra else "yes"


def validators(field: FieldInfo) -> set[Any]:
    """The functions that check a setting."""
    found = {data for _, metadata in _parts(field.annotation, tuple(field.metadata)) for data in metadata}
    return {data.func for data in found if isinstance(data, (AfterValidator, BeforeValidator))}


def _parts(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(words, metadata) of each type of a union; no words for null."""
    checked = next((ACCEPTED[data.func] for data in metadata if getattr(data, "func", None) in ACCEPTED), "")
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from _parts(inner, (*metadata, *more))
    elif checked:
        yield checked, metadata
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part, () if part is type(None) else metadata)
    else:
        yield _word(annotation), metadata


def _word(annotation: Any) -> str:
    if annotation is type(None):
        return ""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        of = _word(get_args(annotation)[0])
        return f"list of {of}s" if of != "text" else "list of words"
    return _TYPES[get_origin(annotation) or annotation]


def _limits(metadata: list[Any]) -> str:
    """Limits such as ``ge=1``.

    >>> from annotated_types import Ge, Gt, Lt
    >>> _limits([Ge(0), Lt(1)]), _limits([Gt(0.5)])
    ('≥ 0 and < 1', '> 0.5')
    """
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{word} {limit}" for data in metadata for name, word in words.items()
             if (limit := getattr(data, name, None)) is not None]  # fmt: skip
    return " and ".join(dict.fromkeys(found))
