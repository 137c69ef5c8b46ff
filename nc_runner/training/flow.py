"""Runs one flow, from its settings to a finished folder: initial features, laws, measurements, record."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch
from torch import Tensor

from nc_runner import __version__
from nc_runner.collapse import (
    ClassStatistics,
    central_path,
    collapse_metrics,
    initial_features,
    least_squares_classifier,
    mse_decomposition,
    ncc_mismatch,
    simulate_flow,
    snr_spectrum,
)
from nc_runner.runs import flows
from nc_runner.runs.flows import FlowOutcome, FlowRow, FlowSettings, Law


def run_flow(settings: FlowSettings, folder: Path) -> list[FlowOutcome]:
    """Simulate and solve the flow of ``settings``, whose values are in range, and write ``folder``.

    Raises :class:`nc_runner.errors.RunFolderError` where the folder cannot be written.
    """
    torch.set_num_threads(settings.threads)
    spectrum = torch.tensor(settings.spectrum, dtype=torch.float64)
    start = initial_features(spectrum, settings.classes, settings.features, settings.samples, settings.seed)
    rows: list[FlowRow] = []
    outcomes = []
    for law in settings.laws:
        found, outcome = _follow(settings, spectrum, start, law)
        rows += found
        outcomes.append(outcome)
    versions = {"nc_runner": __version__, "python": platform.python_version(), "torch": torch.__version__}
    flows.write_flow(folder, settings, rows, outcomes, versions)
    return outcomes


def _follow(
    settings: FlowSettings, spectrum: Tensor, start: Tensor, law: Law
) -> tuple[list[FlowRow], FlowOutcome]:
    """One law: the closed form and the simulation at every time."""
    began = time.perf_counter()
    times = torch.tensor(settings.times, dtype=torch.float64)
    exact = central_path(spectrum, times, settings.classes, settings.samples, law)
    simulated = torch.zeros_like(exact)
    rows, steps = [], 0
    for i, (now, features, steps) in enumerate(simulate_flow(start, times, law)):  # noqa: B007
        measures, simulated[i] = measure(features, len(spectrum))
        rows.append(FlowRow(law, now, simulated[i].tolist(), exact[i].tolist(), measures))
    difference = float((simulated / exact - 1).abs().max())
    slopes = simulated[-2:].log().diff(dim=0) / times[-2:].log().diff()
    exponents = float(slopes.min()), float(slopes.max())
    return rows, FlowOutcome(law, steps, difference, exponents, time.perf_counter() - began)


def measure(features: Tensor, count: int) -> tuple[dict[str, float], Tensor]:
    """All measures of features (C, n, P) under their column names, and the first ``count`` of the spectrum.

    The classifier is the least-squares one without ridge: the flow is on the central path.
    """
    C, n, P = features.shape
    samples = features.flatten(0, 1)
    stats = ClassStatistics(C, P)
    stats.update(samples, torch.arange(C).repeat_interleave(n))
    weight, bias = least_squares_classifier(stats, 0.0)
    predicted = (samples @ weight.T + bias).argmax(dim=1)
    found = {
        **collapse_metrics(stats, weight),
        **mse_decomposition(stats, weight, bias, 0.0),
        "nc4_ncc_mismatch": ncc_mismatch(samples, predicted, stats.means),
    }
    return {name: found[name] for name in flows.MEASURES}, snr_spectrum(stats)[:count]
