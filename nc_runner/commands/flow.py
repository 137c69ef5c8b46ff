"""``nc-flow``: dynamics on the central path, as a closed form and as a simulation on random features."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from nc_runner.commands.ending import DONE, add_examples, add_version, finish
from nc_runner.errors import ConfigError
from nc_runner.runs import flows
from nc_runner.runs.flows import FlowSettings

SMALLEST, LARGEST = 1e-6, 1e6  # of the initial spectrum
LATEST = 1e12


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="nc-flow",
        description="Follow the renormalised gradient flow of the least-squares loss on random features, "
        "and compare its SNR spectrum with the closed form. nc-plot draws the result.",
    )
    add_examples(
        result,
        "nc-flow",
        "nc-flow --classes 10 --features 64 --samples 50 --law both",
        "nc-flow --spectrum 4,1 --times 0.1:1e6",
    )
    add = result.add_argument
    add("--classes", type=int, default=3, metavar="C", help="classes, at least 2 (default: %(default)s)")
    add(
        "--features",
        type=int,
        default=6,
        metavar="P",
        help="dimension of the features, at most C (n - 1) (default: %(default)s)",
    )
    add("--samples", type=int, default=10, metavar="n", help="samples of each class (default: %(default)s)")
    add(
        "--spectrum",
        default="0.1:3",
        metavar="LOW:HIGH|LIST",
        help="the SNR spectrum at time 0: log-spaced from LOW to HIGH, or min(C - 1, P) numbers joined by "
        "commas (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="random seed of the features (default: %(default)s)")
    add(
        "--law",
        choices=(*flows.LAWS, "both"),
        default="projected",
        help="projected: the gradient projected on constant within-class covariance; raw: gradient steps, "
        "each followed by whitening (default: %(default)s)",
    )
    add(
        "--times",
        default="0.01:1e5",
        metavar="LOW:HIGH",
        help="first and last time, in units of n C^2, the time in which a weak signal grows e-fold "
        "(default: %(default)s)",
    )
    add("--per-decade", type=int, default=8, metavar="K", help="times per decade (default: %(default)s)")
    add("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    add(
        "--out",
        type=Path,
        default=Path("outputs"),
        metavar="DIR",
        help="folder in which the flow's own folder is made (default: %(default)s)",
    )
    return add_version(result)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return finish("nc-flow", lambda: _run(parser().parse_args(arguments)))


def _run(chosen: argparse.Namespace) -> int:
    settings = settings_of(chosen)
    folder = chosen.out / settings.folder_name

    from nc_runner.training.flow import run_flow  # here: it brings torch

    for outcome in run_flow(settings, folder):
        slowest, fastest = outcome.exponents
        print(
            f"{outcome.law}: {outcome.steps} steps, {outcome.seconds:.1f} s; simulation and closed form "
            f"differ by at most {outcome.difference:.1e}; last exponents {slowest:.4f} to {fastest:.4f}"
        )
    print(f"{flows.FLOW_FILE} is in {folder}; to draw it: nc-plot {folder}")
    return DONE


def settings_of(chosen: argparse.Namespace) -> FlowSettings:
    """The checked settings of the flow. Raises :class:`ConfigError`."""
    C, P, n = chosen.classes, chosen.features, chosen.samples
    _at_least("--classes", C, 2)
    _at_least("--features", P, 1)
    _at_least("--samples", n, 2)
    _at_least("--per-decade", chosen.per_decade, 1)
    _at_least("--threads", chosen.threads, 1)
    if not 0 <= chosen.seed < 2**63:
        raise ConfigError(f"--seed {chosen.seed}: must be a whole number from 0 to 2^63 - 1")
    if C * (n - 1) < P:
        raise ConfigError(
            f"--features {P}: {C} classes of {n} samples vary in only C (n - 1) = {C * (n - 1)} directions\n"
            "give more --samples or fewer --features"
        )
    low, high = _range("--times", chosen.times)
    if not 0 < low < high <= LATEST:
        raise ConfigError(f"--times {chosen.times}: must be LOW:HIGH with 0 < LOW < HIGH <= {LATEST:g}")
    count = max(2, 1 + round(chosen.per_decade * math.log10(high / low)))
    return FlowSettings(
        classes=C,
        features=P,
        samples=n,
        spectrum=_spectrum(chosen.spectrum, flows.spectrum_length(C, P)),
        seed=chosen.seed,
        laws=list(flows.LAWS) if chosen.law == "both" else [chosen.law],
        times=[n * C**2 * t for t in _log_spaced(low, high, count)],
        per_decade=chosen.per_decade,
        threads=chosen.threads,
    )


def _spectrum(text: str, count: int) -> list[float]:
    """The values, largest first."""
    if ":" in text:
        low, high = _range("--spectrum", text)
        values = _log_spaced(low, high, count) if 0 < low <= high < math.inf else [0.0]
    else:
        values = [_number("--spectrum", part) for part in text.split(",")]
        if len(values) != count:
            raise ConfigError(
                f"--spectrum {text}: must have min(C - 1, P) = {count} values, not {len(values)}\n"
                "or give a range such as 0.1:3"
            )
    if not all(SMALLEST <= value <= LARGEST for value in values):
        raise ConfigError(f"--spectrum {text}: values must be from {SMALLEST:g} to {LARGEST:g}, LOW first")
    return sorted(values, reverse=True)


def _log_spaced(low: float, high: float, count: int) -> list[float]:
    """``count`` values whose last is ``high`` itself, and whose first is ``low`` where there are several."""
    ratio = math.log(high / low)
    return [high * math.exp(-ratio * k / max(1, count - 1)) for k in reversed(range(count))]


def _range(option: str, text: str) -> tuple[float, float]:
    parts = text.split(":")
    if len(parts) != 2:
        raise ConfigError(f"{option} {text}: must be LOW:HIGH, such as 0.1:3")
    return _number(option, parts[0]), _number(option, parts[1])


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not a number") from None


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{option} {value}: must be at least {least}")


if __name__ == "__main__":
    sys.exit(main())
