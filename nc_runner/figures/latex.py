"""``summary.tex``: the summary as a booktabs table for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nc_runner.figures.style import data_set_name, loss_name, network_name
from nc_runner.figures.summary import Summary, displayed
from nc_runner.runs.reader import Run
from nc_runner.runs.tables import write_atomically
from nc_runner.runs.varying import Varying

LATEX_FILE = "summary.tex"

# Of the summary: heading, factor, format.
_NUMBERS = {
    "test_accuracy": ("Test (\\%)", 100.0, ".2f"),
    "nc1": ("NC1", 1.0, ".2e"),
    "nc2_equinorm_means": ("NC2 norms", 1.0, ".2e"),
    "nc2_maxangle_means": ("NC2 angles", 1.0, ".2e"),
    "nc3_self_duality": ("NC3", 1.0, ".2e"),
    "nc4_ncc_mismatch": ("NC4 (\\%)", 100.0, ".2f"),
    "perp_over_ls": (r"$L_\perp / L_{\mathrm{LS}}$", 1.0, ".2e"),
}
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}",  # after the end of a line it would be a length
}  # fmt: skip


def write_latex(runs: Sequence[Run], out: Path) -> Path:
    """Write ``summary.tex`` into ``out``: a line for each run. Raises :class:`OSError` if it cannot."""
    path = out / LATEX_FILE
    write_atomically(path, latex_table(runs).encode("utf-8", errors="backslashreplace"))
    return path


def latex_table(runs: Sequence[Run]) -> str:
    """A ``tabular`` with booktabs' rules: first in what the runs differ, then their numbers at the end."""
    varying = Varying(runs)
    lines = {run: displayed(run) for run in runs}
    names = {"Network": (0, network_name), "Data": (1, data_set_name), "Loss": (2, loss_name)}
    words = {
        heading: {run: name(run.cell[i]) for run in runs}
        for heading, (i, name) in names.items()
        if len({run.cell[i] for run in runs}) > 1
    }
    words |= {
        varying.heading(key): {run: varying.text(run, key) for run in runs} for key in varying.telling()
    }
    if len({run.seed for run in runs}) > 1:
        words["Seed"] = {run: str(run.seed) for run in runs}
    numbers = [key for key in _NUMBERS if any(line.get(key) is not None for line in lines.values())]
    header = [*map(escaped, words), *(_NUMBERS[key][0] for key in numbers)]
    rows = [
        [*(escaped(column[run]) for column in words.values()), *(_number(lines[run], key) for key in numbers)]
        for run in runs
    ]
    body = "\n".join(" & ".join(cells) + r" \\" for cells in rows)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{'l' * len(words)}{'r' * len(numbers)}}}\n\\toprule\n"
        f"{' & '.join(header)} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def escaped(text: str) -> str:
    """``text`` as LaTeX shows it, whatever it holds.

    >>> escaped("weight_decay 50 %")
    'weight\\\\_decay 50 \\\\%'
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _number(line: Summary, key: str) -> str:
    value, (_, factor, form) = line.get(key), _NUMBERS[key]
    if not isinstance(value, (int, float)):
        return "--"
    digits, _, exponent = format(factor * value, form).partition("e")
    return f"${digits} \\cdot 10^{{{int(exponent)}}}$" if exponent else f"${digits}$"
