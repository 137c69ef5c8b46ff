"""The settings of many records, by group: equal groups are read, completed and kept once. No torch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from nc_runner.config.validation import shown
from nc_runner.runs.reader import Record
from nc_runner.runs.settings import completed

Cell: TypeAlias = "str | int | float | bool | None"  # a setting as a table has it
Part: TypeAlias = "dict[str, tuple[Any, Hashable]]"  # of one group, by dotted key: value, and what it equals

TARGET = "._target_"


def plain(value: Any) -> Cell:
    """A plain value: a list, or what is nested, as it is written on the command line."""
    return value if value is None or isinstance(value, (str, int, float)) else shown(value)


def legible(value: Cell) -> Cell:
    """What is no UTF-8, as a folder's name can be, with backslashes: Arrow's strings cannot hold it."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def typed(value: Any) -> Hashable:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "number" if number else type(value).__name__, plain(value)  # 1 == True, but not here


NOTHING: Part = {}
ABSENT = (None, typed(None))


class GroupReader:
    """Reads the settings of records by group, and completes those that lack some.

    Equal groups are one object, and what records of a shape lack is found out once: of thousands of records
    most groups are equal.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[str, type, Any], Part] = {}
        self._shapes: dict[int, Hashable] = {}  # of each part, by its id
        self._met: dict[tuple[str, int], tuple[Any, Part]] = {}  # groups that records share, by their id
        self._lacking: dict[Hashable, dict[str, Part]] = {}  # what records of a shape lack, by group

    def settings(self, record: Record) -> dict[str, Part]:
        found = self._read(record.settings)
        shape = tuple(self._shapes[id(part)] for part in found.values())
        if shape in self._lacking:
            joined = {top: self._joined(top, found, added) for top, added in self._lacking[shape].items()}
            return {**found, **joined}
        whole = self._read(completed(record.settings, passive=False))
        added = {
            top: {key: entry for key, entry in part.items() if found.get(top, NOTHING).get(key) != entry}
            for top, part in whole.items()
            if part is not found.get(top)
        }
        kept = all(key in whole.get(top, NOTHING) for top, part in found.items() for key in part)
        new = (key for top, part in added.items() for key in part if key in found.get(top, NOTHING))
        if kept and all(key.endswith(TARGET) for key in new):  # nothing but what the shape decides
            self._lacking[shape] = added
        return whole

    def _joined(self, top: str, found: Mapping[str, Part], added: Part) -> Part:
        part = found.get(top, NOTHING)
        name = (top, dict, (id(part), id(added)))
        if name not in self._parts:
            self._parts[name] = {**part, **added}
        return self._parts[name]

    def groups(self, read: Iterable[Mapping[str, Part]]) -> dict[str, list[Part]]:
        """All that records have of each group, equal ones once; an empty one where a record lacks it."""
        present: set[int] = set()
        tops: set[tuple[str, ...]] = set()
        for settings in read:
            present.update(map(id, settings.values()))
            tops.add(tuple(settings))
        found: dict[str, list[Part]] = {top: [] for names in tops for top in names}
        for (top, *_), part in self._parts.items():
            if id(part) in present:
                found[top].append(part)
        for top, parts in found.items():
            if any(top not in names for names in tops):
                parts.append(NOTHING)
        return found

    def _read(self, settings: Mapping[str, Any]) -> dict[str, Part]:
        return {top: part for top, value in settings.items() if (part := self._part(top, value))}

    def _part(self, top: str, value: Any) -> Part:
        nested = isinstance(value, (dict, list))
        if nested:
            met = self._met.get((top, id(value)))
            if met is not None and met[0] is value:
                return met[1]
        content = repr(value) if nested else value
        known = self._parts.get((top, type(value), content))
        if known is None:
            known = {key: (inner, typed(inner)) for key, inner in flat({top: value})}
            self._parts[top, type(value), content] = known
            targets = (str(value) for key, (value, _) in known.items() if key.endswith(TARGET))
            self._shapes[id(known)] = (*known, *targets)
        if nested:
            self._met[top, id(value)] = value, known
        return known


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all settings; a group without any is left out."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
