"""The site in a browser: nothing leaves it, formulas are drawn, it fits a phone, it is searched."""

import functools
import http.server
import importlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("mkdocs", reason="the extra docs is not installed")

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# What a reader sees of a page, without code and formulas.
PROSE = """() => {
    const page = document.querySelector('.md-content').cloneNode(true);
    page.querySelectorAll('code, pre, math').forEach(part => part.remove());
    return page.textContent;
}"""
WIDTH = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
PICTURES = "() => [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site, built as scripts/docs.sh does: any warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=200, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(built):
    handler = functools.partial(Quiet, directory=built)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None or subprocess.run([program, "--version"], capture_output=True, timeout=60).returncode:
        pytest.skip("no chromium found (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """A page whose requests to other servers, failed requests and errors fail the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong = []
    page.on(
        "request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else wrong.append(r.url)
    )
    page.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    page.close()
    assert wrong == []


def test_all_that_the_site_links_to_and_loads_is_in_it(built, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    assert importlib.import_module("documentation.links").problems(built) == []


def test_every_page_asks_nothing_of_other_servers_draws_its_formulas_and_fits_a_phone(page, address, built):
    formulas = 0
    for file in sorted(built.glob("*.html")):
        if file.name == "404.html":  # its links are absolute: for where the site is published
            continue
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(address + file.name)
        prose = page.evaluate(PROSE)
        assert "$" not in prose, file.name
        assert "\\" not in prose, file.name
        assert page.evaluate(PICTURES) == [], file.name
        drawn = page.locator("math").evaluate_all("all => all.map(m => m.getBoundingClientRect().width)")
        assert all(width > 2 for width in drawn), file.name
        formulas += len(drawn)
        assert page.evaluate(WIDTH) <= 0, file.name
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate(WIDTH) <= 0, f"{file.name} is wider than a phone"
    assert formulas > 300


def test_formulas_are_drawn_with_the_font_that_the_site_brings(page, address):
    page.goto(address + "metrics.html")
    page.evaluate("document.fonts.ready")
    loaded = page.evaluate("[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)")
    assert "STIX Two Math" in [family.strip('"') for family in loaded]


@pytest.mark.parametrize(
    ("words", "file", "place"),
    [
        ("nc3_self_duality", "metrics.html", "nc3_self_duality"),
        ("label_smoothing", "configuration.html", "loss"),
    ],
)
def test_the_search_finds_a_column_and_a_setting(page, address, words, file, place):
    page.goto(address)
    page.locator("input.md-search__input").fill(words)
    result = f".md-search-result__link[href*='/{file}'][href*='#{place}']"
    page.locator(result).first.wait_for(state="attached", timeout=30_000)


def test_a_place_on_a_page_of_the_reference_is_what_a_link_shows(page, address):
    page.goto(address + "metrics.html#nc1_cdnv")
    assert page.locator("#nc1_cdnv").is_visible()
    top = page.locator("#nc1_cdnv").bounding_box()["y"]
    assert 0 <= top < 300


def test_code_has_a_button_that_copies_it(page, address):
    page.goto(address + "quickstart.html")
    page.locator("pre .md-code__button, .md-code__button[title]").first.wait_for(state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_pictures_stay_on_white(browser, address, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto(address + "experiments.html")
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [float(level) for level in body.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (sum(levels) < 200) == (scheme == "dark"), body
    picture = page.locator(".md-content img").first
    assert picture.evaluate("image => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"
    page.close()
