"""``nc-run`` from its arguments to its exit code: shows settings, runs one run, or runs a sweep."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nc_runner.commands.attempt import (
    RunAttempt,
    check_custom_callables,
    check_owner,
    exit_code,
    message_of,
)
from nc_runner.commands.ending import complain
from nc_runner.commands.hydra_app.compose import (
    CONFIG_MODULE,
    CONFIG_NAME,
    Job,
    compose,
    session,
    single_job,
)
from nc_runner.commands.hydra_app.leader import Leader, follow
from nc_runner.commands.hydra_app.messages import explain
from nc_runner.commands.hydra_app.planning import show_planned
from nc_runner.commands.hydra_app.settings import settings_of
from nc_runner.commands.hydra_app.sweep import Sweep
from nc_runner.commands.hydra_app.task import EndOfCommand, Task, is_full_error
from nc_runner.commands.ranks import ranks
from nc_runner.commands.report import best_of_search, report
from nc_runner.config import plugins
from nc_runner.distributed import torchrun
from nc_runner.distributed.group import Group
from nc_runner.errors import ConfigError, GroupError, NCRunnerError
from nc_runner.runs.sweeps import SweepArchive, new_name
from nc_runner.training.signals import StopRequested, StopSignals


def parser() -> argparse.ArgumentParser:
    """The flags of Hydra's that nc-run has; ``--help``, ``--version`` and ``--plan`` are nc-run's own."""
    result = argparse.ArgumentParser(prog="nc-run", add_help=False, allow_abbrev=False)
    add = result.add_argument
    add("overrides", nargs="*")
    add("--multirun", "-m", action="store_true")
    add("--plan", action="store_true")
    add("--json", action="store_true")
    add("--config-dir", "-cd")
    add("--cfg", "-c", choices=("job", "hydra", "all"))
    add("--resolve", action="store_true")
    add("--package", "-p")
    add("--info", "-i", nargs="?", const="all")
    add("--hydra-help", action="store_true")
    add("--shell-completion", "-sc", action="store_true")
    add("--install", nargs="?")
    add("--uninstall", nargs="?")
    add("--query", nargs="?")
    return result


def run(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code. Errors are said in one or two lines."""
    given, unknown = parser().parse_known_intermixed_args(arguments)
    if unknown:
        return say(f"there is no flag {unknown[0]}\nnc-run --help lists them; give settings as KEY=VALUE", 2)
    if (conflict := _conflict(given)) is not None:
        return say(conflict, 2)
    if given.shell_completion and "COMP_LINE" in os.environ:
        os.environ["COMP_LINE"] = settings_in(os.environ["COMP_LINE"])
    if given.hydra_help or given.info or given.shell_completion:
        return _leave_to_hydra()
    try:
        with session() as app:
            overrides = [*given.overrides, *_search_path(given.config_dir)]
            composed = None if given.multirun else compose(app, overrides)
            if composed is None or composed.hydra.mode == RunMode.MULTIRUN:
                sweep = _sweep(app, overrides)
                if given.plan:
                    return _plan_sweep(sweep, given.json)
                return _show_sweep(sweep) if given.cfg else _run_sweep(sweep)
            plugins.look_in(_config_folders(composed))
            job = single_job(composed, overrides)
            if given.plan:
                return show_planned([job], Path(str(composed.hydra.sweep.dir)), 1, given.json)
            if not given.cfg:
                return _run_single(app, composed, job)
        return _leave_to_hydra()
    except StopRequested as stop:
        return say(stop.advice, stop.exit_code)
    except (EndOfCommand, GroupError) as end:
        if is_full_error():
            raise
        error = end.error if isinstance(end, EndOfCommand) else end
        return say(message_of(error), 1, speaker=error.speaker)
    except Exception as error:
        if is_full_error():
            raise
        if isinstance(error, NCRunnerError):
            return say(message_of(error), exit_code(error))
        if isinstance(error, OSError) and error.strerror:
            return say(f"{error.filename or 'a file'}: {error.strerror}\nis the folder writable?", 1)
        return say(explain(error), 2)


def settings_in(line: str) -> str:
    """A command line that is to be completed, without flags: Hydra's completion stops at those of nc-run."""
    given, _ = parser().parse_known_intermixed_args(line.split()[1:])
    return " ".join(["nc-run", *given.overrides, *([""] if line.endswith(" ") else [])])


def say(message: str, code: int, speaker: int = 0) -> int:
    """Print ``message`` on stderr; under torchrun one rank alone does, and torchrun's report has it too."""
    if torchrun.place().rank == speaker:
        complain("nc-run", message)
        if code:
            torchrun.report(message)
    return code


def _run_single(app: Any, composed: DictConfig, job: Job) -> int:
    check_custom_callables(job.config)
    with ranks(job.config) as group:
        group.on_first(lambda: check_owner(job.folder, job.config))
        if not group.is_first:
            with StopSignals() as signals:
                RunAttempt(job.config, job.folder, group).carry_out(signals)
        else:
            _run_job(app, composed, Task(is_full_error(), group))
    return 0


def _run_job(app: Any, composed: DictConfig, task: Task) -> None:
    """What Hydra's own ``run`` does, with the configuration that has been composed and checked already."""
    callbacks = Callbacks(composed)
    context = HydraContext(config_loader=app.config_loader, callbacks=callbacks)
    with read_write(composed), open_dict(composed):
        composed.hydra.mode = RunMode.RUN
    callbacks.on_run_start(config=composed, config_name=CONFIG_NAME)
    returned = run_job(
        hydra_context=context,
        task_function=task,
        config=composed,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )
    callbacks.on_run_end(config=composed, config_name=CONFIG_NAME, job_return=returned)
    if isinstance(returned.return_value, Exception):
        raise returned.return_value


def _sweep(app: Any, overrides: Sequence[str]) -> Sweep:
    """A new sweep; its id is an override, so that every process that has one of its runs knows it."""
    name = new_name()
    given = [*overrides, "hydra.mode=MULTIRUN", f"sweep={name}"]
    composed = compose(app, given, sweep=True)
    return Sweep(app, given, composed, SweepArchive(Path(str(composed.hydra.sweep.dir)), name))


def _run_sweep(sweep: Sweep) -> int:
    plugins.look_in(_config_folders(sweep.composed))
    torchrun.check_launcher(str(sweep.composed.hydra.launcher.get("_target_", "")))
    sweep.prepare()
    settings = sweep.jobs[0].config if sweep.jobs else settings_of(sweep.composed)
    with ranks(settings) as group:
        todo = group.on_first(sweep.unfinished)
        if group.is_first:
            return _lead_sweep(sweep, todo, group)
        follow(sweep, group)
    return 0


def _lead_sweep(sweep: Sweep, todo: list[int], group: Group) -> int:
    leader = Leader(sweep, Task(is_full_error(), group))
    with sweep.archive.alive():
        leader.announce(todo)
        try:
            leader.carry_out(todo)
        except (StopRequested, EndOfCommand, Exception) as error:
            lines = leader.lines()
            if lines:
                report(lines)
            ours = isinstance(error, (StopRequested, EndOfCommand, NCRunnerError))
            if ours or is_full_error() or not lines:
                raise
            return say(f"the sweep ended early: {explain(error)}", 1)
        code = report(leader.lines())
    if sweep.searches:
        print(best_of_search(sweep.folder, str(sweep.composed.objective)))
    return code


def _show_sweep(sweep: Sweep) -> int:
    """Print every run's settings as YAML documents, each headed by its overrides; run none."""
    sweep.prepare()
    for job in sweep.jobs:
        settings = job.config.model_dump(mode="json", by_alias=True, exclude={"sweep"})
        overrides = " ".join(override for override in job.overrides if not override.startswith("sweep="))
        print(f"---\n# nc-run {overrides}\n{OmegaConf.to_yaml(OmegaConf.create(settings))}", end="")
    return 0


def _plan_sweep(sweep: Sweep, for_machines: bool) -> int:
    plugins.look_in(_config_folders(sweep.composed))
    sweep.prepare()
    if sweep.searches:
        raise ConfigError("a search chooses its runs as it goes: there is no plan of them\nleave out --plan")
    return show_planned(sweep.jobs, sweep.folder, sweep.at_a_time, for_machines)


def _conflict(given: argparse.Namespace) -> str | None:
    """What is wrong with flags that do not go together."""
    if given.json and not given.plan:
        return "--json goes with --plan\nnc-status --json has the runs so far"
    others = {"--cfg": given.cfg, "--info": given.info, "--hydra-help": given.hydra_help,
              "--shell-completion": given.shell_completion}  # fmt: skip
    if given.plan and (other := next((flag for flag, value in others.items() if value), None)):
        return f"--plan and {other} both only show something\ngive one of them"
    return None


def _search_path(config_dir: str | None) -> list[str]:
    """``--config-dir DIR`` as Hydra's setting for further folders of settings."""
    if config_dir is None:
        return []
    if not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
    return [f"hydra.searchpath=[file://{Path(config_dir).absolute()}]"]


def _config_folders(composed: DictConfig) -> list[str]:
    """The folders of custom settings, in which custom code is looked for too."""
    paths = map(str, composed.hydra.searchpath)
    return [path.removeprefix("file://") for path in paths if path.startswith("file://")]


def _leave_to_hydra() -> int:
    """What only shows something is Hydra's own. It ends quietly where nobody reads on, as in ``| head``."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    @hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, version_base="1.3")
    def show(config: DictConfig) -> None:
        """Never called: the flags end the command before."""

    show()
    return 0
