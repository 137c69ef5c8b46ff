"""The reference of docs/metrics.md, made from the registry of columns, ``nc_runner.columns``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nc_runner.columns import ASKED_COLUMNS, GROUPS, LAYER_COLUMNS, OOD_COLUMN, WIDER_COLUMNS, Column
from nc_runner.columns.sources import SOURCES

TITLES = {
    "training": "Training and test",
    "collapse": "Collapse, NC1 to NC4",
    "decomposition": "Decomposition of the MSE loss",
    "spectrum": "Signal-to-noise spectrum",
    "times": "Times",
    "variability": "More of NC1",
    "geometry": "More of NC2, NC3 and NC4",
    "sizes": "Sizes and ranks",
    "minority": "Classes of unequal size",
    "asked": "Robustness and batch norm",
    "layers": "Inner layers",
}
_SYMBOLS = {
    "mu_G": r"\mu_G",
    "V_LS": r"V_{LS}",
    "L_NC1": "L_{NC1}",
    "L_NC2/3": "L_{NC2/3}",
    "L_perp": r"L_\perp",
    "H_c": "H_c",
    "W = 0": "W = 0",
    "W M = 0": "W M = 0",
    "V = V_LS": "V = V_{LS}",
    "V_LS = 0": "V_{LS} = 0",
    "C - 1": "C - 1",
    "j = 1 ... C-1": r"j = 1, \dots, C-1",
    "1/sqrt(C)": r"1/\sqrt{C}",
    "-1/(C-1)": "-1/(C-1)",
    "M y": "M y",
}
_SYMBOL = re.compile("|".join(rf"(?<![\w`]){re.escape(s)}(?!\w)" for s in sorted(_SYMBOLS, key=len)[::-1]))
_NAMES = {column.name for group in GROUPS.values() for column in group}
_PART = re.compile(r"<!-- (index|reference|sources) -->\n(?:.*\n)*?<!-- end -->")


def with_reference(text: str) -> str:
    """The page with its generated parts anew, each between ``<!-- NAME -->`` and ``<!-- end -->``."""
    parts = {"index": _index, "reference": _reference, "sources": _sources}
    return _PART.sub(lambda part: f"<!-- {part[1]} -->\n{parts[part[1]]()}\n<!-- end -->", text)


def _index() -> str:
    rows = [("| group | columns |"), "| --- | --- |"]
    for key, columns in GROUPS.items():
        names = ", ".join(f"[`{column.name}`](#{column.name})" for column in columns)
        rows.append(f"| [{TITLES[key]}](#{_anchor(TITLES[key])}) | {names} |")
    return "\n".join(rows)


def _reference() -> str:
    sections = []
    for key, columns in GROUPS.items():
        sections += [f"## {TITLES[key]}", *map(_entry, columns)]
    return "\n\n".join(sections)


def _entry(column: Column) -> str:
    meaning = _typeset(column.meaning)
    meaning = meaning if meaning[0] in "$[`" else meaning[0].upper() + meaning[1:]
    lines = [f"### `{column.name}`", "", f"{meaning}.", ""]
    if column.latex:
        lines += ["$$", column.latex, "$$", ""]
    lines += ["| | |", "| --- | --- |"]
    lines += [f"| **{name}** | {text} |" for name, text in _properties(column)]
    return "\n".join(lines)


def _properties(column: Column) -> Iterator[tuple[str, str]]:
    if column.collapse:
        value = "∞" if column.collapse == "inf" else _typeset(column.collapse)
        yield "At collapse", value
    if column.nan:
        yield "NaN when", _typeset(column.nan)
    if column.traps:
        yield "Traps", column.traps
    if column.source:
        yield "Source", "; ".join(f"[{name}]({SOURCES[name].link})" for name in column.source.split("; "))
    yield "Written", _where(column.name)


def _where(name: str) -> str:
    also = f"; `layers.csv`{'' if name == 'epoch' else ', of the layer’s features'}"
    also = also if name in LAYER_COLUMNS else ""
    if name == OOD_COLUMN:
        return "with `analysis.metrics` and `analysis.ood`"
    if name in WIDER_COLUMNS:
        return f"with `analysis.metrics`{also}"
    if name in ASKED_COLUMNS:
        return "with `analysis.robustness`" if name == "robustness" else "with `analysis.batchnorm=both`"
    if name in LAYER_COLUMNS and name in {column.name for column in GROUPS["layers"]}:
        return "`layers.csv`, with `analysis.layers`"
    return f"in every run{also}"


def _sources() -> str:
    return "\n".join(
        f"- **{name}**: {source.authors}. [{source.title}]({source.link}). {source.where}."
        for name, source in SOURCES.items()
    )


def _typeset(text: str) -> str:
    """Text of the registry with its symbols as formulas and the names of columns as links.

    >>> _typeset("mse_ls where the mean is mu_G")
    '[`mse_ls`](#mse_ls) where the mean is $\\\\mu_G$'
    """
    text = _SYMBOL.sub(lambda found: f"${_SYMBOLS[found[0]]}$", text)
    return re.sub(r"(?<![\w`$#])\w*\d?_?\w+(?![\w`])", _linked, text)


def _linked(word: re.Match[str]) -> str:
    name = word[0]
    plain = name not in _NAMES or ("_" not in name and name != "nc1")
    return name if plain else f"[`{name}`](#{name})"


def _anchor(title: str) -> str:
    """The anchor of a heading, on the site as on the code host.

    >>> _anchor("More of NC2, NC3 and NC4")
    'more-of-nc2-nc3-and-nc4'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
