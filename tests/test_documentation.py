"""The documentation: pages made from the code are current and complete; links and spelling are checked."""

import importlib
import re
from pathlib import Path

import pytest

from nc_runner.columns import GROUPS, LAYER_COLUMNS, metric_columns
from nc_runner.config.validation import GROUPS as CONFIG_GROUPS
from nc_runner.config.validation import known_settings
from nc_runner.config.values import ACCEPTED

ROOT = Path(__file__).parents[1]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


def part(name):
    return importlib.import_module(f"documentation.{name}")


def test_pages_made_from_the_code_are_current():
    for path, text in importlib.import_module("docs").pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: python scripts/docs.py"


def test_the_command_puts_a_changed_page_right():
    broken = METRICS.replace("Galanti", "Galati")
    assert broken != METRICS
    assert part("metrics").with_reference(broken) == METRICS


def test_every_setting_has_a_line_on_the_page_of_settings():
    rows = re.findall(r"^\| `([\w.]+)` \|", CONFIGURATION, re.MULTILINE)
    assert set(rows) == set(known_settings())
    assert {key for key, _ in part("configuration").settings()} == set(known_settings())


def test_every_line_of_a_setting_says_what_it_accepts_its_default_and_whether_it_identifies_a_run():
    for line in CONFIGURATION.splitlines():
        if re.match(r"\| `[\w.]+` \|", line):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 5, line
            assert all(cells), line


def test_every_choice_of_every_group_is_on_the_page_of_settings():
    for group in CONFIG_GROUPS:
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"](../conf/{group}/{file.name})" in CONFIGURATION, file


def test_what_a_check_of_the_schema_accepts_is_said_in_words():
    """A check without words would leave a setting's range out of the page."""
    silent = {"_text", "_tuple"}  # they convert
    for key, field in part("configuration").settings():
        checks = {check for check in part("words").validators(field) if check.__name__ not in silent}
        assert checks <= set(ACCEPTED), key


@pytest.mark.parametrize(
    ("key", "accepts", "default", "identifies"),
    [
        ("batch_size", "whole number ≥ 1", "`128`", "unless `128`"),
        ("lr", "number > 0", "`0.1`; `adam`, `adamw`: `1e-3`; `lbfgs`: `1.0`; `custom`: `null`", "yes"),
        ("data.label_noise", "number ≥ 0 and ≤ 1", "`0.0`", "unless `0.0`"),
        ("head.normalize", "`none`, `features`, `rows`, `both`", "`none`", "unless `none`"),
        ("device", "`auto`, `cpu`, `cuda`, `cuda:N`, `mps`", "`auto`", "no"),
        ("data.root", "text", "`data`, or the environment variable `NC_RUNNER_DATA`", "no"),
        ("net.head_width", "whole number ≥ 1 or `null`", "`null`", "unless `null`"),
        ("data.options.file", "text", "none: it must be given", "yes"),
    ],
)
def test_the_line_of_a_setting(key, accepts, default, identifies):
    (line,) = re.findall(rf"^\| `{re.escape(key)}` \|.*$", CONFIGURATION, re.MULTILINE)
    assert line.endswith(f"| {accepts} | {default} | {identifies} |")


def test_every_column_has_a_section_on_the_page_of_metrics():
    sections = re.findall(r"^### `(\w+)`$", METRICS, re.MULTILINE)
    assert sections == [column.name for group in GROUPS.values() for column in group]
    columns = {re.sub(r"snr_\d+", "snr_j", name) for name in (*metric_columns(4), *LAYER_COLUMNS)}
    assert columns <= set(sections)


def test_a_section_has_the_formula_the_source_the_value_at_collapse_and_the_traps():
    section = METRICS.split("### `nc1`\n")[1].split("\n### ")[0]
    assert "$$\n\\frac{1}{C}\\mathrm{Tr}\\left(\\Sigma_W \\Sigma_B^{+}\\right)\n$$" in section
    assert "| **At collapse** | 0 |" in section
    assert "| **NaN when** | a class has no samples; all class means coincide |" in section
    assert "[Papyan et al. 2020](https://arxiv.org/abs/2008.08186)" in section
    assert "| **Traps** | Other codes leave out the division by C" in section
    assert "| **Written** | in every run; `layers.csv`, of the layer’s features |" in section
    assert "| **At collapse** | ∞ |" in METRICS.split("### `snr_j`\n")[1].split("\n### ")[0]


def test_words_of_the_registry_are_set_as_formulas_and_links():
    typeset = part("metrics")._typeset
    assert typeset("a class mean is mu_G") == r"a class mean is $\mu_G$"
    assert typeset("L_NC1, its part") == "$L_{NC1}$, its part"
    assert typeset("nc1_cdnv of the test set") == "[`nc1_cdnv`](#nc1_cdnv) of the test set"
    assert typeset("decoupled (`adamw`)") == "decoupled (`adamw`)"
    for line in re.findall(r"^\| \*\*(?:NaN when|At collapse)\*\* \| (.*) \|$", METRICS, re.MULTILINE):
        assert "_" not in re.sub(r"\$[^$]*\$|`[^`]*`|\([^)]*\)", "", line), line


def site_of(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return part("links").problems(folder)


def test_a_link_to_what_a_site_has_is_no_problem(tmp_path):
    (tmp_path / "a b.css").write_text("x { background: url(data:image/png;base64,x) }")
    style = '<link rel="stylesheet" href="a%20b.css">'
    assert (
        site_of(tmp_path, one=f'{style}<a href="two.html#here">', two='<p id="here"><a href="#here">') == []
    )


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ('<a href="three.html">', "one.html links to three.html: there is no such page or file"),
        (
            '<a href="two.html#there">',
            "one.html links to two.html#there: there is no such place on that page",
        ),
        ('<a href="#x">', "one.html links to #x: there is no such place on that page"),
        ('<img src="missing.png">', "one.html links to missing.png: there is no such page or file"),
        ('<script src="https://cdn.example/x.js">', "one.html loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x">', "one.html loads //fonts.example/x"),
    ],
)
def test_a_link_that_leads_nowhere_and_a_foreign_script_are_problems(page, complaint, tmp_path):
    assert site_of(tmp_path, one=page, two='<p id="here">') == [complaint]


def test_a_style_sheet_that_loads_from_elsewhere_is_a_problem(tmp_path):
    (tmp_path / "x.css").write_text("@font-face { src: url('https://fonts.example/x.woff') }")
    assert site_of(tmp_path) == ["x.css loads https://fonts.example/x.woff"]


def test_the_spelling_check_finds_a_misspelt_word_and_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Neural collapse of the classifer's rows.\n\nIt is recieved.\n", encoding="utf-8")
    found = part("spelling").problems([page])
    assert [line.partition(": misspelt")[0] for line in found] == [
        "page.md:1: classifer's",
        "page.md:3: recieved",
    ]


def test_code_formulas_links_and_names_are_not_spelt(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "A `clasifier` of PyTorch, $\\mathrm{Trr}$, [text](some/plase.md), nc_runner.measurre.\n\n"
        "```python\nimport zzyzx\n```\n\n$$\n\\mathrm{Avve}\n$$\n\n<!-- hiden -->\n",
        encoding="utf-8",
    )
    assert part("spelling").problems([page]) == []


def test_the_spelling_list_has_no_word_that_is_known_anyway():
    speller = part("spelling").SpellChecker(language="en")
    words = part("spelling").WORDS.read_text(encoding="utf-8").split()
    assert words == sorted(words, key=str.lower), "run: LC_ALL=C sort -f -o words.txt words.txt"
    assert [word for word in words if word.lower() in speller] == []


def test_a_formula_becomes_mathml_and_one_that_is_not_understood_is_an_error():
    rendered = part("mathematics").rendered
    html = rendered(r'<p><span class="arithmatex">\(\mu_c &lt; 1\)</span></p>')
    assert html.startswith('<p><span class="formula"><math>')
    assert "<msub><mi>μ</mi><mi>c</mi></msub>" in html
    with pytest.raises(ValueError, match=r"formula \\oops"):
        rendered(r'<div class="arithmatex">\[\oops\]</div>')


def test_links_of_pages_lead_to_the_site_or_to_the_code_host():
    pytest.importorskip("mkdocs")
    relinked = importlib.import_module("docs_hooks").relinked
    repository = "https://host/project"
    assert relinked("[a](../conf/net)", "docs", repository) == f"[a]({repository}/tree/main/conf/net)"
    assert relinked("[a](../setup.py#L1)", "docs", repository) == f"[a]({repository}/blob/main/setup.py#L1)"
    assert relinked("[a](../SECURITY.md#x)", "docs", repository) == "[a](security.md#x)"
    assert relinked("[a](docs/data.md)", "", repository) == "[a](data.md)"
    for kept in (
        "[a](data.md#x)",
        "[a](#x)",
        "[a](https://x.org)",
        "`[a](../conf)`",
        "```\n[a](../conf)\n```",
    ):
        assert relinked(kept, "docs", repository) == kept
