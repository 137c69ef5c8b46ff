"""A table of text for terminals of any width and for files: columns that fit, and lines of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

_LEAST_HEADING, _MOST_CELL = 6, 12  # letters that are left where space is short
_LEAST_LEAD = 12


@dataclass(frozen=True)
class Column:
    """``leaves``: its turn to give way where space is short; None: it stays. ``cut``: values may be cut."""

    heading: str
    right: bool = True
    leaves: int | None = None
    cut: bool = False


@dataclass(frozen=True)
class Row:
    """The cells of a line. ``style``: of its styled cell; ``lead``: said instead of the leading cells."""

    cells: Sequence[str]
    style: str = ""
    lead: str | None = None


@dataclass(frozen=True)
class Grid:
    """Columns and rows. ``styled``: the column of which each row has a style; ``leading``: how many lead."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    styled: int = 0
    leading: int = 0

    def fitted(self, width: int | None, indent: int = 0) -> Layout:
        """All columns where no width is given; else those that fit, with narrower gaps and headings."""
        texts = [
            max(map(_length, column), default=0)
            for column in zip(*(row.cells for row in self.rows), strict=True)
        ] or [0] * len(self.columns)
        headings = [_length(column.heading) for column in self.columns]
        whole = list(map(max, headings, texts))
        places = list(range(len(self.columns)))
        layout = Layout(self, tuple(places), tuple(whole), indent=indent)
        if width is None or layout.width <= width:
            return layout
        short = [
            max(text, min(heading, _LEAST_HEADING)) for text, heading in zip(texts, headings, strict=True)
        ]
        least = [min(most, _MOST_CELL) if self.columns[i].cut else most for i, most in enumerate(short)]
        while True:
            for gap, widths in ((2, whole), (1, whole), (2, short), (1, short), (1, least)):
                layout = Layout(self, tuple(places), tuple(widths), gap, indent)
                if layout.width <= width:
                    return layout
            turns = {turn: place for place in places if (turn := self.columns[place].leaves) is not None}
            if not turns:
                return layout
            places.remove(turns[min(turns)])


@dataclass(frozen=True)
class Layout:
    """Which columns of a grid are shown, and how wide each of all is."""

    grid: Grid
    places: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int = 2
    indent: int = 0

    @property
    def width(self) -> int:
        return self.indent + sum(self.widths[i] for i in self.places) + self.gap * (len(self.places) - 1)

    @property
    def hidden(self) -> list[str]:
        """The headings of the columns that are not shown."""
        return [column.heading for i, column in enumerate(self.grid.columns) if i not in self.places]

    def header(self) -> Text:
        """The line of headings."""
        row = Row([column.heading for column in self.grid.columns])
        return Text(self._line(row)[0], style="bold")

    def lines(self) -> Iterator[Text]:
        """A line for each row."""
        for row in self.grid.rows:
            line, start, end = self._line(row)
            text = Text(line)
            if row.style and end > start:
                text.stylize(row.style, start, end)
            yield text

    def plain(self) -> Iterator[str]:
        """The same without styles, the headings first."""
        yield self.header().plain
        for row in self.grid.rows:
            yield self._line(row)[0]

    def _line(self, row: Row) -> tuple[str, int, int]:
        """The text of a row, and where its styled cell begins and ends."""
        parts: list[str] = []
        start = end = 0
        places = self.places
        if row.lead is not None:
            lead = [place for place in places if place < self.grid.leading]
            room = sum(self.widths[i] + self.gap for i in lead) - self.gap
            if room >= _LEAST_LEAD:
                parts.append(_padded(shorten(row.lead, room), room, right=False))
                places = places[len(lead) :]
        between = " " * self.gap
        length = sum(map(len, parts)) + self.indent
        for place in places:
            cell = shorten(row.cells[place], self.widths[place])
            part = _padded(cell, self.widths[place], right=self.grid.columns[place].right)
            if parts:
                length += self.gap
            if place == self.grid.styled:
                start, end = length, length + len(part)
            length += len(part)
            parts.append(part)
        return (" " * self.indent + between.join(parts)).rstrip(), start, end


def shorten(text: str, width: int) -> str:
    """``text`` in at most ``width`` letters, cut in the middle: often only its end, a hash, differs.

    >>> shorten("lr0.0184267-seed0-1f0c3a9b", 20), shorten("label_smoothing", 6)
    ('lr0.0184267…1f0c3a9b', 'label…')
    """
    if _length(text) <= width:
        return text
    end = min(8, width - 12)
    if end < 4 or not text.isascii():  # nothing but a beginning; wide letters are not counted out
        while _length(text) > width - 1:
            text = text[:-1]
        return f"{text}…"
    return f"{text[: width - end - 1]}…{text[len(text) - end :]}"


def printable(text: str) -> str:
    """``text`` without what moves a terminal's cursor, and bytes that are no text: names may contain both."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _length(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _length(text))
    return space + text if right else text + space
