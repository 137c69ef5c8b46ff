"""Sweeps on a running Ray cluster of two nodes: where the runs are, and what a lost node costs."""

import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import helpers
import pandas as pd
import pytest
from helpers.process import nc_run, only_run, start
from omegaconf import OmegaConf

from nc_runner.columns import TIME_COLUMNS
from nc_runner.commands.hydra_app.ray import check_address
from nc_runner.commands.ray_worker import FOLDER, enter_folder, environment
from nc_runner.errors import ConfigError

SMALL = (
    "data.samples_per_class=10", "batch_size=50", "net=vgg6", "net.head_width=32", "lr=0.01", "threads=1",
    "device=cpu", "progress=plain", "checkpoint_seconds=0",
)  # fmt: skip


@pytest.fixture
def cluster(tmp_path_factory):
    """The cluster, begun in another folder than the command's, and its address."""
    pytest.importorskip("ray", reason="nc-runner[ray] is not installed")
    process = subprocess.Popen(
        [sys.executable, Path(helpers.__file__).parent / "ray_cluster.py"],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith("address: "):
                break
        yield process, line.removeprefix("address: ").strip()
    finally:
        process.stdin.close()
        process.wait(60)


def rows_of(run):
    return pd.read_csv(run / "metrics.csv").drop(columns=list(TIME_COLUMNS))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_killed_in_mid_run_costs_no_run_and_the_rows_are_those_of_one_process(cluster, tmp_path):
    process, address = cluster
    swept, whole = tmp_path / "swept", tmp_path / "whole"
    swept.mkdir()
    whole.mkdir()
    command = (
        "-m",
        "seed=0,1,2",
        "epochs=30",
        *SMALL,
        "launcher=ray",
        f"launcher.address={address}",
        "launcher.cpus=1",
    )
    sweep = start(*command, cwd=swept)
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(sweep.stderr))
    reader.start()
    seen, printed, killed = set(), [], False
    for line in sweep.stdout:
        printed.append(line)
        if "] epoch " in line:
            seen.add(line.partition("] epoch ")[0].rpartition("[")[2])
        if len(seen) == 2 and not killed:
            killed = True
            process.stdin.write("kill the second node\n")
            process.stdin.flush()
    reader.join()
    output = "".join(printed)
    assert killed, output
    if sweep.wait() != 0:
        again = nc_run(*command, cwd=swept)
        assert again.returncode == 0, again.stdout + again.stderr
        output = again.stdout
    assert "3 runs: 3 complete" in output, output + "".join(errors)
    runs = sorted(path.parent for path in swept.rglob("run.json"))
    assert len(runs) == 3
    for seed, run in enumerate(runs):
        assert rows_of(run)["epoch"].tolist() == list(range(1, 31))
        (alone := whole / str(seed)).mkdir()
        assert nc_run(f"seed={seed}", "epochs=30", *SMALL, cwd=alone).returncode == 0
        pd.testing.assert_frame_equal(rows_of(run), rows_of(only_run(alone)), check_exact=True)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "127.0.0.1:99999", "a..b:6379", f"{'x' * 80}:1", "h:²"],
)
def test_an_address_where_no_cluster_answers_is_an_error_at_once(address):
    launcher = OmegaConf.create({"ray": {"init": {"address": address}}})
    with pytest.raises(ConfigError, match=f"launcher.address={re.escape(address)}: no Ray cluster answers"):
        check_address(launcher)


def test_an_address_where_something_listens_and_one_that_names_no_host_are_left_to_ray():
    with socket.create_server(("127.0.0.1", 0)) as server:
        for address in (f"127.0.0.1:{server.getsockname()[1]}", "auto", "local", None):
            check_address(OmegaConf.create({"ray": {"init": {"address": address}}}))
    check_address(OmegaConf.create({"_target_": "another launcher"}))


@pytest.mark.ray
def test_a_sweep_for_a_cluster_that_is_not_there_writes_nothing(tmp_path):
    pytest.importorskip("ray", reason="nc-runner[ray] is not installed")
    result = nc_run("-m", "seed=0,1", *SMALL, "launcher=ray", "launcher.address=127.0.0.1:1", cwd=tmp_path)
    assert result.returncode == 2
    assert "no Ray cluster answers there" in result.stderr
    assert not list(tmp_path.iterdir())


def test_workers_get_the_commands_folder_and_where_the_data_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = environment({"NC_RUNNER_DATA": "data", "OTHER": "x"})
    assert given == {FOLDER: str(tmp_path), "NC_RUNNER_DATA": "data"}
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv(FOLDER, given[FOLDER])
    enter_folder()
    assert Path.cwd() == tmp_path
