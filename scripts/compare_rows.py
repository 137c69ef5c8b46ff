"""Whether the numbers stayed: seeded runs of an earlier commit and of the working tree, compared bit by bit.

    python scripts/compare_rows.py COMMIT [--only NAME ...] [--tolerance X]

Both versions run the same commands as processes of their own, with one thread, on the CPU. Compared are
metrics.csv (without the seconds), layers.csv, and the weights of checkpoint.pt. The last case plants a
difference, which must be found. It ends with 0 where all cases are equal.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).parents[1]
COMMON = (
    "epochs=3",
    "threads=1",
    "device=cpu",
    "progress=plain",
    "checkpoint_seconds=0",
    "hydra.run.dir=run",
)
RENAMED = {"analysis.custom.": "analysis.own."}  # what an earlier commit calls a setting, if it has that name
SECONDS = ["train_seconds", "analysis_seconds"]


@dataclass(frozen=True)
class Case:
    """One command of nc-run. ``stopped``: interrupted after the first row, then given again."""

    name: str
    settings: tuple[str, ...]
    ranks: int = 1
    stopped: bool = False
    planted: tuple[str, ...] = ()  # given to the working tree alone


CASES = (
    Case("resnet, mse", ()),
    Case("resnet, ce", ("loss=ce",)),
    Case("vgg, mse", ("net=vgg6",)),
    Case("vgg, ce", ("net=vgg6", "loss=ce")),
    Case("densenet, mse", ("net=densenet10",)),
    Case("densenet, ce", ("net=densenet10", "loss=ce")),
    Case("least_squares", ("classifier=least_squares",)),
    Case("layers", ("analysis.layers=[relu,layer*,layer1.0.conv1]",)),
    Case("all metrics", ("analysis.metrics=all",)),
    Case("out of distribution", ("analysis.metrics=all", "analysis.ood=fashionmnist", "epochs=2")),
    Case("subset", ("data.samples_per_class=50", "analysis.schedule=[1]", "analysis.ridge=notebook")),
    Case("streamed", ("data.resident=false", "data.workers=0")),
    Case("streamed by workers", ("data.resident=false", "data.workers=2", "epochs=2")),
    Case("custom metric", ("+analysis.custom.trace=tracemetric.trace",)),
    Case("resumed", ("net=vgg6", "epochs=12"), stopped=True),
    Case("two ranks", ("analysis.metrics=all",), ranks=2),
    Case("a planted difference", (), planted=("weight_decay=0.00051",)),
)  # fmt: skip
METRIC = "def trace(stats, weight, bias):\n    return stats.within_covariance.trace()\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="cases whose names begin so")
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative, of any number (default: 0)")
    given = parser.parse_args()
    cases = [case for case in CASES if not given.only or case.name.startswith(tuple(given.only))]
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        before, now = Path(folder, "before"), Path(folder, "now")
        check_out(before, given.commit)
        check_out(now, None)
        for case in cases:
            runs = [run(case, place, Path(folder, f"run-{place.name}")) for place in (before, now)]
            worst, where = difference(*runs)
            expected = bool(case.planted)
            good = (worst > given.tolerance) == expected
            different += not good
            verdict = "equal" if worst == 0 else f"differs by {worst:.1e} ({where})"
            print(f"{'ok  ' if good else 'FAIL'} {case.name:<26} {verdict}", flush=True)
    return 1 if different else 0


def check_out(place: Path, commit: str | None) -> None:
    """The package and its settings as a commit has them, or as they are here, in a folder of their own."""
    place.mkdir()
    if commit is None:
        for name in ("nc_runner", "conf"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        command = ["git", "archive", commit, "nc_runner", "conf"]
        packed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(place, filter="data")
    (place / "nc_runner" / "conf").symlink_to(Path("..", "conf"))


def run(case: Case, place: Path, folder: Path) -> Path:
    """Carry out a case with the version in ``place``; the run folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "tracemetric.py").write_text(METRIC)
    settings = [*COMMON, *case.settings, *(case.planted if place.name == "now" else ())]
    if "custom:" not in (place / "conf" / "config.yaml").read_text():
        for new, old in RENAMED.items():
            settings = [setting.replace(new, old) for setting in settings]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={case.ranks}"]
    command = [sys.executable, *(launcher if case.ranks > 1 else []), "-m", "nc_runner", *settings]
    environment = {
        **os.environ,
        "PYTHONPATH": str(place),
        "OMP_NUM_THREADS": "1",
        "NC_RUNNER_DATA": os.environ.get("NC_RUNNER_DATA", str(ROOT / "data")),
    }
    if case.stopped:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch" in line:
                process.send_signal(signal.SIGTERM)
                break
        process.communicate()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{case.name}, {place.name}: {' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return folder / "run"


def difference(before: Path, now: Path) -> tuple[float, str]:
    """The largest relative difference of any number of two run folders, and where it is."""
    found = [(0.0, "")]
    for name in ("metrics.csv", "layers.csv"):
        if (before / name).exists() or (now / name).exists():
            found.append(_of_tables(pd.read_csv(before / name), pd.read_csv(now / name), name))
    weights = [torch.load(run / "checkpoint.pt", weights_only=True)["model"] for run in (before, now)]
    if list(weights[0]) != list(weights[1]):
        return float("inf"), "names of weights"
    for key, tensor in weights[0].items():
        found.append((_relative(tensor.double().numpy(), weights[1][key].double().numpy()), f"weight {key}"))
    return max(found)


def _of_tables(before: pd.DataFrame, now: pd.DataFrame, name: str) -> tuple[float, str]:
    columns = [column for column in before.columns if column not in SECONDS]
    kept = [column for column in now.columns if column in before.columns]  # further ones may have come
    if kept != list(before.columns) or len(now) != len(before):
        return float("inf"), f"{name}: columns or rows"
    found = [(0.0, "")]
    for column in columns:
        if before[column].dtype.kind in "fi":
            gap = _relative(before[column].to_numpy(float), now[column].to_numpy(float))
        else:
            gap = 0.0 if before[column].equals(now[column]) else float("inf")
        found.append((gap, f"{name} {column}"))
    return max(found)


def _relative(before: Sequence[float] | np.ndarray, now: Sequence[float] | np.ndarray) -> float:
    """Largest abs(now - before) / abs(before); NaN and infinity equal themselves alone."""
    before, now = np.asarray(before), np.asarray(now)
    same = (before == now) | (np.isnan(before) & np.isnan(now))
    if same.all():
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.abs(now - before) / np.abs(before)
    return float(np.nan_to_num(gaps[~same], nan=np.inf).max())


if __name__ == "__main__":
    sys.exit(main())
