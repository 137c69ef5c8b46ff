"""In which settings runs differ, and what to call them: names of settings, texts of values. No torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from nc_runner.config.validation import known_settings, shown
from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError
from nc_runner.runs.groups import ABSENT, NOTHING, TARGET, Cell, GroupReader, Part, plain
from nc_runner.runs.reader import Record
from nc_runner.runs.settings import passive_settings

_WITH_GROUP = ("decay", "imbalance")  # the words of these groups, such as norm and ratio, say too little
# What every run has; tables have columns of their own for these.
CELL = {"loss.name": "loss", "net.name": "net", "data.name": "data", "seed": "seed"}


class Varying:
    """The settings of ``records`` and those in which they differ.

    Settings that cannot change a run's numbers, such as ``device``, do not count. Older records have the
    neutral value of a setting that came after them. ``keys``: the dotted keys of the settings that differ,
    in the order of the record, without network, data set, loss and seed.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        read = GroupReader()
        self._settings = {record: read.settings(record) for record in records}
        self._groups = read.groups(self._settings.values())
        self._passive = passive_settings()
        self.keys = tuple(self._differing(key for key in self._all_keys() if key not in CELL))
        self._headings: dict[str, str] = {}
        self._texts: dict[str, dict[Hashable, str]] = {}

    def value(self, record: Record, key: str) -> Cell:
        """A setting of one run by its dotted key: a list as it is written on the command line."""
        return plain(self._entry(record, key)[0])

    def identity(self, record: Record, keys: Iterable[str]) -> Hashable:
        """Equal for runs that do not differ in ``keys``."""
        return tuple(self._entry(record, key)[1] for key in keys)

    def differing(self, records: Sequence[Record], among: Iterable[str] | None = None) -> list[str]:
        """Those of the keys (``among``; all that vary by default) in which these ``records`` differ."""
        parts: dict[str, list[Part]] = {}
        found = []
        for key in self.keys if among is None else among:
            top = _top(key)
            if top not in parts:
                parts[top] = self._different_parts(records, top)
            if len({part.get(key, ABSENT)[1] for part in parts[top]}) > 1:
                found.append(key)
        return found

    def telling(self) -> list[str]:
        """Those of the keys that say more than the name of their group: not ``net.depth`` of ``resnet8``."""
        return [key for key in self.keys if not any(self._follows(key, name) for name in _namesakes(key))]

    def leader(self, key: str) -> str | None:
        """A choice of another group whose value tells that of ``key``: the optimizer, if each has one ``lr``.

        None where there is none, and for what is a choice itself.
        """
        choices = [] if key.endswith(TARGET) else [name for name in self.keys if name.endswith(TARGET)]
        others = (name for name in choices if _top(name) != _top(key))
        return next((name for name in others if self._follows(key, name)), None)

    def heading(self, key: str) -> str:
        """A short name: ``weight_decay``; more words where the last one is another setting's too, or says too
        little: ``decay.norm``.
        """
        if not self._headings:
            keys = dict.fromkeys((*self._all_keys(), *known_settings()))
            every = {_spoken(key) for key in keys}
            for name in keys:
                said = (end for end in _endings(_spoken(name)) if _says_enough(end, name))
                short = (end for end in said if sum(_ends(other, end) for other in every) == 1)
                self._headings[name] = next(short, name)
        return CELL.get(key) or self._headings.get(key, key)

    def text(self, record: Record, key: str) -> str:
        """The value of a setting in words; different values of a setting have different words."""
        return self._values(key)[self._entry(record, key)[1]]

    def label(self, record: Record, keys: Iterable[str] | None = None) -> str:
        """Such as ``lr 0.1, weight_decay 0.001``: runs that differ in ``keys`` have different labels."""
        chosen = self.keys if keys is None else keys
        return ", ".join(f"{self.heading(key)} {self.text(record, key)}" for key in chosen)

    def find(self, name: str) -> str:
        """The dotted key that a user means by ``name``: ``weight_decay``, ``ratio``, ``loss``.

        Raises ConfigError where no run has such a setting, or several settings are called so.
        """
        found = self.called(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{name} is not clear: give one of {', '.join(found)}")
        raise ConfigError(
            f"no run has a setting {name}{nearest(name, self.names())}\n"
            "give a key as on nc-run's command line, such as lr, weight_decay or net.depth"
        )

    def called(self, name: str) -> list[str]:
        """The dotted keys that ``name`` may mean: several where it is not clear."""
        keys = self._all_keys()
        exact = {short: key for key, short in CELL.items()} | {key: key for key in keys}
        return [exact[name]] if name in exact else [key for key in keys if _ends(_spoken(key), name)]

    def names(self) -> tuple[str, ...]:
        """What settings may be called: by their key, or its last word."""
        keys = self._all_keys()
        last = (_spoken(key).rpartition(".")[2] for key in keys)
        return tuple(dict.fromkeys((*CELL.values(), *keys, *last)))

    def _entry(self, record: Record, key: str) -> tuple[Any, Hashable]:
        return self._settings[record].get(_top(key), NOTHING).get(key, ABSENT)

    def _entries(self, key: str) -> list[tuple[Any, Hashable]]:
        """What all records have of a setting, for each different group once."""
        return [part.get(key, ABSENT) for part in self._groups.get(_top(key), [NOTHING])]

    def _different_parts(self, records: Iterable[Record], top: str) -> list[Part]:
        """What the records have of a group: equal ones once, of a thousand records too."""
        parts = (self._settings[record].get(top, NOTHING) for record in records)
        return list({id(part): part for part in parts}.values())

    def _all_keys(self) -> list[str]:
        keys = dict.fromkeys(key for parts in self._groups.values() for part in parts for key in part)
        return [key for key in keys if key not in self._passive]

    def _differing(self, keys: Iterable[str]) -> Iterator[str]:
        """Those that are not the same in all; not ``_target_`` where the name says as much."""
        for key in keys:
            if len({typed for _, typed in self._entries(key)}) > 1:
                name = key.replace("_target_", "name")
                if not (key.endswith(TARGET) and self._follows(key, name)):
                    yield key

    def _follows(self, key: str, name: str) -> bool:
        """Whether the value of ``name`` tells that of ``key``."""
        if _top(name) == _top(key):  # of a thousand records there are a few different groups
            both = zip(self._entries(name), self._entries(key), strict=True)
            pairs = {(first, second) for (_, first), (_, second) in both}
        else:
            pairs = {(self._entry(one, name)[1], self._entry(one, key)[1]) for one in self._settings}
        return len({first for first, _ in pairs}) == len(pairs)

    def _values(self, key: str) -> dict[Hashable, str]:
        if key not in self._texts:
            self._texts[key] = texts({typed: value for value, typed in self._entries(key)})
        return self._texts[key]


def texts(values: Mapping[Hashable, Any]) -> dict[Hashable, str]:
    """Words for different values, all different: numbers with as few digits as that takes.

    >>> list(texts({1: 0.1, 2: 0.01842669, 3: None, 4: "null", 5: True}).values())
    ['0.1', '0.01843', 'null', "'null'", 'true']
    """
    for digits in (4, 6, 17):
        found = {key: _written(value, digits) for key, value in values.items()}
        if len(set(found.values())) == len(found):
            break
    return found


def _top(key: str) -> str:
    return key.partition(".")[0]


def _namesakes(key: str) -> list[str]:
    """The keys by which the group of a setting is chosen."""
    names = [f"{_top(key)}{ending}" for ending in (".name", TARGET)]
    return [] if key in names else names


def _spoken(key: str) -> str:
    """``optimizer._target_`` is called ``optimizer``."""
    return key.removesuffix(TARGET)


def _endings(key: str) -> Iterator[str]:
    parts = key.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[-count:])


def _says_enough(ending: str, key: str) -> bool:
    return "." in ending or f".{key}".split(".")[-2] not in _WITH_GROUP


def _ends(key: str, ending: str) -> bool:
    return key == ending or key.endswith(f".{ending}")


def _written(value: Any, digits: int) -> str:
    """A value in words that no value of another type has."""
    if isinstance(value, float):
        return f"{value:.{digits}g}" if digits < 17 else repr(value)
    if not isinstance(value, str):
        return _printable(shown(value))
    text = _printable(value)
    return f"'{text}'" if _like_another(text) else text


def _printable(text: str) -> str:
    """Escapes what breaks a line, hides or reverses text, and the backslash: different texts stay so."""
    return "".join(letter if letter.isprintable() and letter != "\\" else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _like_another(text: str) -> bool:
    """Whether a text looks like a value of another type, or is quoted: then it is quoted."""
    if text in ("null", "true", "false", "") or text.startswith(("'", "[", "{")) or ", " in text:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a setting's value is a finite number, within floats' range; true and false are none."""
    largest = sys.float_info.max
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -largest <= value <= largest


def sort_key(value: object) -> tuple[bool, float, str]:
    """Numbers by size, then text by letters; null first."""
    if value is None:
        return False, -math.inf, ""
    return (False, float(value), "") if is_number(value) else (True, 0.0, str(value))
