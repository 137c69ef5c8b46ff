"""Checks the spelling of Markdown: English words of pyspellchecker, and those of words.txt beside this file.

Code, formulas, links and words with capitals inside (names, abbreviations) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from spellchecker import SpellChecker

WORDS = Path(__file__).with_name("words.txt")
_NOT_TEXT = re.compile(
    r"^ *(`{3,}).*?^ *\1 *$"  # blocks of code
    r"|<!--.*?-->|<[^>]+>"  # HTML
    r"|\$\$.*?\$\$|\$[^$\n]+\$"  # formulas
    r"|(`+)[^`]+\2"  # code
    r"|(?<=\])\([^)]*\)|https?://\S+"  # where links lead
    r"|^---$.*?^---$",  # what a page says of itself
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"(?<![\w.\\/@-])[^\W\d_]+(?:['’][a-z]+)?(?![\w/\\@]|\.\w)")


def problems(pages: Iterable[Path]) -> list[str]:
    """One line for each word of these Markdown files that may be misspelt."""
    speller = SpellChecker(language="en")
    speller.word_frequency.load_words(WORDS.read_text(encoding="utf-8").lower().split())
    return [
        f"{page.name}:{number}: {word}: misspelt? What is right is a line of scripts/documentation/words.txt"
        for page in pages
        for number, word in unknown(page.read_text(encoding="utf-8"), speller)
    ]


def unknown(text: str, speller: SpellChecker) -> Iterator[tuple[int, str]]:
    """(line, word) of each word that the speller does not know."""
    text = _NOT_TEXT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for number, line in enumerate(text.splitlines(), start=1):
        for word in _WORD.findall(line):
            plain = re.sub(r"['’]s?$", "", word)
            if plain[1:].islower() and not speller.known([plain.lower(), word.lower()]):
                yield number, word
