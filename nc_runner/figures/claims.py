"""The claims of the paper, in words, and the verdicts about them. judging.py judges them on measured runs.

The claims are those of Han, Papyan & Donoho (ICLR 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

from nc_runner.figures.style import cell_name, data_set_name, network_name
from nc_runner.runs.reader import Run

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"
VERDICTS = (HOLDS, FAILS, INCONCLUSIVE)

NEGLIGIBLE = 0.1  # L_perp / L_LS below this, at every row of the terminal phase
COMPARABLE = 1.0  # points by which the test accuracy with MSE may be lower than with cross-entropy

TRAINING, PHASE = "over training", "in the terminal phase"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    ``subject`` and ``aspect`` together are its name ("NC1", "over training"). ``number`` says in words which
    number decides, and ``holds_if`` for which values the claim holds.
    """

    key: str
    subject: str
    aspect: str
    statement: str
    number: str
    holds_if: str


@dataclass(frozen=True)
class Judgement:
    """A verdict on a claim for one run, or for the runs of one network and data set (``run`` None).

    ``number`` decides; None where there is none. ``reason`` shows it ("1.34 → 0.0122"), or explains why the
    rows are inconclusive.
    """

    claim: Claim
    verdict: str
    number: float | None
    reason: str
    cell: tuple[str, str, str]
    run: Run | None = None

    @property
    def where(self) -> str:
        """The run, or the comparison, in words: "ResNet8 on Digits, MSE, lr 0.1, seed 0"."""
        if self.run is None:
            return f"{network_name(self.cell[0])} on {data_set_name(self.cell[1])}"
        return f"{cell_name(self.cell)}, lr {self.run.lr}, seed {self.run.seed}"


@dataclass(frozen=True)
class Overall:
    """One claim over all runs: it holds where it holds in every run that is not inconclusive."""

    claim: Claim
    verdict: str
    holds: int
    fails: int
    inconclusive: int
    median: float | None  # of the deciding numbers


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
    training = f"{measure} falls over training", "last / first epoch", "below 1"
    phase = f"{measure} continues to fall in the terminal phase", "last / first epoch of the phase", "below 1"
    return (
        Claim(f"{column}_falls", name, TRAINING, *training),
        Claim(f"{column}_falls_in_phase", name, PHASE, *phase),
    )


FALLS = {column: _falls(column) for column in MEASURES}
PERP = Claim(
    "perp_negligible", "L_perp relative to L_LS", PHASE,
    "L_perp is negligible relative to L_LS in the terminal phase (trained with MSE)",
    "largest L_perp / L_LS of the phase", f"below {NEGLIGIBLE:g}",
)  # fmt: skip
TEST_ACCURACY = Claim(
    "test_accuracy_rises_in_phase", "Test accuracy", PHASE,
    "Test accuracy rises from the start of the terminal phase to the end",
    "points of test accuracy", "above 0",
)  # fmt: skip
MSE_AND_CE = Claim(
    "mse_comparable_to_ce", "MSE compared with CE", "at the end",
    "Test accuracy with MSE is comparable to that with cross-entropy, or better",
    "points of test accuracy, MSE - CE", f"at least -{COMPARABLE:g}",
)  # fmt: skip
CLAIMS = (*(claim for pair in FALLS.values() for claim in pair), PERP, TEST_ACCURACY, MSE_AND_CE)
