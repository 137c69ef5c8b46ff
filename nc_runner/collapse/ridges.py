"""The penalties of the least-squares problem: one lambda for the weight, another for the bias."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

from torch import Tensor

from nc_runner.collapse.checks import check_ridge

Ridge: TypeAlias = "float | tuple[float, float]"  # lambda of weight and bias, or of each


class Ridges(NamedTuple):
    """lambda_W and lambda_b in lambda_W/2 ‖W‖^2 + lambda_b/2 ‖b‖^2.

    An infinite ``bias`` is a layer without one: V_LS has none either.
    """

    weight: float
    bias: float

    @classmethod
    def of(cls, ridge: Ridge, *, bias: bool = True) -> Ridges:
        """``bias``: whether the layer has one. Raises ValueError for a number that is no ridge."""
        weight, of_bias = ridge if isinstance(ridge, tuple) else (ridge, ridge)
        check_ridge(weight)
        check_ridge(of_bias)
        return cls(float(weight), float(of_bias) if bias else math.inf)

    @property
    def has_bias(self) -> bool:
        return math.isfinite(self.bias)

    @property
    def alike(self) -> bool:
        """Whether both blocks have the same ridge; without a bias there is one."""
        return self.weight == self.bias or not self.has_bias

    def penalty(self, weight: Tensor, bias: Tensor) -> Tensor:
        """lambda_W ‖W‖^2 + lambda_b ‖b‖^2; a layer without a bias has zeros (C,)."""
        if self.alike:
            return self.weight * (weight.square().sum() + bias.square().sum())
        return self.weight * weight.square().sum() + self.bias * bias.square().sum()
