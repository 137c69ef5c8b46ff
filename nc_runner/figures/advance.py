"""Test of the central-path law on measured spectra: does Phi(omega_j) advance equally for every j?

On the central path n Phi(omega_j) grows as fast as the flow's time, whatever that time is in epochs. So
Phi(omega_j, t) - Phi(omega_j, t0) is the same for all j, or the spectrum does not follow the law
(docs/dynamics.md). Phi is that of :func:`nc_runner.collapse.phi`, in NumPy because figures need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nc_runner.columns import snr_columns

if TYPE_CHECKING:
    import pandas as pd

    from nc_runner.figures.scales import FloatArray


def phi(omega: FloatArray, num_classes: int, law: str = "projected") -> FloatArray:
    """C^2 log omega + C omega^2 + omega^4/4; for the law ``raw`` C^2 log omega + (C/2) omega^2.

    NaN where omega is not a positive finite number.
    """
    C = num_classes
    omega = np.where((omega > 0) & (omega < 1e70), omega, np.nan)
    if law == "raw":
        return C**2 * np.log(omega) + (C / 2) * omega**2
    return C**2 * np.log(omega) + C * omega**2 + omega**4 / 4


def phi_advance(
    rows: pd.DataFrame, num_classes: int, start: int | None, law: str = "projected"
) -> tuple[FloatArray, FloatArray]:
    """Phi(omega_j, t) - Phi(omega_j, t0), for the epochs from t0 on.

    Args:
        rows: of ``metrics.csv``, sorted by epoch.
        num_classes: C.
        start: the epoch t0; None for the first one that is not the network at initialisation.
        law: ``projected`` or ``raw``.

    Returns:
        epochs (T,), whose first is t0, and the advance (T, C-1); NaN where a spectrum was not finite.
    """
    rows = rows[rows["epoch"] >= (1 if start is None else start)]
    epochs = rows["epoch"].to_numpy(dtype=np.float64)
    values = phi(rows[list(snr_columns(num_classes))].to_numpy(dtype=np.float64), num_classes, law)
    return epochs, values - values[:1]


def phi_advance_spread(
    rows: pd.DataFrame, num_classes: int, start: int | None, law: str = "projected"
) -> float:
    """Standard deviation (population) over j of the advance up to the last row, over the mean's size.

    0 where the law holds. NaN without two rows, or where a spectrum was not finite.
    """
    _, advance = phi_advance(rows, num_classes, start, law)
    if len(advance) < 2 or not advance.shape[1] or not np.isfinite(advance[-1]).all():
        return float("nan")
    mean = abs(float(advance[-1].mean()))
    return float(advance[-1].std()) / mean if mean > 0 else float("nan")
