"""What the site's build does beyond MkDocs: pages of files at the root, links out of docs/, formulas."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from documentation import mathematics
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
AT_ROOT = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_PAGES = {**AT_ROOT, "README.md": "index.md"}
_NOWHERE = "https://repository.invalid"  # in place of a repository that is not known
_CODE = re.compile(r"(^ *(?:`{3,}|~{3,}).*?^ *(?:`{3,}|~{3,}) *$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#|<)([^)\s#]+)(#[^)\s]*)?")


def on_config(config: MkDocsConfig) -> None:
    """The repository that files outside docs/ are linked in: where GitHub's workflows run, their own."""
    if not config.repo_url and "GITHUB_REPOSITORY" in os.environ:
        config.repo_url = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files at the root of the repository that are pages of the site."""
    for name, page in AT_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave docs/ lead to the page made of that file, or to the file in the repository.

    Where no repository is known (``NC_RUNNER_REPOSITORY``), their text alone is left.
    """
    folder = "" if page.file.src_uri in AT_ROOT.values() else "docs"
    return relinked(markdown, folder, (config.repo_url or _NOWHERE).rstrip("/"))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    html = re.sub(rf'<a href="{_NOWHERE}/[^"]*">(.*?)</a>', r"\1", html, flags=re.DOTALL)
    try:
        return mathematics.rendered(html)
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None


def on_post_build(config: MkDocsConfig) -> None:
    """The font of the formulas, with the characters of all pages."""
    site = Path(config.site_dir)
    pages = (page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
    used = set[str]().union(*map(mathematics.characters, pages))
    mathematics.write_font(site / mathematics.FONT, used)


def relinked(markdown: str, folder: str, repository: str) -> str:
    """The Markdown of a file in ``folder`` of the repository, with links as the site needs them.

    >>> relinked("[a](../conf/net) [b](data.md) `[c](../x)`", "docs", "https://host/project")
    '[a](https://host/project/tree/main/conf/net) [b](data.md) `[c](../x)`'
    >>> relinked("[a](docs/data.md#x) [b](SECURITY.md)", "", "https://host/project")
    '[a](data.md#x) [b](security.md)'
    """

    def link(match: re.Match[str]) -> str:
        path, anchor = posixpath.normpath(posixpath.join(folder, match[1])), match[2] or ""
        if path.startswith("docs/") and not (ROOT / path).is_dir():
            return path.removeprefix("docs/") + anchor
        if path in _PAGES:
            return _PAGES[path] + anchor
        return f"{repository}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}{anchor}"

    parts = _CODE.split(markdown)  # every second one is code
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))
