"""The claims of Han, Papyan & Donoho (ICLR 2022), in the paper's words and in those of one number each.

A claim is judged (judging.py) by comparing measured rows, without smoothing and without a tolerance, except
for the two :class:`Thresholds`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

TRAINING, PHASE, END = "over training", "in the terminal phase", "at the end"

# From the abstract of the paper (arXiv 2106.02073)
_MEANS = "last-layer features collapse to their class-means"
_FRAME = "both classifiers and class-means collapse to the same Simplex Equiangular Tight Frame"
_NEAREST = "classifier behavior collapses to the nearest-class-mean decision rule"
_PERP = "term-(B) is negligible during training"
_MSE = "deep nets trained with mean squared error (MSE) loss perform comparably to those trained with CE"


@dataclass(frozen=True)
class Thresholds:
    """What counts as "negligible" and as "comparable": of the project's choice, not the paper's.

    ``negligible``: L_perp / L_LS below this. ``comparable``: points by which the test accuracy with MSE may
    be lower than with cross-entropy.
    """

    negligible: float = 0.1
    comparable: float = 1.0


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    ``subject`` and ``aspect`` together are its name ("NC1", "over training"). ``number`` says in words which
    number decides, and ``holds_if`` for which values the claim holds. ``words``: the paper's own.
    """

    key: str
    subject: str
    aspect: str
    statement: str
    number: str
    holds_if: str
    words: str = ""


MEASURES = {  # column: its short name, and its name in a sentence
    "nc1": ("NC1", "NC1"),
    "nc2_equinorm_means": ("NC2 equal norms, means", "NC2, the spread of the class means' norms,"),
    "nc2_equinorm_classifier": ("NC2 equal norms, classifier", "NC2, the spread of the classifier's norms,"),
    "nc2_equiangular_means": ("NC2 equal angles, means", "NC2, the spread of the class means' angles,"),
    "nc2_equiangular_classifier": (
        "NC2 equal angles, classifier", "NC2, the spread of the classifier's angles,"
    ),
    "nc2_maxangle_means": (
        "NC2 maximal angles, means", "NC2, the class means' distance from maximal angles,"
    ),
    "nc2_maxangle_classifier": (
        "NC2 maximal angles, classifier", "NC2, the classifier's distance from maximal angles,"
    ),
    "nc3_self_duality": ("NC3 self-duality", "NC3, the distance from self-duality,"),
    "nc4_ncc_mismatch": ("NC4 nearest class mean", "NC4, the mismatch with the nearest class mean,"),
}  # fmt: skip


def _falls(column: str) -> tuple[Claim, Claim]:
    name, measure = MEASURES[column]
    words = _MEANS if column == "nc1" else _NEAREST if column.startswith("nc4") else _FRAME
    training = f"{measure} falls over training", "last / first epoch", "below 1", words
    phase = (
        f"{measure} continues to fall in the terminal phase",
        "last / first epoch of the phase",
        "below 1",
        words,
    )
    return (
        Claim(f"{column}_falls", name, TRAINING, *training),
        Claim(f"{column}_falls_in_phase", name, PHASE, *phase),
    )


FALLS = {column: _falls(column) for column in MEASURES}
PERP_AT_END = Claim(
    "perp_negligible_at_end", "L_perp relative to L_LS", END,
    "L_perp is negligible relative to L_LS at the end of training (trained with MSE)",
    "L_perp / L_LS at the end", "", _PERP,
)  # fmt: skip
PERP = Claim(
    "perp_negligible", "L_perp relative to L_LS", PHASE,
    "L_perp is negligible relative to L_LS in the whole terminal phase (trained with MSE)",
    "largest L_perp / L_LS of the phase", "", _PERP,
)  # fmt: skip
TEST_ACCURACY = Claim(
    "test_accuracy_rises_in_phase", "Test accuracy", PHASE,
    "Test accuracy rises from the start of the terminal phase to the end",
    "points of test accuracy", "above 0",
)  # fmt: skip
ROBUSTNESS = Claim(
    "robustness_rises_in_phase", "Robustness", PHASE,
    "Robustness rises from the start of the terminal phase to the end",
    "rise of the robustness", "above 0",
)  # fmt: skip
MSE_AND_CE = Claim(
    "mse_comparable_to_ce", "MSE compared with CE", END,
    "Test accuracy with MSE is comparable to that with cross-entropy, or better",
    "points of test accuracy, MSE - CE", "", _MSE,
)  # fmt: skip
ORDER = (
    *(claim.key for pair in FALLS.values() for claim in pair),
    PERP_AT_END.key, PERP.key, TEST_ACCURACY.key, ROBUSTNESS.key, MSE_AND_CE.key,
)  # fmt: skip


def with_thresholds(claim: Claim, thresholds: Thresholds) -> Claim:
    """The claim, with the threshold by which it is judged in ``holds_if``."""
    if claim.key in (PERP.key, PERP_AT_END.key):
        return replace(claim, holds_if=f"below {thresholds.negligible:g}")
    if claim.key == MSE_AND_CE.key:
        return replace(claim, holds_if=f"at least -{thresholds.comparable:g}")
    return claim
