"""What the registry says of one column, and the words that several columns share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column. All fields are text as the documentation prints it; empty where there is nothing to say.

    In formulas: N samples, C classes of n_c samples, pi_c = n_c/N, P features; h features, y one-hot labels;
    mu_c class means, mu_G their mean, M = [mu_c - mu_G]; W (rows w_c) and b the classifier, V = [W, b];
    Sigma_W the within-class covariance, Sigma_B = M M^T / C, Sigma_T = Sigma_W + Sigma_B;
    V_c = Ave ‖h - mu_c‖² in class c; E* = (I - 11^T/C) / sqrt(C-1). In LaTeX V_c is v_c, and x is [h; 1].
    """

    name: str
    meaning: str
    formula: str = ""  # for terminals and figures
    source: str = ""
    collapse: str = ""  # the value at collapse
    nan: str = ""  # when it is NaN
    needs: str = ""  # what a wider metric needs beyond the train set's class statistics and the classifier
    latex: str = ""  # the formula for docs/metrics.md
    traps: str = ""  # what to know before numbers are compared, in Markdown


# When a number does not exist.
EMPTY = "a class has no samples"
MEANS = f"{EMPTY}; all class means coincide"
ANGLES = f"{EMPTY}; a class mean is mu_G"
ROWS = "a row of W is 0"
NO_RIDGE = "the objective has no ridge ([which ridge](#which-ridge))"

# Whose definition it is.
HPD = "Han et al. 2022"
PHD = "Papyan et al. 2020"

# LaTeX that several formulas share.
MEAN = r"\mu_c - \mu_G"
COS_MEANS = r"\cos(\mu_c - \mu_G,\ \mu_{c'} - \mu_G)"
COS_ROWS = r"\cos(w_c,\ w_{c'})"
PAIRS = r"c \neq c'"
TRACE = r"\frac{1}{C}\mathrm{Tr}\left(\Sigma_W \Sigma_B^{+}\right)"
CDNV = r"\underset{c \neq c'}{\mathrm{mean}}\ \frac{v_c + v_{c'}}{2 \lVert \mu_c - \mu_{c'} \rVert^2}"
NEAREST = r"\arg\min_c \lVert h_i - \mu_c \rVert"


def over(word: str, index: str, what: str) -> str:
    """LaTeX of a mean, spread or the like over an index.

    >>> print(over("mean", "c", "x_c"))
    \\underset{c}{\\mathrm{mean}}\\ x_c
    """
    return rf"\underset{{{index}}}{{\mathrm{{{word}}}}}\ {what}"


def share(condition: str) -> str:
    """LaTeX of the share of samples for which a condition holds."""
    return rf"\frac{{1}}{{N}} \sum_i \left[ {condition} \right]"
