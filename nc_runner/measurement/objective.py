"""What training asks of the last layer, as far as the decomposition of the MSE needs it.

Training minimises s/2 Ave ‖V x - M y‖^2 + wd_W/2 ‖W‖^2 + wd_b/2 ‖b‖^2, with s = 2/C for ``nn.MSELoss()``, and
M = 1 unless the loss asks for another output of the true class. Divided by s, that is the L of the
decomposition, with the ridges C wd_W/2 and C wd_b/2.
"""

from __future__ import annotations

from dataclasses import dataclass

from nc_runner.collapse.ridges import Ridge


@dataclass(frozen=True)
class Objective:
    """The last layer's part of the objective.

    ``decay``: weight decay of weight and bias, those of wd/2 times the sum of squares. None where V_LS is not
    the minimiser of the objective for any ridge: then the decomposition has a ridge only if it is given one.
    ``target``: M, the output asked of the true class.
    """

    decay: tuple[float, float] | None
    target: float = 1.0

    def ridge(self, rule: str | float, num_classes: int) -> Ridge | None:
        """lambda of the decomposition, one or (of W, of b); None where there is none.

        ``rule``: ``objective``, C wd/2; ``notebook``, wd/2, with which the authors' notebook draws its
        curves; or lambda itself.
        """
        if not isinstance(rule, str):
            return float(rule)
        if self.decay is None:
            return None
        of_weight, of_bias = (num_classes * wd / 2 if rule == "objective" else wd / 2 for wd in self.decay)
        return of_weight if of_weight == of_bias else (of_weight, of_bias)
