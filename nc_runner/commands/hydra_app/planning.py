"""``nc-run --plan``: what the command would do, from the jobs that it composed. Starts and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nc_runner.commands.hydra_app.compose import Job
from nc_runner.distributed import torchrun


def show_planned(jobs: Sequence[Job], outputs: Path, at_a_time: int | None, for_machines: bool) -> int:
    """Print the plan, on rank 0 alone. Raises NCRunnerError where the command could not start."""
    from nc_runner.commands.plan import plan
    from nc_runner.commands.plan_table import show_plan

    if torchrun.place().rank == 0:
        made = plan([(job.folder, job.config, job.settings()) for job in jobs], outputs, at_a_time)
        show_plan(made, for_machines=for_machines)
    return 0
