"""Checks a built site: what it links to and loads is in it, anchors too; nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
_NOT_LOADED = ("canonical", "prev", "next", "alternate")  # kinds of <link> that fetch nothing


@dataclass
class Page(HTMLParser):
    """What one page links to, what it loads, and the anchors in it."""

    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        address = given.get(_LOADED.get(tag, ""), "")
        if address and not (tag == "link" and given.get("rel") in _NOT_LOADED):
            self.loads.append(address)


def problems(site: Path) -> list[str]:
    """One line for each link that leads nowhere, and for each thing that would be loaded from elsewhere."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loads:
            if urlsplit(address).netloc:
                found.append(f"{name} loads {address}")
        for address in (*page.links, *page.loads):
            parts = urlsplit(address)
            if parts.scheme in ("http", "https", "mailto", "data") or parts.netloc:
                continue
            target = _target(site, path, unquote(parts.path))
            if not target.exists():
                found.append(f"{name} links to {address}: there is no such page or file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} links to {address}: there is no such place on that page")
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(site)} loads {address}")
    return list(dict.fromkeys(found))


def _target(site: Path, page: Path, path: str) -> Path:
    if not path:
        return page
    target = (site / path.lstrip("/") if path.startswith("/") else page.parent / path).resolve()
    return target / "index.html" if target.is_dir() else target
