"""Runs of a sweep in other processes: what each may use, how each ended, and how all are stopped."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from nc_runner.errors import NCRunnerError
from nc_runner.runs.record import FAILED
from nc_runner.training.signals import STOPPING, StopRequested

SWEEP_FOLDER = "NC_RUNNER_SWEEP"  # environment: where the processes of a sweep on one machine meet
STOP_FILE = "stop"
VISIBLE = "CUDA_VISIBLE_DEVICES"
# How often GNU OpenMP's threads look for more work before they sleep. By its own choice, 300,000 times, the
# threads of two processes that share cores keep each other from working; below 3,000 one alone is slower.
SPIN, PATIENCE = "GOMP_SPINCOUNT", "3000"
_held: list[Any] = []  # the lock on this process's share of the GPUs, held until it ends


@dataclass
class Outcome:
    """How a run of this command ended."""

    folder: Path
    state: str
    message: str = ""
    exit_code: int = 0


@dataclass
class Search:
    """A sweep whose runs a sweeper chose by what those before returned."""

    folder: Path
    objective: str

    def result(self) -> str:
        """What the sweeper found best, in a line."""
        path = self.folder / "optimization_results.yaml"
        try:
            found = yaml.safe_load(path.read_text())
            best = " ".join(f"{key}={value}" for key, value in found["best_params"].items())
            return f"best: {best}  ({self.objective} {found['best_value']:.6g}; {path})"
        except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError):
            return f"the search's result, as its sweeper wrote it, is in {self.folder}"


class Objective(float):
    """A run's objective, a number as Hydra's sweepers take it; it carries how the run ended."""

    outcome: Outcome

    def __new__(cls, value: float, outcome: Outcome) -> Objective:
        result = super().__new__(cls, value)
        result.outcome = outcome
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return Objective, (float(self), self.outcome)


# What a run may use. Asked before torch is imported.


def cores() -> int:
    """CPU cores for this process: Slurm's share where there is one."""
    if given := os.environ.get("SLURM_CPUS_PER_TASK", "").strip():
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Names of the GPUs at hand, as CUDA_VISIBLE_DEVICES takes them, without asking torch."""
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    try:
        return [str(i) for i in range(len(list(Path("/proc/driver/nvidia/gpus").iterdir())))]
    except OSError:
        pass
    if not (command := shutil.which("nvidia-smi")):
        return []
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(ln for ln in listed.splitlines() if ln.startswith("GPU "))]


def run_count(jobs: int | None) -> int:
    """How many runs go on at a time on one machine: ``launcher.jobs``; else one for each GPU, or core."""
    return jobs or len(gpus()) or cores()


def run_cpus(cpus: int | None, jobs: int | None) -> int:
    """CPU cores, and threads, of each run: ``launcher.cpus``; else the cores over the runs at a time."""
    return cpus or max(1, cores() // run_count(jobs))


def run_gpus(gpus_of_run: int | None) -> int:
    """GPUs that Ray is asked for: ``launcher.gpus``; else one where there are any."""
    return min(1, len(gpus())) if gpus_of_run is None else gpus_of_run


def settle(settings: dict[str, Any]) -> None:
    """Give the run of this process its threads, their patience, and with joblib its GPU. Before torch comes.

    ``threads`` where it is set; else, under a launcher, the run's share of the cores. The number is set in
    the environment too: libraries that read it there then agree with torch.
    """
    launcher = settings["launcher"]
    if settings["threads"] is None and launcher["name"] != "basic":
        settings["threads"] = run_cpus(launcher["cpus"], launcher["jobs"])
    if settings["threads"] is not None and "torch" not in sys.modules:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(settings["threads"])
    if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", SPIN} & os.environ.keys():
        os.environ[SPIN] = PATIENCE
    if launcher["name"] == "joblib" and not _held:
        take_gpu(run_count(launcher["jobs"]))


def take_gpu(jobs: int) -> None:
    """Show this process one GPU of those at hand, dealt out in turn to ``jobs`` processes, until it ends.

    A process keeps its GPU for all runs that it gets, so that at no time one GPU has two runs more than
    another. Which turn is free is decided by file locks, which end with the process that holds them.
    """
    from filelock import FileLock, Timeout

    names, folder = gpus(), os.environ.get(SWEEP_FOLDER)
    if len(names) < 2 or folder is None or "torch" in sys.modules:
        return
    for turn in range(jobs):
        lock = FileLock(Path(folder) / f"turn-{turn}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        os.environ[VISIBLE] = names[turn % len(names)]
        return


# How the runs ended, and how they are stopped.


@contextmanager
def collected(outcomes: list[Outcome]) -> Iterator[list[Search]]:
    """Within, whatever launcher Hydra makes adds its runs' outcomes, in their order, to ``outcomes``.

    Hydra drops what runs return, so the launcher is wrapped where Hydra makes it. Given is a list, empty but
    for the search that a sweeper other than Hydra's basic one made.
    """
    from hydra.core.plugins import Plugins

    plugins = Plugins.instance()
    make = plugins.instantiate_launcher
    folder = tempfile.mkdtemp(prefix="nc-run-")
    searches: list[Search] = []

    def instantiate_launcher(**how: Any) -> Any:
        hydra = how["config"].hydra
        searching = not str(hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper")
        if searching:
            searches.append(Search(Path(hydra.sweep.dir), str(how["config"].get("objective"))))
        return _Noting(make(**how), outcomes, searching)

    plugins.instantiate_launcher = instantiate_launcher  # type: ignore[assignment, method-assign]
    os.environ[SWEEP_FOLDER] = folder
    try:
        yield searches
    finally:
        del plugins.instantiate_launcher
        del os.environ[SWEEP_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)


class _Noting:
    """A launcher of Hydra's, whose runs' outcomes are noted; ``searching``: what they return is used."""

    def __init__(self, launcher: Any, outcomes: list[Outcome], searching: bool) -> None:
        self.launcher, self.outcomes, self.searching = launcher, outcomes, searching

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        if type(self.launcher).__name__ == "BasicLauncher":  # in this process: noted as they end
            returned = self.launcher.launch(job_overrides, initial_job_idx)
        else:
            returned = self._launch_elsewhere(job_overrides, initial_job_idx)
            self.outcomes.extend(_outcome(result) for result in returned)
        for result in returned if self.searching else ():
            _fail_without_objective(result)
        return returned

    def _launch_elsewhere(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        with _stopping() as stop:
            try:
                returned = self.launcher.launch(job_overrides, initial_job_idx)
            except KeyboardInterrupt:
                raise StopRequested(stop.signum or signal.SIGINT) from None
            except Exception as error:
                if stop.signum is not None:
                    raise StopRequested(stop.signum) from None
                raise LauncherError(_lost(self.launcher, error)) from error
        if stop.signum is not None:
            self.outcomes.extend(_outcome(result) for result in returned)
            raise StopRequested(stop.signum)
        return returned


def _fail_without_objective(returned: Any) -> None:
    """Tell a sweeper that a run failed in the way that it understands: a NaN would end Optuna's search."""
    from hydra.core.utils import JobStatus

    value = returned._return_value
    if isinstance(value, Objective) and math.isnan(value):
        returned.status = JobStatus.FAILED
        returned.return_value = NCRunnerError(
            value.outcome.message or "the run has no value of the objective"
        )


class LauncherError(NCRunnerError):
    """Not a run failed, but what should have carried it out (exit code 1)."""


def _lost(launcher: Any, error: Exception) -> str:
    what = " ".join(str(error).split())
    return (
        f"the launcher {type(launcher).__name__} failed: {type(error).__name__}: {what[:300]}\n"
        "the same command again goes on with what is not finished (killed for memory? fewer launcher.jobs)"
    )


def _outcome(returned: Any) -> Outcome:
    """From Hydra's JobReturn; a run that raised (HYDRA_FULL_ERROR=1 asks for that) returned its error."""
    value = returned._return_value
    if isinstance(value, Objective):
        return value.outcome
    folder = Path(str(returned.hydra_cfg.hydra.runtime.output_dir))
    return Outcome(folder, FAILED, f"{type(value).__name__}: {value}", 1)


class _Stop:
    signum: int | None = None


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Within, a stopping signal is handed on to the processes that have a run: they save its state.

    Runs that wait their turn see the stop file, and do not begin. A second signal ends the command.
    Processes without a run are let be: one that dies while it waits for work dies with joblib's queue locked,
    and the command would wait for ever for the others.
    """
    stop = _Stop()
    folder = os.environ[SWEEP_FOLDER]

    def hand_on(signum: int, frame: FrameType | None) -> None:
        if stop.signum is not None:
            raise KeyboardInterrupt
        stop.signum = signum
        Path(folder, STOP_FILE).touch()
        children = multiprocessing.active_children()
        for child in children:
            if child.pid is not None and _mark(folder, child.pid).exists():
                os.kill(child.pid, signal.SIGTERM)
        if not children:  # the launcher's processes are not ours: Slurm's, or Ray's
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, hand_on) for number in _numbers()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers() -> list[int]:
    return [int(getattr(signal, name)) for name in STOPPING if hasattr(signal, name)]


def stop_was_asked() -> bool:
    """Whether the sweep that this run belongs to was told to stop."""
    folder = os.environ.get(SWEEP_FOLDER)
    return folder is not None and Path(folder, STOP_FILE).exists()


def leave_signals_to_runs() -> None:
    """From here on SIGTERM means nothing to this process of joblib's but while it has a run.

    A signal that was meant for a run, and comes when it has just ended, then does no harm.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def under_way() -> Iterator[None]:
    """Within, this process has a run, and the command hands stopping signals on to it.

    Enter it with the run's own handlers installed, and before :func:`stop_was_asked` is asked: the command
    sets the stop file before it looks for marks, so that a run meets one or the other.
    """
    folder = os.environ.get(SWEEP_FOLDER)
    mark = _mark(folder, os.getpid()) if folder else None
    if mark is not None:
        with suppress(OSError):  # another host's folder
            mark.touch()
    try:
        yield
    finally:
        if mark is not None:
            with suppress(OSError):
                mark.unlink(missing_ok=True)


def _mark(folder: str, pid: int) -> Path:
    return Path(folder, f"run-of-{pid}")


def nothing(outcome: Outcome) -> Objective:
    """The objective of a run that has none."""
    return Objective(math.nan, outcome)
