"""Formulas as MathML when the site is built: no script and no foreign server when a page is opened.

``pymdownx.arithmatex`` finds the formulas of a page; :func:`rendered` turns them into MathML. Browsers draw
MathML with a font that has a MATH table, which many systems lack: :func:`write_font` puts the glyphs that
the site needs, of STIX Two Math (SIL Open Font License), beside the pages.
"""

from __future__ import annotations

import html
import re
from importlib.util import find_spec
from pathlib import Path

from fontTools import subset
from math_core import LatexError, LatexToMathML

FONT = "assets/math.woff"
_FOUND = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_LETTERS = "0123456789+-=()[]{}|,.;:/!<>'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def rendered(page: str) -> str:
    """A page's HTML with its formulas as MathML. Raises ValueError for a formula that is not understood."""
    converter = LatexToMathML(annotation=False, fancy_error=False)

    def one(match: re.Match[str]) -> str:
        tag, latex = match[1], html.unescape(match[2]).strip()
        try:
            mathml = converter.convert_with_local_state(latex, displaystyle=tag == "div")
        except LatexError as error:
            raise ValueError(f"formula {latex}: {error}") from None
        return f'<{tag} class="formula">{mathml}</{tag}>'

    return _FOUND.sub(one, page)


def characters(page: str) -> set[str]:
    """Those in the formulas of a rendered page, and the root sign, which a browser draws for ``<msqrt>``."""
    formulas = re.findall(r"<math.*?</math>", page, re.DOTALL)
    found = {letter for formula in formulas for letter in html.unescape(re.sub(r"<[^>]+>", "", formula))}
    return found | {"√"} if any("<msqrt" in formula or "<mroot" in formula for formula in formulas) else found


def write_font(path: Path, used: set[str]) -> None:
    """The font of formulas with these characters alone, their italics, and their larger forms."""
    options = subset.Options()
    options.flavor = "woff"
    options.layout_features = ["*"]
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]  # the licence among them
    codes = {ord(letter) for letter in used | set(_LETTERS)} | _italics(used | set(_LETTERS))
    font = subset.load_font(_source(), options)
    chooser = subset.Subsetter(options)
    chooser.populate(unicodes=sorted(codes))
    chooser.subset(font)
    path.parent.mkdir(parents=True, exist_ok=True)
    subset.save_font(font, path, options)


def _source() -> Path:
    """The font in the package ziamath, which is not imported."""
    package = find_spec("ziamath")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"


def _italics(letters: set[str]) -> set[int]:
    """The code points of mathematical italics by which browsers draw single letters in ``<mi>``."""
    codes = {0x210E}  # h, which has a place of its own
    for letter in letters:
        for first, start in (("A", 0x1D434), ("a", 0x1D44E), ("Α", 0x1D6E2), ("α", 0x1D6FC)):
            if 0 <= ord(letter) - ord(first) < 26:
                codes.add(start + ord(letter) - ord(first))
    return codes
