"""Writes the pages of docs/ that are made from the code, or checks a built site.

    python scripts/docs.py            docs/configuration.md, and parts of docs/metrics.md
    python scripts/docs.py SITE       checks the site in that folder, and the spelling of all Markdown

A test fails where the pages are not current. scripts/docs.sh does it all.
"""

from __future__ import annotations

import sys
from pathlib import Path

from documentation import configuration, links, metrics, spelling

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def pages() -> dict[Path, str]:
    """The text that each page should have."""
    reference = DOCS / "metrics.md"
    return {
        DOCS / "configuration.md": configuration.page(),
        reference: metrics.with_reference(reference.read_text(encoding="utf-8")),
    }


def write() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


def check(site: Path) -> int:
    """The exit code: 0 where nothing is wrong."""
    markdown = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
    found = [*links.problems(site.resolve()), *spelling.problems(markdown)]
    print("\n".join(found) or f"docs: links of {site}/ and spelling of {len(markdown)} files are in order")
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(check(Path(sys.argv[1])))
    write()
