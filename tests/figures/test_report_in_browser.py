"""report.html in a real browser without network: Debian's chromium, or another of its kind, headless."""

import gzip
import io
import json
import shutil
import subprocess

import pandas as pd
import pytest
from helpers.drawn import names_of
from helpers.synthetic import write_run

from nc_runner.commands import plot
from nc_runner.figures.report_runs import short_folders, tidy_table
from nc_runner.figures.summary import by_cell, summarise
from nc_runner.runs.reader import find_runs, read_run
from nc_runner.runs.record import RUN_FILE

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

HOSTILE = "</script><img src=x onerror=alert(1)>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _browser_program():
    for name in BROWSERS:
        path = shutil.which(name)
        # Ubuntu's chromium-browser may be a stub that only says how to install it
        if path and subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def browser():
    program = _browser_program()
    if program is None:
        pytest.skip("no chromium found (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as tools:
        # without its sandbox, which containers often forbid: it sees only pages made here
        browser = tools.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Runs of two networks and losses, one cut short, one without rows, one whose names are markup."""
    root = tmp_path_factory.mktemp("outputs")
    write_run(root, "resnet18", "mnist", "mse", epochs=12)
    write_run(root, "resnet8", "mnist", "mse", epochs=12, seed=1, change={"nc1": 9.0})
    write_run(root, "resnet8", "mnist", "ce", epochs=12, change={"train_accuracy": 0.5, "nc1": 2e-5})
    write_run(root, "resnet8", "cifar10", "ce", epochs=12, rows=0, state="running")
    folder = write_run(root, "resnet8", "mnist", epochs=12, rows=5, state="failed", change={"nc1": 100.0})
    record = json.loads((folder / RUN_FILE).read_text())
    record["settings"] |= {"net": {"name": HOSTILE}, "data": {"name": HOSTILE}, "epochs": HOSTILE}
    (folder / RUN_FILE).write_text(json.dumps(record | {"reason": HOSTILE, HOSTILE: HOSTILE}))
    folder.rename(root / HOSTILE.replace("/", "∕"))
    assert plot.main([str(root), "--html", "--format", "svg"]) == 0
    return root


@pytest.fixture(scope="module")
def runs(outputs):
    return by_cell([read_run(folder) for folder in find_runs([outputs])])


class Visit:
    """A page opened without network, and all that went wrong with it."""

    def __init__(self, browser, outputs, **options):
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.wrong, self.asked = [], []
        self.page.on("console", lambda message: self.wrong.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        self.page.on("dialog", lambda box: (self.wrong.append(f"said: {box.message}"), box.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto((outputs / "figures" / "report.html").as_uri())


@pytest.fixture(scope="module")
def visit(browser, outputs):
    visit = Visit(browser, outputs, viewport={"width": 1280, "height": 900})
    yield visit
    visit.context.close()


@pytest.fixture
def page(visit):
    """The page, which the tests share: loading it is what takes time. Nothing may go wrong in any of them."""
    visit.page.locator("details.fold").evaluate_all("(all) => all.forEach((one) => (one.open = true))")
    yield visit.page
    visit.page.locator("dialog").evaluate_all("(all) => all.forEach((one) => one.close())")
    assert visit.wrong == []
    assert [url for url in visit.asked if not url.startswith(("data:", "blob:"))] == visit.asked[:1]


def column(page, heading):
    """The texts of a column of the table of runs, from the top."""
    i = page.locator("table.runs thead th").evaluate_all(
        "(all, name) => all.findIndex((th) => th.title === name)", heading
    )
    return page.locator(f"table.runs tbody tr > :nth-child({i + 1})").all_inner_texts()


def heading(page, name):
    return page.locator(f'table.runs thead th[title="{name}"]')


def test_every_figure_is_there_and_its_image_loads(page, runs):
    sizes = page.locator("figure img").evaluate_all(
        "(all) => Promise.all(all.map((img) => img.decode().then(() => [img.naturalWidth, img.alt])))"
    )
    drawn = [run for run in runs if len(run.rows)]
    assert len(sizes) == len(names_of(drawn))
    assert all(width > 0 for width, _ in sizes)
    assert [alt for _, alt in sizes if alt.startswith("NC1")] == ["NC1: variability collapse"]


def test_hostile_names_are_shown_as_text_and_run_nothing(page):
    assert page.locator("img[onerror], img:not([src]):not(dialog img), img[src=x]").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("td", has_text=HOSTILE).count() > 2
    page.get_by_role("button", name="Open all").click()
    record = page.locator("details.record", has_text=HOSTILE)
    assert (
        record.locator("tr", has=page.locator("th", has_text="reason")).locator("td").inner_text() == HOSTILE
    )
    assert HOSTILE in record.locator("tr", has=page.locator("th", has_text="net.name")).inner_text()


def test_the_security_policy_stops_a_script_that_got_in_all_the_same(browser, outputs):
    visit = Visit(browser, outputs)
    visit.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = 1";
          document.body.append(script);
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=alert(1)>");
          document.body.insertAdjacentHTML("beforeend", "<p onclick='window.ran = 1' id=stranger>p</p>");
          document.getElementById("stranger").click();
        }"""
    )
    visit.page.wait_for_timeout(100)
    assert visit.page.evaluate("window.ran") is None
    assert not any(line.startswith("said") for line in visit.wrong)
    assert len([line for line in visit.wrong if "Content Security Policy" in line]) >= 3
    visit.context.close()


def test_a_heading_sorts_by_numbers_with_missing_ones_last(page, runs):
    numbers = [summarise(run)["nc1"] for run in runs]
    present = sorted(number for number in numbers if number is not None)
    absent = ["–"] * (len(numbers) - len(present))
    assert absent
    assert present != [number for number in numbers if number is not None]
    button = heading(page, "nc1").get_by_role("button")
    button.click()
    assert heading(page, "nc1").get_attribute("aria-sort") == "ascending"
    assert column(page, "nc1") == [f"{number:.3g}" for number in present] + absent
    button.press("Enter")
    assert heading(page, "nc1").get_attribute("aria-sort") == "descending"
    assert column(page, "nc1") == [f"{number:.3g}" for number in present[::-1]] + absent
    assert "NC1" in page.get_by_role("status").inner_text()


def test_a_heading_sorts_words_as_people_do(page):
    heading(page, "nc1").get_by_role("button").click()
    heading(page, "net").get_by_role("button").click()
    names = column(page, "net")
    assert [name.strip() for name in names[-4:]] == ["ResNet8", "ResNet8", "ResNet8", "ResNet18"]
    assert heading(page, "nc1").get_attribute("aria-sort") is None


def test_a_column_can_be_shown_and_hidden(page):
    assert not heading(page, "mse_perp").is_visible()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("mse_perp", exact=True).check()
    assert heading(page, "mse_perp").is_visible()
    page.get_by_label("NC3", exact=True).uncheck()
    assert not heading(page, "nc3_self_duality").is_visible()


def test_the_filter_leaves_the_runs_that_have_all_words(page, runs):
    field = page.get_by_role("searchbox", name="Filter")
    field.fill("resnet8 ce")
    expected = sum(run.cell[::2] == ("resnet8", "ce") for run in runs)
    assert page.locator("table.runs tbody tr:not([hidden])").count() == expected
    assert page.get_by_text(f"{expected} of {len(runs)} runs").is_visible()
    field.fill("")
    assert page.locator("table.runs tbody tr:not([hidden])").count() == len(runs)


def test_two_runs_are_compared_side_by_side(page):
    button = page.get_by_role("button", name="Compare two")
    assert button.is_disabled()
    boxes = page.locator("table.runs input")
    for i in range(3):  # of three, the first is let go
        boxes.nth(i).check()
    assert [box.is_checked() for box in boxes.all()][:3] == [False, True, True]
    button.click()
    sheet = page.get_by_role("dialog")
    assert "Seed" in sheet.inner_text()
    rows = sheet.locator("tr.differs")
    assert rows.count() > 3
    page.keyboard.press("Escape")
    for i in (1, 2):
        boxes.nth(i).uncheck()
    assert button.is_disabled()


def test_a_claim_opens_to_the_verdicts_of_its_runs_and_a_run_leads_to_its_settings(page):
    claim = page.get_by_role("button", name="NC1 falls over training")
    verdicts = page.locator(f"#{claim.get_attribute('aria-controls')}")
    assert not verdicts.is_visible()
    claim.press("Enter")
    assert claim.get_attribute("aria-expanded") == "true"
    page.locator("details.record").evaluate_all("(all) => all.forEach((one) => (one.open = false))")
    verdicts.get_by_role("link", name="ResNet18 on MNIST, MSE").click()
    assert page.locator("details.record[open]").count() == 1
    assert "resnet18" in page.locator("details.record[open]").inner_text()
    claim.press("Enter")
    assert not verdicts.is_visible()


def test_the_viewer_opens_zooms_goes_on_and_closes_by_keys(page):
    figures = page.locator("figure button")
    viewer, picture = page.get_by_role("dialog"), page.locator("dialog img")
    figures.nth(0).focus()
    page.keyboard.press("Enter")
    heading = viewer.get_by_role("heading")
    first = figures.first.locator("img").get_attribute("alt")
    playwright.expect(heading).to_have_text(first)
    width = picture.bounding_box()["width"]
    for key, factor in (("+", 1.4), ("+", 1.4**2), ("-", 1.4), ("0", 1)):
        page.keyboard.press(key)
        assert picture.bounding_box()["width"] == pytest.approx(factor * width, rel=0.02)
    page.keyboard.press("ArrowRight")
    playwright.expect(heading).to_have_text(figures.nth(1).locator("img").get_attribute("alt"))
    page.keyboard.press("ArrowLeft")
    playwright.expect(heading).to_have_text(first)
    page.keyboard.press("ArrowLeft")
    last = figures.last.locator("img").get_attribute("alt")
    playwright.expect(heading).to_have_text(last)
    assert picture.evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 0
    page.keyboard.press("Escape")
    playwright.expect(viewer).to_be_hidden()
    # the browser gives the focus back to the first figure before the page moves it on
    page.wait_for_function("(alt) => document.activeElement.querySelector('img')?.alt === alt", arg=last)


def test_the_viewer_zooms_at_the_pointer_and_is_moved_by_dragging(page):
    page.locator("figure button").nth(2).click()
    stage, picture = page.locator(".stage"), page.locator("dialog img")
    box = stage.bounding_box()
    x, y = box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"]
    page.mouse.move(x, y)
    before = picture.bounding_box()
    page.mouse.wheel(0, -600)
    page.wait_for_function("document.querySelector('dialog [data-do=fit]').textContent !== '100 %'")
    after = picture.bounding_box()
    assert after["width"] > 2 * before["width"]
    for low, size, at in (("x", "width", x), ("y", "height", y)):
        shares = [(at - place[low]) / place[size] for place in (before, after)]
        assert shares[0] == pytest.approx(shares[1], abs=0.01)
    page.mouse.down()
    page.mouse.move(x - 50, y - 30)
    page.mouse.up()
    moved = picture.bounding_box()
    assert (moved["x"] - after["x"], moved["y"] - after["y"]) == pytest.approx((-50, -30), abs=2)
    page.get_by_role("button", name="Close", exact=True).click()


def test_the_download_is_the_table_of_all_rows(page, runs):
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the table").press("Enter")
    assert download.value.suggested_filename == "rows.csv"
    expected = tidy_table(runs, short_folders([run.folder for run in runs]))
    assert len(expected) == 41
    got = download.value.path().read_bytes()
    assert got.decode() == expected.to_csv(index=False, lineterminator="\n")
    read = pd.read_csv(io.BytesIO(got))
    pd.testing.assert_series_equal(read["nc1"], expected["nc1"], rtol=1e-15)
    assert HOSTILE in set(read["net"])


def test_a_browser_that_cannot_unpack_gets_the_table_gzipped(browser, outputs, runs):
    visit = Visit(browser, outputs, java_script_enabled=False)
    visit.page.get_by_role("heading", name="All rows").click()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="Download the table").click()
    assert download.value.suggested_filename == "rows.csv.gz"
    expected = tidy_table(runs, short_folders([run.folder for run in runs]))
    text = gzip.decompress(download.value.path().read_bytes()).decode()
    assert text == expected.to_csv(index=False, lineterminator="\n")
    assert visit.page.locator("tr.more").first.is_visible()  # all verdicts, with nothing to fold them
    visit.context.close()


def test_a_phone_needs_no_sideways_scrolling_of_the_page(browser, outputs):
    visit = Visit(browser, outputs, viewport={"width": 390, "height": 844}, is_mobile=True)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    visit.page.get_by_role("button", name="Show every verdict").click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    assert visit.page.get_by_role("row", name="NC1 falls over training").is_visible()
    visit.context.close()
    assert visit.wrong == []


def test_dark_and_paper_keep_the_text_readable(browser, outputs):
    """The contrast of text and ground, by the formula of WCAG 2: at least 4.5, on paper black on white."""
    contrast = """() => {
      const light = (colour) => {
        const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((c) => c / 255)
          .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = light(getComputedStyle(document.body).backgroundColor);
      return ["h1", ".note", "nav a", ".holds", ".fails", ".inconclusive"].map((name) => {
        const text = light(getComputedStyle(document.querySelector(name)).color);
        return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
      });
    }"""
    visit = Visit(browser, outputs)
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        assert min(visit.page.evaluate(contrast)) >= 4.5
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert visit.page.evaluate(contrast)[0] == 21
    assert not visit.page.get_by_role("link", name="Download the table").is_visible()
    assert visit.page.locator("figure img").first.is_visible()
    visit.context.close()
