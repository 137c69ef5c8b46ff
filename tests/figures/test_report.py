"""report.html as text: what is in it, and that names from disk cannot become markup."""

import base64
import gzip
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from helpers.drawn import jobs_of
from helpers.synthetic import write_run

from nc_runner.figures import report
from nc_runner.figures.claims import ORDER
from nc_runner.figures.judging import INCONCLUSIVE, judge, overall
from nc_runner.figures.report_runs import IDENTITY, entries, short_folders, tidy_table
from nc_runner.figures.summary import by_cell, summarise
from nc_runner.runs import flows
from nc_runner.runs.reader import read_run
from nc_runner.runs.record import METRICS_FILE, RUN_FILE

HOSTILE = "</script><img src=x onerror=alert(1)>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 244.8 190.4"/>'


class Page(HTMLParser):
    """The tags and texts of a page, as a browser without its script sees them."""

    VOID = ("meta", "link", "img", "input", "use", "path", "circle")

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(*folders):
    return by_cell([read_run(folder) for folder in folders])


def page_of(runs, tmp_path, flows=(), pictures=()):
    folder = tmp_path / "pictures"
    folder.mkdir(exist_ok=True)
    for name in pictures:
        (folder / f"{name}.svg").write_bytes(SVG)
    return report.render(report.Content(runs, flows, judge(runs), jobs_of(runs), folder))


def table_in(page):
    (link,) = [attributes for attributes in page.of("a") if attributes.get("id") == "download"]
    packed = base64.b64decode(link["href"].split(",", 1)[1])
    return gzip.decompress(packed).decode()


def test_the_head_says_what_was_run_and_when(tmp_path):
    runs = read(
        write_run(tmp_path, "vgg11", "mnist", epochs=4),
        write_run(tmp_path, "resnet18", "mnist", "ce", epochs=4, rows=2, state="interrupted"),
        write_run(tmp_path, "resnet18", "cifar10", epochs=4),
    )
    runs[0].content |= {"started": "2026-03-01T23:00:00+00:00", "ended": "2026-03-02T01:00:00+00:00"}
    runs[1].content["started"] = "soon"
    text = Page(page_of(runs, tmp_path)).text
    for words in (
        "Neural Collapse in 3 runs",
        "Networks VGG11, ResNet18",
        "Data MNIST, CIFAR10",
        "Losses MSE, CE",
        "State 2 complete, 1 interrupted",
        "Trained 2026-03-01 to 2026-03-02",
    ):
        assert words in text


def test_every_claim_stands_with_its_verdict_and_those_of_its_runs(tmp_path):
    runs = read(*(write_run(tmp_path, loss=loss, seed=seed) for loss in ("mse", "ce") for seed in (0, 1)))
    judgements = judge(runs)
    text = Page(page_of(runs, tmp_path)).text
    assert len(overall(judgements)) == len(ORDER) - 1  # the runs have no robustness
    for over in overall(judgements):
        start = text.index(f" {over.claim.statement} ")
        row = text[start : start + 400]
        mine = [j for j in judgements if j.claim.key == over.claim.key]
        many = f"{over.holds} of {len(mine)} {'hold' if over.holds != 1 else 'holds'}"
        assert row.startswith(f" {over.claim.statement} {over.verdict} {many}")
        assert f"{over.median:.3g}" in row
        assert f"{over.claim.number}: {over.claim.holds_if}" in row
    for judgement in judgements:
        assert f"{judgement.verdict} {judgement.number:.3g} {judgement.reason}" in text


def test_inconclusive_claims_give_the_reason(tmp_path):
    runs = read(write_run(tmp_path, rows=3, state="running"))
    page = Page(page_of(runs, tmp_path))
    assert "These runs are inconclusive for all claims" in page.text
    assert all(over.verdict == INCONCLUSIVE for over in overall(judge(runs)))
    assert page.text.count("the run is running, at epoch 3 of 350") >= len(judge(runs))


def test_the_table_of_runs_has_every_column_of_the_summary_and_shows_some(tmp_path):
    runs = read(
        write_run(tmp_path, epochs=5, wider=("nc1_cdnv",), change={"nc1_cdnv": 0.25}),
        write_run(tmp_path, epochs=5, seed=1, rows=0, state="running"),
    )
    page = Page(page_of(runs, tmp_path))
    headings = [a for a in page.of("th") if a.get("title")]
    assert {a["title"] for a in headings} == {key for run in runs for key in summarise(run)}
    shown = {a["title"] for a in headings if "hidden" not in a}
    assert {"net", "lr", "seed", "state", "test_accuracy", "nc1"} < shown
    assert not {"data", "loss"} & shown  # the same in all runs: in the head of the page
    assert "nc1_cdnv" not in shown
    cells = [a for tag, a in page.tags if tag in ("th", "td") and "data-value" in a]
    assert len(cells) == 2 * len(headings)
    values = [a["data-value"] for a in cells]
    first = dict(zip([a["title"] for a in headings], values, strict=False))
    second = dict(zip([a["title"] for a in headings], values[len(headings) :], strict=True))
    assert float(first["nc1"]) == runs[0].rows["nc1"].iloc[-1]
    assert first["nc1_cdnv"] == "0.25"
    assert second["nc1"] == second["nc1_cdnv"] == ""
    assert f"{100 * runs[0].rows['test_accuracy'].iloc[-1]:.2f}" in page.text


def test_l_perp_over_l_ls_is_shown_only_for_runs_trained_with_mse(tmp_path):
    change = {"mse_perp": 3e3, "mse_ls": 1.0}
    runs = read(*(write_run(tmp_path, loss=loss, epochs=2, change=change) for loss in ("mse", "ce")))
    page = Page(page_of(runs, tmp_path))
    headings = [a["title"] for a in page.of("th") if a.get("title")]
    values = [a["data-value"] for tag, a in page.tags if tag in ("th", "td") and "data-value" in a]
    place = headings.index("perp_over_ls")
    assert (values[place], values[len(headings) + place]) == ("3000.0", "")


def test_the_figures_are_in_the_page_in_the_order_of_the_catalogue(tmp_path):
    runs = read(write_run(tmp_path, epochs=3))
    page = Page(page_of(runs, tmp_path, pictures=("nc1", "train_loss", "flow_ratios", "stranger")))
    images = [a for a in page.of("img") if a.get("src")]
    assert [a["alt"] for a in images] == [
        "Training loss",
        "NC1: variability collapse",
        "SNR spectrum relative to its largest value",
    ]
    for image in images:
        assert base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")) == SVG
        assert (image["width"], image["height"]) == ("245", "191")


def test_settings_have_dotted_names_and_what_all_runs_have_stands_once(tmp_path):
    runs = read(write_run(tmp_path, epochs=3), write_run(tmp_path, epochs=3, lr=0.1))
    for run in runs:
        run.content |= {"versions": {"torch": "2.9"}, "pid": run.lr, "seconds": 1234.5678}
    text = page_of(runs, tmp_path)
    common, *own = text.split('<details class="record"')
    pattern = r'<tr><th scope="row">([^<]+)</th><td>([^<]*)</td></tr>'
    rows = re.findall(pattern, common)
    assert {("analysis.ridge", "objective"), ("torch", "2.9"), ("seconds", "1235")} <= set(rows)
    assert len({key for key, _ in rows}) == len(rows)
    for part, lr in zip(own, ("0.05", "0.1"), strict=True):
        assert set(re.findall(pattern, part)) == {("lr", lr), ("pid", lr)}


def test_a_record_is_grouped_and_nothing_of_it_is_lost():
    nested = {"a": {"b": {"c": [1, None]}}, "empty": {}}
    record = {"format": 1, "deciding": {"x": 1}, "settings": nested, "versions": "odd", "new": {"key": True}}
    assert entries(record) == {
        "Settings": {"a.b.c": "[1, null]", "empty": "{}"},
        "Versions": {"versions": "odd"},
        "Run": {"new.key": "true"},
    }
    deep = {}
    for _ in range(5000):
        deep = {"k": deep}
    assert len(entries({"settings": deep})["Settings"]) == 1


def test_the_download_is_every_row_of_every_run_with_all_digits(tmp_path):
    runs = read(
        write_run(tmp_path, "vgg11", epochs=40),
        write_run(tmp_path, "resnet8", epochs=30, num_classes=4, change={"nc1": math.nan, "snr_1": math.inf}),
        write_run(tmp_path, "resnet8", seed=1, rows=0, state="running"),
        write_run(tmp_path, "resnet8", seed=2, epochs=3, wider=("nc1_cdnv",), change={"nc1_cdnv": 1 / 3}),
    )  # fmt: skip
    text = table_in(Page(page_of(runs, tmp_path)))
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert list(table.columns[: len(IDENTITY)]) == list(IDENTITY)
    assert len(table) == 73
    names = short_folders([run.folder for run in runs])
    assert set(table["folder"]) == {names[run.folder] for run in runs if len(run.rows)}
    for run in runs:
        mine = table[table["folder"] == names[run.folder]]
        for column in run.rows:
            np.testing.assert_array_equal([float(text or "nan") for text in mine[column]], run.rows[column])
        absent = set(table.columns) - set(run.rows.columns) - set(IDENTITY)
        assert (mine[list(absent)] == "").all().all()
        if len(mine):
            assert set(mine["run_lr"]) == {"0.05"}
            assert set(mine["net"]) == {run.cell[0]}


def test_a_column_named_like_the_runs_own_does_not_take_its_place(tmp_path):
    folder = write_run(tmp_path, epochs=2)
    table = folder / METRICS_FILE
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},net,</script>", *(f"{row},1,2" for row in rows)]) + "\n")
    (run,) = read(folder)
    tidy = tidy_table([run], short_folders([run.folder]))
    assert list(tidy["net"]) == ["resnet8", "resnet8"]
    Page(page_of([run], tmp_path))


def test_what_varies_is_a_column_and_part_of_each_runs_name(tmp_path):
    runs = read(write_run(tmp_path, epochs=3), write_run(tmp_path, epochs=3, seed=1))
    for run, decay in zip(runs, (1e-3, 5e-4), strict=True):
        run.settings["weight_decay"] = decay
    page = Page(page_of(runs, tmp_path))
    assert "weight_decay" in [a["title"] for a in page.of("th") if a.get("title") and "hidden" not in a]
    assert "Varied weight_decay (2 values), seed (2 values)" in page.text
    assert "ResNet8 on Digits, MSE, lr 0.05, weight_decay 0.001, seed 0" in page.text


def test_a_page_of_very_many_runs_lists_less_of_each_and_stays_small(tmp_path):
    runs = read(*(write_run(tmp_path, seed=seed, epochs=25) for seed in range(70)))
    for run in runs[:50]:
        run.rows["nc1"] = 1.0
    text = page_of(runs, tmp_path)
    page = Page(text)
    assert "20 of 70 hold 50 fail" in page.text
    assert "and 40 more: claims.csv has all" in page.text
    assert len([a for a in page.of("th") if a.get("title")]) < 20
    assert len(text) < 1_500_000


def test_rows_that_are_too_many_for_a_page_are_left_to_python(tmp_path, monkeypatch):
    runs = read(write_run(tmp_path, epochs=5))
    held = Page(page_of(runs, tmp_path))
    assert "5 rows of" in held.text
    monkeypatch.setattr(report, "_MOST_VALUES", runs[0].rows.size - 1)
    monkeypatch.setattr(report, "packed", None)  # nor are they packed in vain
    left = Page(page_of(runs, tmp_path))
    assert "5 rows are too many for a page. In Python, nc_runner.read_runs(FOLDER) gives them" in left.text
    assert not [a for a in left.of("a") if a.get("id") == "download"]
    assert [a for a in held.of("a") if a.get("id") == "download"]


def test_the_page_begins_with_the_runs_and_an_overview_and_the_rest_is_folded(tmp_path):
    text = page_of(read(write_run(tmp_path, epochs=3)), tmp_path, pictures=("nc1", "overview", "train_loss"))
    order = [
        text.index(f'<section id="{name}"') for name in ("runs", "lead", "claims", "figures", "settings")
    ]
    assert order == sorted(order)
    assert order[1] < text.index('alt="ResNet8 on Digits"') < order[2]
    assert order[3] < text.index('alt="NC1: variability collapse"') < order[4]
    assert order[3] < text.index('<details class="fold">') < text.index('alt="Training loss"')


def test_the_page_tells_no_folder_above_the_runs(tmp_path):
    folder = write_run(tmp_path / "home-of-somebody", epochs=3)
    assert "home-of-somebody" not in page_of(read(folder), tmp_path)


def test_the_same_runs_give_the_same_page(tmp_path):
    runs = read(write_run(tmp_path, epochs=5))
    assert page_of(runs, tmp_path) == page_of(runs, tmp_path)


@pytest.fixture
def hostile(tmp_path):
    """A run whose folder, names, settings and reason are markup, quotes, and characters that are none."""
    folder = write_run(tmp_path, epochs=3)
    record = json.loads((folder / RUN_FILE).read_text())
    name = f"{HOSTILE}'\"`{{{{ 7*7 }}}}\u202e\x00\n\ud800"
    record["settings"] |= {
        "net": {"name": name, name: name},
        "data": {"name": name},
        "loss": {"name": name},
        "seed": name,
        "lr": float("nan"),
        "epochs": [name],
    }
    record |= {"state": "failed", "reason": name, name: name, "started": name, "versions": [name]}
    moved = tmp_path / HOSTILE.replace("/", "∕")
    folder.rename(moved)
    (moved / RUN_FILE).write_text(json.dumps(record))
    table = moved / METRICS_FILE
    header, *rows = table.read_text().splitlines()
    column = "<b>bold</b>"
    table.write_text("\n".join([f"{header},{column}", *(f"{row},1" for row in rows)]) + "\n")
    return moved


def test_hostile_names_stay_text(tmp_path, hostile):
    other = write_run(tmp_path, epochs=3)
    runs = read(hostile, other)
    path = report.write_report(report.Content(runs, [], judge(runs), jobs_of(runs), tmp_path), tmp_path)
    text = path.read_bytes().decode()
    assert HOSTILE not in text
    assert text.count("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;") > 4
    assert "<b>" not in text.replace("<span><b>", "")
    page = Page(text)
    assert "{{ 7*7 }}" in page.text
    assert len(page.of("script")) == len(page.of("style")) == 1
    assert [a for a in page.of("img") if not a.get("src", "data:").startswith("data:")] == []
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "style" not in attributes
    for character in "\u202e\x00\ud800":
        assert character not in text


def test_the_policy_admits_the_pages_own_script_and_style_alone(tmp_path):
    text = page_of(read(write_run(tmp_path, epochs=3)), tmp_path)
    (policy,) = [a["content"] for a in Page(text).of("meta") if "http-equiv" in a]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    places = [a.get("src", a.get("href")) for _, a in Page(text).tags if "src" in a or "href" in a]
    outside = {place for place in places if not place.startswith(("#", "data:"))}
    assert outside == {"https://arxiv.org/abs/2106.02073"}  # a link to read, nothing that loads
    assert "url(" not in text
    assert "@import" not in text


def test_flows_alone_have_a_page_too(tmp_path):
    settings = flows.FlowSettings(
        classes=3,
        features=2,
        samples=4,
        spectrum=[2.0, 1.0],
        seed=0,
        laws=["raw"],
        times=[1.0, 2.0],
        per_decade=1,
    )
    measures = dict.fromkeys(flows.MEASURES, 1.0)
    rows = [flows.FlowRow("raw", time, [1.0, 1.0], [1.0, 1.0], measures) for time in settings.times]
    flows.write_flow(tmp_path / "flow", settings, rows, versions={"torch": "2.9"})
    page = Page(page_of([], tmp_path, [flows.read_flow(tmp_path / "flow")], ["flow_ratios"]))
    for words in ("Neural Collapse in 1 flow", "Flows C = 3, P = 2, n = 4", "torch 2.9", "per_decade 1"):
        assert words in page.text
    assert "Do the paper" not in page.text
    assert "All rows" not in page.text
