"""One run on two hosts: the rows of one process, also after torchrun restarted both for a killed rank."""

import os
import signal
import sys
from pathlib import Path

import pandas as pd
from helpers import hosts
from helpers.launched import pid_of, wait_for_line
from helpers.process import nc_run, only_run

from nc_runner.columns import TIME_COLUMNS

pytestmark = hosts.marks()
RUN = (
    "net=custom", "net._target_=helpers.pair.Smooth", "data.samples_per_class=40", "epochs=12", "device=cpu",
    "threads=1", "progress=plain", "checkpoint_seconds=0", "rank_timeout_seconds=30",
)  # fmt: skip
TESTS = str(Path(__file__).parents[1])


def rows_of(folder):
    rows = pd.read_csv(folder / "metrics.csv").drop(columns=list(TIME_COLUMNS))
    return rows.drop(columns="mse_residual")  # rounding alone


def test_a_run_whose_rank_is_killed_is_restarted_on_both_hosts_with_the_rows_of_one_process(tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    alone.mkdir()
    both.mkdir()
    with hosts.two_hosts() as pair:
        environment = {"GLOO_SOCKET_IFNAME": hosts.CABLE, "OMP_NUM_THREADS": "1", "PYTHONPATH": TESTS}
        agents = [
            host.start(
                sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
                "--max-restarts=2", f"--node-rank={number}", f"--master-addr={pair[0].address}",
                "--master-port=29500", "-m", "nc_runner", *RUN,
                cwd=both, environment=environment,
            )
            for number, host in enumerate(pair)
        ]  # fmt: skip
        try:
            wait_for_line(agents[0], "epoch  3/")
            os.kill(pid_of(agents[1], 1), signal.SIGKILL)
            printed = [agent.communicate(timeout=400) for agent in agents]
        finally:
            for agent in agents:
                agent.terminate()
    assert [agent.returncode for agent in agents] == [0, 0], printed
    assert "complete: " in "".join(output for output, _ in printed)
    assert nc_run(*RUN, cwd=alone, PYTHONPATH=TESTS).returncode == 0
    pd.testing.assert_frame_equal(rows_of(only_run(both)), rows_of(only_run(alone)), rtol=1e-9, atol=1e-12)
    assert (only_run(both) / "nc-run.log").read_text().count("from epoch 0") == 1
