"""What a measurement gives: a row, inner layers, cautions; printed as a table in a terminal or a notebook."""

from __future__ import annotations

import html
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nc_runner.columns import describe

LayerRow: TypeAlias = "dict[str, float | str]"

_HEADS = ("column", "value", "at collapse", "meaning")
_WIDTH = 120  # of the table that is printed


@dataclass(frozen=True)
class Measurement:
    """A row's measured columns, and the lines of ``layers.csv``.

    In a run, training adds epoch, lr and times. ``cautions``: what to beware of in reading the numbers.
    ``title``: what was measured, in a line.
    """

    row: dict[str, float]
    layers: list[LayerRow]
    cautions: tuple[str, ...] = ()
    title: str = ""

    def lines(self) -> list[tuple[str, ...]]:
        """(column, value, value at collapse, meaning) of the row, without what is not known.

        Of the signal-to-noise spectrum the largest and the smallest.
        """
        snr = [name for name in self.row if name.startswith("snr_")]
        lines: list[tuple[str, ...]] = []
        for name, value in self.row.items():
            if math.isnan(value) or name in snr[1:-1]:
                continue
            try:
                column = describe(name)
                at_collapse, meaning = column.collapse, column.meaning
            except ValueError:
                at_collapse, meaning = "", "custom metric"
            lines.append((name, _shown(value), at_collapse, meaning))
        return lines

    def layer_lines(self) -> list[tuple[str, ...]]:
        """The lines of the inner layers, as text."""
        return [tuple(_shown(value) for value in layer.values()) for layer in self.layers]

    def __str__(self) -> str:
        parts = [self.title] if self.title else []
        parts.append(_text(_HEADS, self.lines(), numbers=(1,), width=_WIDTH))
        if self.layers:
            heads = list(self.layers[0])
            parts.append(_text(heads, self.layer_lines(), numbers=range(1, len(heads)), width=2 * _WIDTH))
        parts += [textwrap.fill(f"caution: {caution}", _WIDTH) for caution in self.cautions]
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        """For notebooks."""
        parts = [f"<p>{html.escape(self.title)}</p>"] if self.title else []
        parts.append(_html(_HEADS, self.lines()))
        if self.layers:
            parts.append(_html(list(self.layers[0]), self.layer_lines()))
        parts += [f"<p><b>caution:</b> {html.escape(caution)}</p>" for caution in self.cautions]
        return "\n".join(parts)


def _shown(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(heads: Sequence[str], lines: Sequence[Sequence[str]], numbers: Sequence[int], width: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for place, head in enumerate(heads):
        last = place == len(heads) - 1
        table.add_column(head, justify="right" if place in numbers else "left", no_wrap=not last)
    for line in lines:
        table.add_row(*map(Text, line))  # as it is: a custom metric's or layer's name is no markup
    console = Console(file=io.StringIO(), width=width, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _html(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    import pandas as pd

    table: str = pd.DataFrame(lines, columns=list(heads)).to_html(index=False, border=0, justify="left")
    return table
