"""One flow, from its settings to a finished folder: initial features, both laws, measurements, record."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Outcome:
    """What one law's simulation came to. ``difference``: the largest relative one from the closed form."""

    law: str
    steps: int
    difference: float
    exponents: tuple[float, float]  # smallest and largest d log omega / d log t between the last two times
    seconds: float


def run_flow(settings: Mapping[str, Any], folder: Path) -> list[Outcome]:
    """Simulate and solve the flow that ``settings`` describe, and write ``folder``.

    ``settings`` has the keys :data:`nc_runner.runs.flows.SETTINGS`, with values in range, and ``threads``.
    Raises :class:`nc_runner.errors.RunFolderError` where the folder cannot be written.
    """
    torch.set_num_threads(settings["threads"])
    C, P, n = settings["classes"], settings["features"], settings["samples"]
    spectrum = torch.tensor(settings["spectrum"], dtype=torch.float64)
    times = torch.tensor(settings["times"], dtype=torch.float64)
    start = initial_features(spectrum, C, P, n, settings["seed"])
    names = flows.simulated_columns(len(spectrum)), flows.exact_columns(len(spectrum))
    rows: list[dict[str, Any]] = []
    outcomes = []
    for law in settings["laws"]:
        began = time.perf_counter()
        exact = central_path(spectrum, times, C, n, law)
        simulated = torch.zeros_like(exact)
        steps = 0
        for i, (now, features, steps) in enumerate(simulate_flow(start, times, law)):  # noqa: B007
            measures, simulated[i] = measure(features, len(spectrum))
            omegas = {
                **dict(zip(names[0], simulated[i].tolist(), strict=True)),
                **dict(zip(names[1], exact[i].tolist(), strict=True)),
            }
            rows.append({"law": law, "time": now, **omegas, **measures})
        difference = float((simulated / exact - 1).abs().max())
        slopes = simulated[-2:].log().diff(dim=0) / times[-2:].log().diff()
        exponents = float(slopes.min()), float(slopes.max())
        outcomes.append(Outcome(law, steps, difference, exponents, time.perf_counter() - began))
    flows.write_flow(
        folder,
        settings,
        rows,
        versions={"nc_runner": __version__, "python": platform.python_version(), "torch": torch.__version__},
        steps={outcome.law: outcome.steps for outcome in outcomes},
        largest_difference={outcome.law: outcome.difference for outcome in outcomes},
        seconds={outcome.law: outcome.seconds for outcome in outcomes},
    )
    return outcomes


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
