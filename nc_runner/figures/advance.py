"""Test of the central-path law on measured spectra: does Phi(omega_j) advance equally for every j?

On the central path n Phi(omega_j) grows as fast as the flow's time, whatever that time is in epochs. So
Phi(omega_j, t) - Phi(omega_j, t0) is the same for all j, or the spectrum does not follow the law
(docs/dynamics.md). Phi is that of :func:`nc_runner.collapse.phi`, in NumPy because figures need no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nc_runner.columns import snr_columns

if TYPE_CHECKING:
    import pandas as pd

    from nc_runner.figures.scales import FloatArray

    Columns: TypeAlias = pd.DataFrame | Mapping[str, FloatArray]


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
    rows: Columns, num_classes: int, start: int | None, law: str = "projected"
) -> tuple[FloatArray, FloatArray]:
    """Phi(omega_j, t) - Phi(omega_j, t0), for the epochs from t0 on.

    Args:
        rows: of ``metrics.csv``, sorted by epoch; a table, or arrays by column.
        num_classes: C.
        start: the epoch t0; None for the first one that is not the network at initialisation.
        law: ``projected`` or ``raw``.

    Returns:
        epochs (T,), whose first is t0, and the advance (T, C-1); NaN where a spectrum was not finite.
    """
    epochs, spectra = _spectra(rows, num_classes, start)
    values = phi(spectra, num_classes, law)
    return epochs, values - values[:1]


def phi_advance_spread(rows: Columns, num_classes: int, start: int | None, law: str = "projected") -> float:
    """Standard deviation (population) over j of the advance up to the last row, over the mean's size.

    0 where the law holds. NaN without two rows, or where a spectrum was not finite.
    """
    _, spectra = _spectra(rows, num_classes, start)
    if len(spectra) < 2 or not spectra.shape[1]:
        return float("nan")
    first, last = phi(spectra[[0, -1]], num_classes, law)
    advance = last - first
    if not np.isfinite(advance).all():
        return float("nan")
    mean = abs(float(advance.mean()))
    return float(advance.std()) / mean if mean > 0 else float("nan")


def _spectra(rows: Columns, num_classes: int, start: int | None) -> tuple[FloatArray, FloatArray]:
    """The epochs (T,) from ``start`` on, by default from 1 on, and the spectra (T, C-1)."""
    epochs = np.asarray(rows["epoch"], dtype=np.float64)
    begin = int(epochs.searchsorted(1 if start is None else start))
    spectra = [np.asarray(rows[name], dtype=np.float64)[begin:] for name in snr_columns(num_classes)]
    return epochs[begin:], np.stack(spectra, axis=1) if spectra else np.empty((len(epochs) - begin, 0))
