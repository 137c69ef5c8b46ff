"""One run of ``nc-run``, in any process: skipped, resumed or begun, and how it ended. Imports no torch."""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nc_runner.commands.trackers import catch_up, is_told, trackers_of
from nc_runner.config.identity import differing, identity
from nc_runner.config.learning_rates import check_schedule
from nc_runner.config.loss_schema import LOSSES
from nc_runner.config.optimizer_schema import OPTIMIZERS
from nc_runner.config.schedules import analysed_epochs, weight_epochs
from nc_runner.config.schema import NETWORKS, Config
from nc_runner.config.values import STANDARD_DATA
from nc_runner.distributed.group import ALONE, Group
from nc_runner.errors import ConfigError, NCRunnerError, RunFolderError
from nc_runner.runs.locks import PATIENCE
from nc_runner.runs.record import (
    COMPLETE,
    DIVERGED,
    LOCK_FILE,
    LOG_FILE,
    REPLACED,
    RUN_FILE,
    last_row,
    read_run_file,
    rows_digest,
)
from nc_runner.runs.tables import unused_name
from nc_runner.runs.weights import missing_line, missing_weights
from nc_runner.training.progress import show
from nc_runner.training.signals import StopSignals

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what flock says where there are no locks
LOOK_AGAIN = 2.0  # seconds between two looks at a folder that another process writes


class FolderBusyError(RunFolderError):
    """Another process is writing the run folder."""


@dataclass(frozen=True)
class RunAttempt:
    """A run to be carried out in ``folder``.

    ``group``: the ranks that compute it, each with its own RunAttempt. ``label`` begins every line that it
    prints, where several runs print side by side; ``title`` the first one, such as ``run 2 of 4``.
    ``patient``: another process that writes the folder is waited for.
    """

    config: Config
    folder: Path
    group: Group = ALONE
    label: str = ""
    title: str = ""
    patient: bool = False

    def carry_out(self, signals: StopSignals) -> bool:
        """Skip the run if it is finished, else resume or begin it. Whether there was anything to train.

        Rank 0 looks at the folder and decides; the others do as it says.

        Raises:
            FolderBusyError: another process is writing the folder.
            NCRunnerError: the run cannot start or go on, with the reason.
            StopRequested: a signal came; the run can be resumed.
        """
        with ExitStack() as held:
            if self.group.on_first(lambda: self._has_work(held, signals)):
                from nc_runner.training.run import execute

                trackers = trackers_of(self.config, self.label)
                execute(self.config, self.folder, signals, self.group, trackers, self.label)
                return True
            if self.group.is_first:
                catch_up(self.folder, self.config, self.label)
        return False

    def _has_work(self, held: ExitStack, signals: StopSignals) -> bool:
        """Take the folder's lock into ``held``; whether there is anything to train.

        Moves an earlier run aside for overwrite=true.
        """
        self._lock(held, signals)
        check_owner(self.folder, self.config)
        if self.config.overwrite:
            self._keep_earlier_run()
        state = state_of(self.folder)
        if state == DIVERGED:
            reason = read_run_file(self.folder).get("reason")
            raise RunFolderError(f"{reason}\n(this run ended so before; overwrite=true trains it again)")
        if is_finished(self.folder):
            if missing := lacking_weights(self.folder, self.config):
                self.say(missing_line(nearby(self.folder), missing))
            return False
        title = ", ".join(filter(None, [self.title, "resuming" if state else ""])) or "run folder"
        self.say(f"{title}: {nearby(self.folder)}")
        return True

    def say(self, line: str) -> None:
        show(f"{self.label} {line}".lstrip())

    def _lock(self, held: ExitStack, signals: StopSignals) -> None:
        """Take the folder's lock into ``held``: a run folder has one writer."""
        told = False
        while True:
            try:
                held.enter_context(_writing(self.folder, PATIENCE))
                return
            except FolderBusyError as error:
                if not self.patient:
                    raise
                if not told:
                    self.say(f"waits: {str(error).splitlines()[0]}")
                told = True
            end = time.monotonic() + LOOK_AGAIN
            while time.monotonic() < end:
                signals.pause()
                time.sleep(0.1)

    def _keep_earlier_run(self) -> None:
        """Move what an earlier run left in the folder to one beside it; Hydra's own files stay as well."""
        if not (self.folder / RUN_FILE).exists():
            return
        kept = unused_name(self.folder, REPLACED)
        kept.mkdir()
        for entry in sorted(self.folder.iterdir()):
            if entry.name == ".hydra":
                shutil.copytree(entry, kept / entry.name)
            elif entry.name != LOCK_FILE:
                entry.rename(kept / entry.name)
        self.say(f"the earlier run is kept in {nearby(kept)}")


def check_owner(folder: Path, config: Config) -> None:
    """Raise RunFolderError for a folder with another run in it: a given hydra.run.dir can lead to one."""
    if not (folder / RUN_FILE).exists() or config.overwrite:
        return
    asked = identity(config)
    held = read_run_file(folder).get("identity") or {}
    if held != asked:
        raise RunFolderError(
            f"{folder} holds another run: {', '.join(differing(held, asked)[:4])} differ\n"
            "choose another hydra.run.dir, or give overwrite=true to start anew beside it"
        )


def check_custom_callables(config: Config) -> None:
    """Find the custom callables that the settings name, and check that they take what they are given.

    Raises ConfigError. Only what is custom is imported: most runs need no torch for this.
    """
    if config.net.target not in NETWORKS:
        from nc_runner.networks.build import check_network

        check_network(config.net)
    if config.data.target not in STANDARD_DATA:
        from nc_runner.data.loaders import check_loader

        check_loader(config.data)
    if config.loss.target not in LOSSES:
        from nc_runner.training.losses import check_loss

        check_loss(config.loss)
    if config.optimizer.target not in OPTIMIZERS:
        from nc_runner.training.optimizers import check_optimizer

        check_optimizer(config)
    check_schedule(config)
    if config.analysis.custom:
        from nc_runner.measurement.custom import find_custom_metrics

        find_custom_metrics(config.analysis.custom)


def state_of(folder: Path) -> str | None:
    """The state that a run's record names; None without a record."""
    return read_run_file(folder)["state"] if (folder / RUN_FILE).exists() else None


def is_finished(folder: Path) -> bool:
    """Whether the run is complete and its rows are as they were written; its checkpoint restores others."""
    if not (folder / RUN_FILE).exists():
        return False
    record = read_run_file(folder)
    return record["state"] == COMPLETE and record.get("rows_digest") == rows_digest(folder)


def has_nothing_to_do(folder: Path, config: Config) -> bool:
    """Whether the run is finished, and every tracker that is asked for knows it."""
    return is_finished(folder) and is_told(folder, config)


def lacking_weights(folder: Path, config: Config) -> list[int]:
    """The epochs of ``keep_checkpoints`` whose weights a finished run does not have."""
    if config.keep_checkpoints == "none":
        return []
    analysed = analysed_epochs(config.analysis.schedule, config.epochs)
    return missing_weights(folder, weight_epochs(config.keep_checkpoints, analysed))


def exit_code(error: BaseException) -> int:
    """2 for bad settings, 1 for any other failure."""
    return 2 if isinstance(error, ConfigError) else 1


def message_of(error: Exception) -> str:
    return str(error) if isinstance(error, NCRunnerError) else f"{type(error).__name__}: {error}"


def remove_if_nothing_began(folder: Path) -> None:
    """Take away the folder that Hydra made for a run that could not start, unless another process has it."""
    if not folder.is_dir():
        return
    with suppress(RunFolderError), _writing(folder, timeout=0):
        if {entry.name for entry in folder.iterdir()} - {".hydra", LOCK_FILE, LOG_FILE}:
            return
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        (folder / LOG_FILE).unlink(missing_ok=True)
        (folder / LOCK_FILE).unlink(missing_ok=True)  # last, and held: who waits for it then makes another
    for empty in (folder, folder.parent, folder.parent.parent):
        try:
            empty.rmdir()
        except OSError:
            return


def nearby(path: Path) -> Path:
    """``path`` as seen from the working directory, where it is below it."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def result_line(folder: Path) -> str:
    """The numbers of a run's last row, for the last lines of a command."""
    last = last_row(folder)
    if not last:
        return ""
    epoch, accuracy, nc1 = (last.get(column, float("nan")) for column in ("epoch", "test_accuracy", "nc1"))
    test = "" if math.isnan(accuracy) else f"test {accuracy:.2%}, "  # there may be no test set
    return f"(epoch {epoch:.0f}, {test}NC1 {nc1:.2e})"


def holder(folder: Path) -> str:
    """Who is writing the folder, as far as its record says."""
    try:
        record = read_run_file(folder)
        return f"process {record.get('pid')} on {record.get('host')}"
    except RunFolderError:
        return "another process"


@contextmanager
def _writing(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the folder's lock, which is tried for ``timeout`` seconds.

    Raises FolderBusyError where another process has it, RunFolderError where there are no such locks.
    """
    from filelock import FileLock, Timeout  # here: it would make nc-status slower to start

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        advice = "wait for it, or stop it, then give the command again"
        raise FolderBusyError(f"{folder} is being written by {holder(folder)}\n{advice}") from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        raise RunFolderError(
            f"{folder} cannot be locked: its file system has no flock\n"
            "choose an outputs folder on another one (hydra.run.dir and hydra.sweep.dir)"
        ) from None
    try:
        yield
    finally:
        lock.release()
